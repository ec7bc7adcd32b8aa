//! The network access of a desktop's programs, as its session's actor uses it.

use std::fmt;

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use crate::domain::egress::EgressAsked;
pub use crate::egress::check::Outcome as EgressOutcome;
pub use crate::egress::status::Status as EgressStatus;

/// The network access of a desktop's programs.
pub trait Egress: fmt::Debug + Send + Sync + 'static {
    /// Applies a policy to the running programs. Resolves when it is in force: connections that it
    /// denies are closed by then. On failure the previous policy stays.
    fn apply(&self, asked: EgressAsked) -> BoxFuture<'static, Result<(), EgressError>>;

    /// Tries to reach `url` as its programs would, under the policy in force or under another one.
    fn check(
        &self,
        url: String,
        asked: Option<EgressAsked>,
    ) -> BoxFuture<'static, Result<EgressOutcome, EgressError>>;

    /// The counters; none until the first are known. Each change is published within about a second.
    fn status(&self) -> watch::Receiver<Option<EgressStatus>>;
}

/// The reasons for which a policy was not applied, or a check was not made.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EgressError {
    /// The lists or the upstream are invalid.
    #[error("{0}")]
    Invalid(String),
    /// The egress program does not answer.
    #[error("the egress program does not answer: {0}")]
    Unanswered(String),
}
