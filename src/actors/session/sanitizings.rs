//! The requests for a sanitizing of a session, and the one under way.

use std::collections::VecDeque;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::oneshot;

use super::SessionError;
use crate::domain::lease::LeaseHash;
use crate::domain::occupancy::Generation;
use crate::domain::sanitizing::Cleared;

/// The outcome of a sanitizing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SanitizeReport {
    /// The traces that were cleared: counts and names.
    pub cleared: Cleared,
    /// The number of attempts.
    pub tries: u32,
    /// The time from the beginning until the browser could be driven again.
    pub took: Duration,
}

/// The channel to an asker of a sanitizing.
pub(super) type SanitizeAnswer = oneshot::Sender<Result<SanitizeReport, SessionError>>;

/// A request that waits until no change is being stored.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) holder: Option<(Generation, LeaseHash)>,
    pub(super) answer: SanitizeAnswer,
}

/// The requests for a sanitizing, and the one under way.
#[derive(Debug, Default)]
pub(super) struct Sanitizing {
    pub(super) requests: VecDeque<Request>,
    pub(super) under_way: Option<UnderWay>,
}

/// A sanitizing under way.
#[derive(Debug)]
pub(super) struct UnderWay {
    /// The cause: `request` or `release`.
    pub(super) by: &'static str,
    pub(super) since: DateTime<Utc>,
    pub(super) tries: u32,
    pub(super) waiting: Vec<SanitizeAnswer>,
    /// The outcome, once the browser is clean.
    pub(super) cleared: Option<Cleared>,
}
