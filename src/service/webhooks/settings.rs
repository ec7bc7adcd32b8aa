//! Settings of the delivery of webhooks.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::workflow::guard;

/// Settings of the section `webhooks`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The time limit for a client's server to respond.
    pub timeout_seconds: u64,
    /// The number of attempts to deliver an event, after which the delivery is abandoned.
    pub attempts: u32,
    /// The delay between the first attempt and the second; each further delay is twice as long.
    pub first_wait_milliseconds: u64,
    /// The longest delay between two attempts.
    pub longest_wait_seconds: u64,
    /// The age at which the delivery of an event is abandoned.
    pub give_up_seconds: u64,
    /// The number of attempts to deliver the end of a run.
    pub run_attempts: u32,
    /// The same as `first_wait_milliseconds`, for the end of a run.
    pub run_first_wait_milliseconds: u64,
    /// The time for which the replaced secret of a webhook still signs, unless a rotation specifies
    /// it.
    pub overlap_seconds: u64,
    /// The time for which delivered messages are kept on record.
    pub keep_seconds: u64,
    /// The number of webhooks that an organization may have.
    pub max_webhooks: usize,
    /// True if webhooks may be on private, loopback and link-local addresses.
    pub allow_private_targets: bool,
    /// Hosts to which webhooks may be delivered at any address.
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
    /// Returns [`timeout_seconds`](Self::timeout_seconds) as a duration.
    pub(super) fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_seconds)
    }

    /// Returns the rules for the addresses of webhooks.
    pub(super) fn guard(&self) -> guard::Settings {
        let Self { allow_private_targets, allowed_hosts, .. } = self;
        let allow_private = *allow_private_targets;
        let allowed_hosts = allowed_hosts.clone();
        guard::Settings { allow_private, allowed_hosts, ..guard::Settings::default() }
    }
}
