//! The network of a session's programs: the requested restrictions, and the separation in force.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use url::Url;

use super::session::ProcessIdentity;

/// The lists that a session or an organization requests, in the form of `egress.allow` and
/// `egress.deny`. They narrow what the server allows, and never widen it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EgressLists {
    /// The only targets that may be reached; if empty, every target that the server allows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
    /// Targets that may not be reached.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<String>,
}

impl EgressLists {
    /// True if these lists narrow nothing.
    pub fn is_empty(&self) -> bool {
        self.allow.is_empty() && self.deny.is_empty()
    }
}

/// Everything that is requested for a session's network.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct EgressAsked {
    /// The lists of the organization.
    pub organization: EgressLists,
    /// The lists from the request that created or last changed the session.
    pub session: EgressLists,
    /// The proxy that everything goes through: `http`, `https` or `socks5`, with its credentials.
    pub upstream: Option<Url>,
    /// The organization has used up its network traffic of the day: nothing may be reached.
    pub is_exhausted: bool,
}

impl std::fmt::Debug for EgressAsked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The proxy's URL contains a password.
        let upstream = self.upstream.as_ref().and_then(Url::host_str);
        let mut shown = f.debug_struct("EgressAsked");
        shown.field("organization", &self.organization).field("session", &self.session);
        shown.field("upstream", &upstream).field("is_exhausted", &self.is_exhausted).finish()
    }
}

/// The separation of a session's network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkLevel {
    /// No separation: the programs are in the server's network.
    None,
    /// A proxy on the machine's loopback interface. Programs are configured to use it and, from
    /// Landlock ABI 4 on, cannot connect anywhere else.
    Proxied,
    /// A network namespace: the proxy is the only way out.
    Enforced,
}

impl NetworkLevel {
    /// Returns the value used in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Proxied => "proxied",
            Self::Enforced => "enforced",
        }
    }
}

/// The egress program of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EgressIdentity {
    /// The process of the egress program.
    pub process: ProcessIdentity,
    /// The separation that the program provides.
    pub level: NetworkLevel,
    /// The directory through which the server and the program communicate.
    pub directory: PathBuf,
    /// The address of the proxy; in the session's network if that is separate.
    pub proxy: SocketAddr,
}
