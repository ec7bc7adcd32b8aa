//! The waiters for an occupied session.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::oneshot;

use super::Beginner;
use super::turns::Changed;
use crate::actors::journal::Draft;
use crate::actors::quotas::QuotaPermit;
use crate::actors::receipt::Receipt;
use crate::domain::lease::LeaseHash;
use crate::traces::Trace;

/// The data that is needed to serve a waiter.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) lease: LeaseHash,
    pub(super) ttl: Duration,
    pub(super) by: Beginner,
    pub(super) answer: oneshot::Sender<Changed>,
    pub(super) receipt: Receipt,
    /// The trace of the request for its begin.
    pub(super) trace: Option<Trace>,
    /// The event of the audit trail about its begin.
    pub(super) audit: Option<Draft>,
    /// The time at which it began to wait.
    pub(super) since: DateTime<Utc>,
    /// The waiter counts for its organization until this is dropped.
    pub(super) _place: QuotaPermit,
}
