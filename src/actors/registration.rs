//! The notification that an actor has ended.

use std::fmt;

/// The receiver of the notification, which is given true if the actor ended in good order.
type OnEnd = Box<dyn FnOnce(bool) + Send>;

/// A guard that an actor holds; its drop notifies the actor's owner, after a panic too.
pub(super) struct Registration {
    on_end: Option<OnEnd>,
    in_order: bool,
}

impl Registration {
    /// A guard that calls `on_end` with true if the actor ended in good order.
    pub(super) fn new(on_end: impl FnOnce(bool) + Send + 'static) -> Self {
        Self { on_end: Some(Box::new(on_end)), in_order: false }
    }

    /// Records that the actor has ended in good order: what it owned is gone, and is stored as
    /// gone.
    pub(super) fn in_order(&mut self) {
        self.in_order = true;
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration").field("in_order", &self.in_order).finish_non_exhaustive()
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Some(on_end) = self.on_end.take() {
            on_end(self.in_order);
        }
    }
}
