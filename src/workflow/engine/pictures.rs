//! The screenshots of a run that are being stored.

use tokio::task::JoinSet;

/// Screenshots that are being stored.
#[derive(Debug, Default)]
pub(super) struct Pictures {
    /// The number of blocks with a screenshot.
    pub(super) taken: usize,
    pub(super) storing: JoinSet<()>,
}
