//! How webhooks are told.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::workflow::guard;

/// Settings of the section `webhooks`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How long a client's server may take to answer.
    pub timeout_seconds: u64,
    /// How often an event is told at most, until it is given up.
    pub attempts: u32,
    /// How long after the first attempt the second comes; each further one waits twice as long.
    pub first_wait_milliseconds: u64,
    /// The longest that an attempt waits for.
    pub longest_wait_seconds: u64,
    /// After how long an event is given up.
    pub give_up_seconds: u64,
    /// How often the end of a run is told at most.
    pub run_attempts: u32,
    /// As `first_wait_milliseconds`, for the end of a run.
    pub run_first_wait_milliseconds: u64,
    /// For how long the replaced secret of a webhook signs as well, unless a rotation says it.
    pub overlap_seconds: u64,
    /// How long what was told is kept on record.
    pub keep_seconds: u64,
    /// How many webhooks an organization may have.
    pub max_webhooks: usize,
    /// Whether servers on private, loopback and link-local addresses are told as well.
    pub allow_private_targets: bool,
    /// Hosts that are told wherever they are.
    pub allowed_hosts: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            timeout_seconds: 30,
            attempts: 10,
            first_wait_milliseconds: 5_000,
            longest_wait_seconds: 60 * 60,
            give_up_seconds: 24 * 60 * 60,
            run_attempts: 3,
            run_first_wait_milliseconds: 1_000,
            overlap_seconds: 24 * 60 * 60,
            keep_seconds: 7 * 24 * 60 * 60,
            max_webhooks: 20,
            allow_private_targets: false,
            allowed_hosts: Vec::new(),
        }
    }
}

impl Settings {
    /// [`timeout_seconds`](Self::timeout_seconds).
    pub(super) fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_seconds)
    }

    /// Which addresses may be told.
    pub(super) fn guard(&self) -> guard::Settings {
        let Self { allow_private_targets, allowed_hosts, .. } = self;
        let allow_private = *allow_private_targets;
        let allowed_hosts = allowed_hosts.clone();
        guard::Settings { allow_private, allowed_hosts, ..guard::Settings::default() }
    }
}
