//! The notification to the registry that an actor has ended.

use super::ask::WeakAddress;
use super::registry::{Gone, Registry, Resident};

/// A guard that an actor holds; its drop notifies the registry, after a panic too.
#[derive(Debug)]
pub(super) struct Registration {
    registry: WeakAddress<Registry>,
    resident: Resident,
    in_order: bool,
}

impl Registration {
    pub(super) fn new(registry: WeakAddress<Registry>, resident: Resident) -> Self {
        Self { registry, resident, in_order: false }
    }

    /// Records that the actor has ended in good order: what it owned is gone, and is stored as
    /// gone.
    pub(super) fn in_order(&mut self) {
        self.in_order = true;
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let Some(registry) = self.registry.upgrade() else { return };
        registry.notify(Gone { resident: self.resident, in_order: self.in_order });
    }
}
