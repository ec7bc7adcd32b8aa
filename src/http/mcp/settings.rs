//! The section `mcp` of the settings: limits of agents that drive over MCP.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Settings of the section `mcp`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The time in seconds for which an agent holds a browser without a call. Each call renews
    /// it. At most `sessions.max_lease_seconds` count.
    pub idle_seconds: u64,
    /// The longest time in seconds that a call may take; what takes longer answers `pending`. Many
    /// hosts give up after 60 s.
    pub call_seconds: u64,
    /// True if agents may run JavaScript of their own in pages.
    pub evaluate: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { idle_seconds: 600, call_seconds: 50, evaluate: true }
    }
}

impl Settings {
    /// Returns what is wrong with the settings.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        if !(3..=600).contains(&self.call_seconds) {
            problems.push(("call_seconds", "must be between 3 and 600".to_owned()));
        }
        if self.idle_seconds <= self.call_seconds {
            let wrong = "must be more than mcp.call_seconds";
            problems.push(("idle_seconds", wrong.to_owned()));
        }
        problems
    }

    /// The time for which an agent holds a browser without a call, as far as leases may last so long.
    pub fn idle(&self, max_lease_seconds: u64) -> Duration {
        Duration::from_secs(self.idle_seconds.min(max_lease_seconds))
    }

    /// The longest time that a call may take.
    pub fn call(&self) -> Duration {
        Duration::from_secs(self.call_seconds)
    }
}
