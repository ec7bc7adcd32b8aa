//! Settings of this floor for networks.

use serde::{Deserialize, Serialize};

/// The network separation that is tried for sessions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// A network namespace; a proxy if the machine allows none.
    Namespace,
    /// A proxy on the machine's loopback.
    Proxy,
    /// No separation: the network of the server.
    #[default]
    Off,
}

/// The network of sessions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// The separation that is tried.
    pub mode: Mode,
    /// Targets that every session may reach in addition to public addresses.
    pub allow: Vec<String>,
    /// Targets that no session may reach.
    pub deny: Vec<String>,
    /// True if an upstream proxy may be at any address.
    pub any_upstream: bool,
}
