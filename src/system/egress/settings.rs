//! What this floor is told of networks.

use serde::{Deserialize, Serialize};

/// The separation of sessions' networks that is tried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// A network namespace; a proxy where the machine allows none.
    Namespace,
    /// A proxy on the machine's loopback.
    Proxy,
    /// None.
    #[default]
    Off,
}

/// The network of sessions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// The separation that is tried.
    pub mode: Mode,
    /// What every session may reach beyond the public addresses.
    pub allow: Vec<String>,
    /// What no session may reach.
    pub deny: Vec<String>,
    /// Whether an upstream proxy may be at any address.
    pub any_upstream: bool,
}
