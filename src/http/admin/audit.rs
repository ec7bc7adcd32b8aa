//! `/admin/audit`: the stored trail of changes, with the request behind each.

use actix_web::web::{Data, Json};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::db;
use crate::db::audit_events::{Cursor, Filter};
use crate::domain::audit::AuditEvent;
use crate::http::body::Query;
use crate::http::caller::Operator;
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::validation::{Fields, RequestPart};

/// The maximum number of events on a page.
const MOST: u32 = 1000;

/// A filter of audit events; every field is optional.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    organization: Option<String>,
    session: Option<String>,
    run: Option<String>,
    kind: Option<String>,
    /// `done`, `refused`, `failed`, `unanswered`.
    outcome: Option<String>,
    /// The id of an API key, or `operator`.
    key: Option<String>,
    /// The id of a request.
    request: Option<String>,
    since: Option<DateTime<Utc>>,
    /// The cursor from `next_cursor`.
    cursor: Option<String>,
    limit: Option<u32>,
}

/// Lists the changes that were requested, newest first: the kind, the outcome, the subject, and the key, the client's
/// address and the id of the request that caused each. What a server does by itself has none of the three.
#[utoipa::path(
    get,
    path = "/admin/audit",
    tag = "Operation",
    params(
        ("organization" = Option<String>, Query, description = "`o_…`"),
        ("session" = Option<String>, Query, description = "`pbs_…`"),
        ("run" = Option<String>, Query, description = "`wr_…`"),
        ("kind" = Option<String>, Query, description = "The kind of change, such as `begin`"),
        ("outcome" = Option<String>, Query, description = "`done`, `refused`, `failed` or `unanswered`"),
        ("key" = Option<String>, Query, description = "The id of a key, or `operator`"),
        ("request" = Option<String>, Query, description = "The id of a request, as in `x-request-id`"),
        ("since" = Option<String>, Query, description = "The earliest time"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
        ("limit" = Option<u32>, Query, description = "At most 1000; 100 by default"),
    ),
    responses(
        (status = 200, description = "`events` and `next_cursor`"),
        (status = 403, description = "This is not the operator key"),
        (status = 503, description = "The database does not answer"),
    ),
)]
pub async fn list(
    _: Operator,
    Query(params): Query<Params>,
    front: Data<Front>,
) -> Result<Json<Value>, ApiError> {
    let mut fields = Fields::of(RequestPart::Query);
    let organization = params.organization.as_deref();
    let organization =
        organization.and_then(|text| fields.check("organization", text, text.parse()));
    let session = params.session.as_deref();
    let session = session.and_then(|text| fields.check("session", text, text.parse()));
    let run = params.run.as_deref();
    let run = run.and_then(|text| fields.check("run", text, text.parse()));
    let limit = params.limit.unwrap_or(100);
    fields.require("limit", limit, (1..=MOST).contains(&limit), "expected 1 to 1000");
    let after = params.cursor.as_deref().map(read_cursor);
    let is_cursor = after.is_none_or(|after| after.is_some());
    fields.require("cursor", params.cursor.as_deref(), is_cursor, "expected `next_cursor`");
    fields.finish()?;
    let Params { kind, outcome, key, request, since, .. } = params;
    let filter = Filter { organization, session, run, kind, outcome, key, request, since };
    let events = db::audit_events::list(&front.db, filter, after.flatten(), limit).await?;
    let is_full = u32::try_from(events.len()) == Ok(limit);
    let next = events.last().filter(|_last| is_full).map(|last| written_cursor(last.into()));
    let shown: Vec<Value> = events.iter().map(shown).collect();
    Ok(Json(json!({ "events": shown, "next_cursor": next })))
}

fn shown(event: &AuditEvent) -> Value {
    json!({
        "audit_event_id": event.id.to_string(),
        "at": event.at,
        "kind": event.kind,
        "outcome": event.outcome,
        "sender": event.sender,
        "receiver": event.receiver,
        "key_id": event.key,
        "client_address": event.address,
        "request_id": event.request,
        "organization_id": event.organization.map(|id| id.to_string()),
        "browser_session_id": event.session.map(|id| id.to_string()),
        "run_id": event.run.map(|id| id.to_string()),
        "message_id": event.message_id,
        "cause": event.cause,
        "summary": event.summary,
    })
}

/// A position as text: the time in microseconds and the id.
fn written_cursor(Cursor { at, id }: Cursor) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(format!("{} {id}", at.timestamp_micros()))
}

fn read_cursor(text: &str) -> Option<Cursor> {
    let text = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
    let (at, id) = text.split_once(' ')?;
    Some(Cursor { at: DateTime::from_timestamp_micros(at.parse().ok()?)?, id: id.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back_and_another_text_is_none() {
        let at = DateTime::from_timestamp_micros(1_800_000_000_123_456).unwrap();
        let cursor = Cursor { at, id: 7.into() };
        assert_eq!(read_cursor(&written_cursor(cursor)), Some(cursor));
        assert_eq!(read_cursor("bm8"), None);
        assert_eq!(read_cursor("%"), None);
    }
}
