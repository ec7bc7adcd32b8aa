//! The network of a session's programs: what is asked for, and which separation holds.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use url::Url;

use super::session::ProcessIdentity;

/// The lists that a session or an organization asks for, in the form of `egress.allow` and
/// `egress.deny`. They narrow what the server allows, and open nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EgressLists {
    /// The only targets that may be reached; every one that the server allows if there is none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
    /// Targets that may not be reached.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<String>,
}

impl EgressLists {
    /// True if nothing is narrowed.
    pub fn is_empty(&self) -> bool {
        self.allow.is_empty() && self.deny.is_empty()
    }
}

/// All that is asked for a session's network.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct EgressAsked {
    /// By the organization.
    pub organization: EgressLists,
    /// By whoever made or changed the session.
    pub session: EgressLists,
    /// The proxy that everything goes through: `http`, `https` or `socks5`, with its credentials.
    pub upstream: Option<Url>,
    /// The organization has used up its network traffic of the day: nothing may be reached.
    pub is_exhausted: bool,
}

impl std::fmt::Debug for EgressAsked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Its URL has a password.
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
    /// None: its programs are in the server's network.
    None,
    /// A proxy on the machine's loopback, which programs are asked to use and, from Landlock ABI 4 on,
    /// kept to.
    Proxied,
    /// A network namespace: nothing leaves but through the proxy.
    Enforced,
}

impl NetworkLevel {
    /// The word of the API.
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
    /// The process.
    pub process: ProcessIdentity,
    /// The separation that it gives.
    pub level: NetworkLevel,
    /// The directory in which the server and the program meet.
    pub directory: PathBuf,
    /// The proxy; in the session's network where that is separate.
    pub proxy: SocketAddr,
}
