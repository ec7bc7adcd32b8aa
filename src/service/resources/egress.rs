//! The network of a session as the API shows it.

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
use crate::service::core::Core;
use crate::service::error::ServiceError;

/// The maximum number of refused targets in an answer.
const MOST_SHOWN: usize = 20;

/// The isolation of a session's programs from the server and from other sessions.
#[derive(Debug, Serialize, ToSchema)]
pub struct IsolationResource {
    /// The separation of the network. `enforced`: the programs have a network of their own, and
    /// only the egress program leads out of it; `proxied`: the programs are asked to use the egress
    /// program; `none`: they share the server's network.
    pub network: &'static str,
    /// The protection of other users' and sessions' files: `landlock`, `uid` or `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<&'static str>,
    /// True if the browser runs in its own sandbox.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<bool>,
}

impl IsolationResource {
    /// Returns the isolation of a session with a known desktop; else `None`.
    pub fn of(view: &SessionView) -> Option<Self> {
        let desktop = view.record.desktop.as_ref()?;
        let network = desktop.egress.as_ref().map_or(NetworkLevel::None, |egress| egress.level);
        let files = desktop.files.map(FilesLevel::as_str);
        Some(Self { network: network.as_str(), files, sandbox: desktop.sandbox })
    }
}

/// The targets that a session's programs may reach, and those that were refused.
#[derive(Debug, Serialize, ToSchema)]
pub struct EgressResource {
    /// The only targets that the programs may reach; if empty, every target that the server allows.
    pub allow: Vec<String>,
    /// Targets that the programs may not reach.
    pub deny: Vec<String>,
    /// The proxy for all traffic, without its password.
    pub upstream: Option<String>,
    /// The lists of the organization, which apply as well: `{allow, deny}`.
    #[schema(value_type = Object)]
    pub organization: Value,
    /// The latest refused targets of the live session.
    pub refused: Vec<RefusedTarget>,
    /// The latest failure of the upstream proxy: `{code, message, at, recovered}`.
    #[schema(value_type = Option<Object>)]
    pub upstream_error: Option<Value>,
}

/// Refused requests to one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct RefusedTarget {
    /// The target as `host:port`; null for targets that are not listed one by one.
    pub target: Option<String>,
    /// A stable code for programs: `address_not_public`, `host_not_listed`, `host_denied`,
    /// `port_refused`, …
    pub code: String,
    /// The reason, and the setting that allows the target.
    pub message: String,
    /// The number of refused requests.
    pub count: u64,
    /// The time of the latest refusal.
    pub last_at: Option<DateTime<Utc>>,
}

pub(super) fn lists(lists: &EgressLists) -> Value {
    json!({ "allow": lists.allow, "deny": lists.deny })
}

fn at(milliseconds: u64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_millis(i64::try_from(milliseconds).ok()?)
}

impl EgressResource {
    /// Returns the present network of a session.
    pub fn of(view: &SessionView, core: &Core) -> Self {
        let spec = &view.record.spec;
        let traffic = core.world.views.traffic(view.record.id);
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

/// Returns the usage of a session: the resources of its programs and the bytes of its network.
/// `None` if nothing is counted.
pub fn usage(id: SessionId, core: &Core) -> Option<Value> {
    let counted = core.world.launcher.usage(id);
    let counted = counted.and_then(|usage| serde_json::to_value(usage).ok());
    let traffic = core.world.views.traffic(id);
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

/// Returns the targets that were refused to the pages of a run, as far as its events are still
/// stored.
pub async fn refused_of_run(
    core: &Core,
    run: &RunRecord,
) -> Result<Vec<RefusedTarget>, ServiceError> {
    let Some(session) = run.session else { return Ok(Vec::new()) };
    let events = db::events::refused_in(&core.db, run.organization, session, run.id).await?;
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
