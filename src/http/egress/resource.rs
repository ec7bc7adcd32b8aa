//! The network of a session as clients see it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::actors::refusals::Refused;
use crate::actors::views::SessionView;
use crate::db;
use crate::domain::egress::{EgressLists, NetworkLevel};
use crate::domain::ids::SessionId;
use crate::domain::masking::masked_url;
use crate::domain::run::RunRecord;
use crate::domain::session::FilesLevel;
use crate::http::error::ApiError;
use crate::http::front::Front;

/// The most refused targets that are shown.
const MOST_SHOWN: usize = 20;

/// The separation of a session's programs from the server and from other sessions.
#[derive(Debug, Serialize, ToSchema)]
pub struct IsolationResource {
    /// `enforced`: a network of their own, from which nothing leaves but through the egress program;
    /// `proxied`: they are asked to use it; `none`: the network is the server's.
    pub network: &'static str,
    /// `landlock`, `uid` or `none`: what keeps them from files that are not theirs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<&'static str>,
    /// True if the browser runs in its own sandbox.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<bool>,
}

impl IsolationResource {
    /// Of a session whose desktop is known.
    pub fn of(view: &SessionView) -> Option<Self> {
        let desktop = view.record.desktop.as_ref()?;
        let network = desktop.egress.as_ref().map_or(NetworkLevel::None, |egress| egress.level);
        let files = desktop.files.map(FilesLevel::as_str);
        Some(Self { network: network.as_str(), files, sandbox: desktop.sandbox })
    }
}

/// What a session's programs reach, and what they were refused.
#[derive(Debug, Serialize, ToSchema)]
pub struct EgressResource {
    /// The only targets that may be reached; every one that the server allows if there is none.
    pub allow: Vec<String>,
    /// Targets that may not be reached.
    pub deny: Vec<String>,
    /// The proxy that everything goes through, without its password.
    pub upstream: Option<String>,
    /// The lists of the organization, which hold as well: `{allow, deny}`.
    #[schema(value_type = Object)]
    pub organization: Value,
    /// The latest targets that were refused while the session lives.
    pub refused: Vec<RefusedTarget>,
    /// The latest failure of the upstream proxy: `{code, message, at, recovered}`.
    #[schema(value_type = Option<Object>)]
    pub upstream_error: Option<Value>,
}

/// Requests to one target that were refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct RefusedTarget {
    /// `host:port`; null for targets that are not listed one by one.
    pub target: Option<String>,
    /// Stable, for programs: `address_not_public`, `host_not_listed`, `host_denied`, `port_refused`, …
    pub code: String,
    /// The reason, and the setting that lifts it.
    pub message: String,
    /// The number of requests.
    pub count: u64,
    /// When the last one was refused.
    pub last_at: Option<DateTime<Utc>>,
}

pub(super) fn lists(lists: &EgressLists) -> Value {
    json!({ "allow": lists.allow, "deny": lists.deny })
}

fn at(milliseconds: u64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_millis(i64::try_from(milliseconds).ok()?)
}

impl EgressResource {
    /// As the session stands.
    pub fn of(view: &SessionView, front: &Front) -> Self {
        let spec = &view.record.spec;
        let traffic = front.world.views.traffic(view.record.id);
        let status = traffic.and_then(|traffic| traffic.status.borrow().clone());
        let rows = status.iter().flat_map(|status| &status.refused).take(MOST_SHOWN);
        let refused = rows.map(|row| {
            let Refused { target, code, message, count } =
                Refused::new(&row.host, row.port, &row.code, row.count);
            RefusedTarget { target, code, message, count, last_at: at(row.last_ms) }
        });
        let upstream_error = status.as_ref().and_then(|status| status.upstream_error.as_ref());
        Self {
            allow: spec.egress.allow.clone(),
            deny: spec.egress.deny.clone(),
            upstream: spec.proxy.as_ref().map(|url| masked_url(url.as_str())),
            organization: lists(&spec.organization_egress),
            refused: refused.collect(),
            upstream_error: upstream_error.map(|error| {
                json!({
                    "code": error.code,
                    "message": error.message,
                    "at": at(error.at_ms),
                    "recovered": error.recovered,
                })
            }),
        }
    }
}

/// What a session uses: what the machine counts of its programs, and the bytes of its network. None where
/// nothing is counted.
pub fn usage(id: SessionId, front: &Front) -> Option<Value> {
    let counted = front.world.launcher.usage(id);
    let counted = counted.and_then(|usage| serde_json::to_value(usage).ok());
    let traffic = front.world.views.traffic(id);
    let bytes = traffic.and_then(|traffic| {
        let status = traffic.status.borrow();
        status.as_ref().map(|status| (status.bytes_sent, status.bytes_received))
    });
    let Some((sent, received)) = bytes else { return counted };
    let mut usage = match counted {
        Some(Value::Object(usage)) => usage,
        Some(_) | None => Map::new(),
    };
    usage.insert("egress_bytes_sent".to_owned(), sent.into());
    usage.insert("egress_bytes_received".to_owned(), received.into());
    Some(Value::Object(usage))
}

/// What the pages of a run were refused, as far as its events are kept.
pub async fn refused_of_run(
    front: &Front,
    run: &RunRecord,
) -> Result<Vec<RefusedTarget>, ApiError> {
    let Some(session) = run.session else { return Ok(Vec::new()) };
    let events = db::events::refused_in(&front.db, run.organization, session, run.id).await?;
    let mut targets: BTreeMap<(Option<String>, String), RefusedTarget> = BTreeMap::new();
    for event in events {
        let text =
            |name: &str| event.event.data.get(name).and_then(Value::as_str).map(str::to_owned);
        let (target, code) = (text("target"), text("code").unwrap_or_default());
        let count = event.event.data.get("count").and_then(Value::as_u64).unwrap_or(0);
        let entry = targets.entry((target.clone(), code.clone())).or_insert(RefusedTarget {
            target,
            code,
            message: text("message").unwrap_or_default(),
            count: 0,
            last_at: None,
        });
        entry.count = entry.count.saturating_add(count);
        entry.last_at = Some(event.event.at);
    }
    Ok(targets.into_values().collect())
}
