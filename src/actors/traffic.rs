//! The counters of a session's network, and its refused requests as they are reported.

use serde::Serialize;
use tokio::sync::watch;

use crate::system::desktop::EgressStatus;

/// The code of refused targets beyond those that the egress program lists.
pub(super) const UNLISTED: &str = "targets_unlisted";

/// Refused requests to one target for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// The target as `host:port`; `None` for targets that are not listed one by one.
    pub target: Option<String>,
    /// The stable code of the reason.
    pub code: String,
    /// The reason and the setting that lifts the refusal, in words for people.
    pub message: String,
    /// The number of requests since the last report.
    pub count: u64,
}

impl Refused {
    /// Refusals as the egress program counts them.
    pub fn new(host: &str, port: u16, code: &str, count: u64) -> Self {
        let target = match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        };
        Self { message: message(&target, code), target: Some(target), code: code.to_owned(), count }
    }

    /// Refusals of targets that the egress program does not list one by one.
    pub(super) fn unlisted(count: u64) -> Self {
        let message = "further targets were refused, more than are listed one by one".to_owned();
        Self { target: None, code: UNLISTED.to_owned(), message, count }
    }
}

/// The reason of a refusal, and the setting that lifts it.
fn message(target: &str, code: &str) -> String {
    match code {
        "address_not_public" => format!(
            "{target} is not at a public address; add `{target}` to the server's `egress.allow` to \
             allow it"
        ),
        "host_not_listed" => format!(
            "{target} is not in the list of hosts that this session is limited to; add `{target}` to \
             the session's `egress.allow` (PATCH /v1/browser_sessions/{{id}}), or to the \
             organization's (PUT /v1/egress)"
        ),
        "host_denied" => format!(
            "{target} is denied by a rule of `egress.deny`, of the session, the organization or the \
             server; remove the rule to allow it"
        ),
        "port_refused" => format!(
            "{target} is at a port that is refused by default; add `{target}` to the server's \
             `egress.allow` to allow it"
        ),
        "upstream_not_allowed" => format!(
            "{target} was not reached, because the address of the upstream proxy is not allowed; the \
             operator can allow it with `egress.any_upstream` or `egress.allow`"
        ),
        "quota_exceeded" => format!(
            "{target} was refused, because the network traffic of this organization for today is used up \
             (quota `egress_mib_per_day`); wait until midnight, UTC, or ask the operator of the server to \
             raise the quota"
        ),
        "policy_missing" => {
            format!("{target} was refused, because no egress policy was in force yet; try again")
        }
        _ => format!("{target} was refused by the session's egress policy ({code})"),
    }
}

/// The counters of a session's network, for readers outside the reporting task.
#[derive(Debug, Clone)]
pub struct Traffic {
    /// The counters; `None` until the first arrive.
    pub status: watch::Receiver<Option<EgressStatus>>,
    /// The latest report of refusals.
    pub refused: watch::Receiver<Option<Refused>>,
}
