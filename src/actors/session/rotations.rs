//! The rotations of a session's credentials that wait or are under way.

use std::collections::VecDeque;

use actix::SpawnHandle;
use chrono::{DateTime, Utc};
use secrecy::SecretString;
use tokio::sync::oneshot;

use super::{Beginner, SessionError};
use crate::domain::ids::ApiKeyId;
use crate::domain::lease::{LeaseHash, LeaseToken};
use crate::domain::occupancy::{Generation, Occupant};

/// The number of revoked credentials, and the new credentials.
#[derive(Debug)]
pub struct RotateReport {
    /// The number of the rotation.
    pub rotation: i64,
    /// The number of valid tickets that were ended.
    pub tickets: usize,
    /// The number of viewers' connections that were cut.
    pub viewers: usize,
    /// The number of leases that were ended.
    pub leases: usize,
    /// The new lease of the holder, which keeps the session.
    pub lease: Option<NewLease>,
    /// The new password of the VNC server; none if none has been shown yet.
    pub vnc_password: Option<SecretString>,
}

/// A lease in place of another one.
#[derive(Debug)]
pub struct NewLease {
    pub occupant: Occupant,
    pub generation: Generation,
    pub token: LeaseToken,
    /// The time at which it lapses without a heartbeat.
    pub expires_at: DateTime<Utc>,
}

/// The channel to an asker of a rotation.
pub(super) type RotateAnswer = oneshot::Sender<Result<RotateReport, SessionError>>;

/// The rotations of a session.
#[derive(Debug, Default)]
pub(super) struct Rotating {
    pub(super) requests: VecDeque<(ApiKeyId, RotateAnswer)>,
    /// Set until the VNC password belongs to the rotation of the row.
    pub(super) under_way: bool,
    /// Set while that password is being replaced.
    pub(super) settling: bool,
    /// The request whose change is stored.
    pub(super) stored: Option<(RotateReport, RotateAnswer)>,
    /// The latest number that was written, which is in the row even if the write was not answered.
    pub(super) attempted: i64,
    /// The lease of the latest begin, and its credential.
    pub(super) begun: Option<(LeaseHash, Beginner)>,
    /// Ends the lease that was taken with a ticket.
    pub(super) ticket_end: Option<SpawnHandle>,
}
