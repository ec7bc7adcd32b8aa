//! The changes of the occupancy that wait to be decided.

use std::time::Duration;

use tokio::sync::oneshot;

use super::{Beginner, SessionError, Wait};
use crate::actors::journal::Draft;
use crate::actors::receipt::Receipt;
use crate::domain::lease::LeaseHash;
use crate::domain::occupancy::{Generation, Occupancy, Occupant};
use crate::traces::Trace;

/// A requested change. Its outcome is decided when its turn comes.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Change {
    Begin {
        occupant: Occupant,
        lease: LeaseHash,
        ttl: Duration,
        by: Beginner,
    },
    Heartbeat {
        generation: Generation,
        lease: LeaseHash,
        ttl: Option<Duration>,
    },
    Release {
        generation: Generation,
        lease: LeaseHash,
    },
    /// Takes back an occupancy whose asker did not receive the grant.
    TakeBack {
        generation: Generation,
        lease: LeaseHash,
    },
    Evict {
        occupant: Occupant,
    },
    Lapse,
    /// Writes the known state once more, to find out whether a begin of unknown outcome was stored.
    Confirm,
}

/// The result of a change: the occupancy as it is stored.
pub(super) type Changed = Result<Occupancy, SessionError>;

/// A change that waits to be decided, stored and answered.
#[derive(Debug)]
pub(super) struct QueuedChange {
    pub change: Change,
    /// The wait that a begin asks for if it finds the session occupied.
    pub wait: Option<Wait>,
    pub answer: oneshot::Sender<Changed>,
    /// The receipt of a begin, which reports whether its asker still waits.
    pub receipt: Receipt,
    /// The trace of the request for the change, to which its write belongs.
    pub trace: Option<Trace>,
    /// The event of the audit trail about the request for the change, to be stored with it.
    pub audit: Option<Draft>,
}
