//! How the registry learns that an actor has ended.

use super::ask::WeakAddress;
use super::registry::{Gone, Registry, Resident};

/// Held by an actor; its drop tells the registry, after a panic too.
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

    /// The actor has ended as it should: what it owned is gone, and stored as gone.
    pub(super) fn in_order(&mut self) {
        self.in_order = true;
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let Some(registry) = self.registry.upgrade() else { return };
        registry.tell(Gone { resident: self.resident, in_order: self.in_order });
    }
}
