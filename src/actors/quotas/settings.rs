//! The default limits of organizations.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::quota::{EXPECTED, Limits, Quota, checked_limit};

/// The section `quotas`: the default limits of every organization; none unless one is set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Sessions that have not ended.
    pub sessions: Option<u64>,
    /// Sessions created within 60 seconds.
    pub creates_per_minute: Option<u64>,
    /// Workflow runs that have not ended.
    pub runs: Option<u64>,
    /// Runs and programs that wait for an occupied session.
    pub waiters: Option<u64>,
    /// Live views: sockets with pictures of a session, and requested VNC ports.
    pub viewers: Option<u64>,
    /// Connections of programs to DevTools.
    pub devtools_connections: Option<u64>,
    /// Streams of events, and the message and input sockets of viewers.
    pub event_streams: Option<u64>,
    /// Stored artifacts, in MiB.
    pub storage_mib: Option<u64>,
    /// Network traffic of sessions within a UTC day, in MiB.
    pub egress_mib_per_day: Option<u64>,
    /// Requests that are being answered.
    pub requests: Option<u64>,
    /// The delay of responses to an organization with many refused requests, in milliseconds.
    pub refusal_delay_milliseconds: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sessions: None,
            creates_per_minute: None,
            runs: None,
            waiters: None,
            viewers: None,
            devtools_connections: None,
            event_streams: None,
            storage_mib: None,
            egress_mib_per_day: None,
            requests: Some(1_000),
            refusal_delay_milliseconds: 1_000,
        }
    }
}

impl Settings {
    /// Returns the delay of responses to an organization with many refused requests.
    pub fn refusal_delay(&self) -> Duration {
        Duration::from_millis(self.refusal_delay_milliseconds)
    }

    fn of(&self, quota: Quota) -> Option<u64> {
        match quota {
            Quota::Sessions => self.sessions,
            Quota::CreatesPerMinute => self.creates_per_minute,
            Quota::Runs => self.runs,
            Quota::Waiters => self.waiters,
            Quota::Viewers => self.viewers,
            Quota::DevtoolsConnections => self.devtools_connections,
            Quota::EventStreams => self.event_streams,
            Quota::StorageMib => self.storage_mib,
            Quota::EgressMibPerDay => self.egress_mib_per_day,
            Quota::Requests => self.requests,
        }
    }

    /// The limits that are set.
    pub(super) fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        for quota in Quota::ALL {
            limits.set(quota, self.of(quota));
        }
        limits
    }

    /// The settings that cannot hold: keys and messages.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let wrong = |quota: Quota| {
            let given = self.of(quota)?;
            checked_limit(given).err().map(|_range| (quota.as_str(), EXPECTED.to_owned()))
        };
        Quota::ALL.into_iter().filter_map(wrong).collect()
    }
}
