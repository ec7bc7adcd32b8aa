//! The credential by which a driver is admitted.

use std::path::PathBuf;

use tokio_util::sync::CancellationToken;

use crate::actors::tickets::Ticket;
use crate::actors::views::SessionView;
use crate::domain::lease::{LeaseHash, LeaseToken};
use crate::domain::occupancy::{Generation, Refusal};
use crate::service::keys::Revocation;

/// The lease that a client presents.
#[derive(Debug, Clone)]
pub struct Lease {
    /// The generation of the occupancy.
    pub generation: Generation,
    /// The secret of the lease.
    pub token: LeaseToken,
    /// The hash of the secret, as sessions store it.
    pub hash: LeaseHash,
}

impl Lease {
    /// Makes the lease of this generation with this secret.
    pub fn new(generation: Generation, token: LeaseToken) -> Self {
        Self { generation, hash: token.hash(), token }
    }

    /// Checks that the lease holds the session.
    ///
    /// # Errors
    ///
    /// [`Refusal::Lost`] or [`Refusal::WrongLease`] if it does not.
    pub fn check(&self, view: &SessionView) -> Result<(), Refusal> {
        let latest = view.record.occupancy.generation();
        match view.record.occupancy.holder() {
            Some(held) if held.generation != self.generation => {
                Err(Refusal::Lost { presented: self.generation, latest })
            }
            Some(held) if held.lease != self.hash => {
                Err(Refusal::WrongLease { generation: self.generation })
            }
            Some(_) => Ok(()),
            None => Err(Refusal::Lost { presented: self.generation, latest }),
        }
    }
}

/// The credential by which a client drives.
#[derive(Debug, Clone)]
pub enum Ground {
    /// A key of the session's organization.
    Key(Revocation),
    /// The lease of the session's holder, and the revocation of the key that took it, if that is
    /// known.
    Lease(Lease, Option<Revocation>),
    /// A ticket to drive, which ends with the key that it was made with.
    Ticket(Ticket),
    /// A pass for a block.
    Pass {
        /// The pass as the client sent it.
        secret: String,
        /// The folder for the program's own files.
        folder: PathBuf,
        /// Canceled when the block ends.
        over: CancellationToken,
    },
}
