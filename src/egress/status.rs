//! The content of a session's status file: bytes, connections, refusals and the state of the policy.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// The content of the status file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Bytes to targets and upstreams, handshakes with upstreams included.
    pub bytes_sent: u64,
    /// Bytes from targets and upstreams.
    pub bytes_received: u64,
    /// Counts of client connections.
    pub connections: ConnectionCounts,
    /// The refused targets: at most 100 rows, the latest refusal first.
    pub refused: Vec<RefusedRow>,
    /// The number of refused requests that have no row.
    pub refused_unlisted: u64,
    /// The last failure of the upstream, if it has failed.
    pub upstream_error: Option<UpstreamProblem>,
    /// The state of the policy file.
    pub policy: Option<PolicyState>,
}

/// Counts of client connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionCounts {
    /// Connections that are open now.
    pub open: u64,
    /// Connections served since the start of the session.
    pub accepted: u64,
    /// Connections over the limit, or from a program of another user.
    pub rejected: u64,
}

/// The refusals of one target for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedRow {
    /// The requested name or address.
    pub host: String,
    /// The port that was requested.
    pub port: u16,
    /// The stable code of the refusal.
    pub code: String,
    /// The number of refusals in this row.
    pub count: u64,
    /// The time of the latest refusal, in Unix milliseconds.
    pub last_ms: u64,
}

/// The last failure of the upstream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamProblem {
    /// The stable code of the failure.
    pub code: String,
    /// The cause and how to resolve it, without credentials.
    pub message: String,
    /// The time of the failure, in Unix milliseconds.
    pub at_ms: u64,
    /// True if a connection through the upstream has succeeded since.
    pub recovered: bool,
}

/// The part of the status about the policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyState {
    /// The state: `in_force`, `missing`, or `invalid` (a previous policy may still be in force).
    pub state: Cow<'static, str>,
    /// The revision in force.
    pub revision: Option<u64>,
    /// The cause, if the state is not `in_force`.
    pub error: Option<String>,
}
