//! `/admin/messages` and `/admin/actors`: the messages between actors, stored in memory.
//!
//! A message has the summary that its type makes, and never its content: no secret gets here.

use std::convert::Infallible;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::ACCEPT;
use actix_web::web::{Bytes, Data, Json};
use actix_web::{HttpRequest, HttpResponse};
use chrono::{DateTime, Utc};
use futures_util::stream;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::sleep;

use crate::actors::journal::{Entry, Filter, Follower, Tailed};
use crate::domain::ids::ApiKeyId;
use crate::http::body::Query;
use crate::http::caller::{Bearer, Operator, key_of};
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::problem::Problem;
use crate::http::validation::{Fields, RequestPart};
use crate::service::keys::Revocation;

/// The maximum number of messages on a page.
const MOST: usize = 1000;

/// The maximum number of messages in an export: more than are kept by default.
const MOST_EXPORTED: usize = 100_000;

/// The interval of heartbeats on an idle stream.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// The media type of an export: one JSON object in each line.
const LINES: &str = "application/x-ndjson";

/// A filter of messages; every field is optional.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// The sender or receiver: `registry`, or the id of a session or run.
    actor: Option<String>,
    session: Option<String>,
    run: Option<String>,
    organization: Option<String>,
    kind: Option<String>,
    /// `done`, `refused`, `failed`, `unanswered`, `pending`.
    outcome: Option<String>,
    /// The least time from the sending to the answer, in milliseconds.
    slower_than_ms: Option<u64>,
    /// A text in the names, the note or the summary.
    text: Option<String>,
    since: Option<DateTime<Utc>>,
    /// The cursor from `next_cursor`.
    cursor: Option<i64>,
    limit: Option<usize>,
    /// `json`, or `jsonl` for one object in each line.
    format: Option<String>,
}

impl Params {
    /// Refuses what a stream has not: it shows each message that matches as it ends.
    fn check_stream(&self) -> Result<(), Problem> {
        let mut fields = Fields::of(RequestPart::Query);
        let no_pages = "a stream has no pages: it shows every message that matches";
        fields.require("cursor", self.cursor, self.cursor.is_none(), no_pages);
        fields.require("limit", self.limit, self.limit.is_none(), no_pages);
        let format = self.format.as_deref();
        fields.require("format", format, format.is_none(), "a stream has one format");
        let outcome = self.outcome.as_deref();
        let is_pending = outcome == Some("pending");
        fields.require("outcome", outcome, !is_pending, "a message in a stream has ended");
        fields.finish()
    }

    /// The filter and the number of messages that the query asks for.
    fn filter(self, most: usize, usual: usize) -> Result<(Filter, usize), Problem> {
        let mut fields = Fields::of(RequestPart::Query);
        let id = |name: &str, text: &Option<String>| text.clone().map(|it| (name.to_owned(), it));
        let session = id("session", &self.session);
        let session = session.and_then(|(name, text)| fields.check(&name, &*text, text.parse()));
        let run = id("run", &self.run);
        let run = run.and_then(|(name, text)| fields.check(&name, &*text, text.parse()));
        let organization = id("organization", &self.organization);
        let organization =
            organization.and_then(|(name, text)| fields.check(&name, &*text, text.parse()));
        let limit = self.limit.unwrap_or(usual);
        let within = (1..=most).contains(&limit);
        fields.require("limit", limit, within, format!("expected 1 to {most}"));
        let known = ["done", "refused", "failed", "unanswered", "pending"];
        if let Some(outcome) = &self.outcome {
            let expected = format!("expected one of {}", known.join(", "));
            let is_known = known.contains(&outcome.as_str());
            fields.require("outcome", outcome.as_str(), is_known, expected);
        }
        if let Some(format) = &self.format {
            let is_known = ["json", "jsonl"].contains(&format.as_str());
            fields.require("format", format.as_str(), is_known, "expected json or jsonl");
        }
        fields.finish()?;
        let Self { actor, kind, outcome, since, cursor: before, text, .. } = self;
        let slower_than = self.slower_than_ms.map(Duration::from_millis);
        let filter = Filter {
            actor,
            session,
            run,
            organization,
            slower_than,
            text,
            kind,
            outcome,
            since,
            before,
        };
        Ok((filter, limit))
    }
}

/// True if the client asks for one object in each line.
fn wants_lines(request: &HttpRequest, format: Option<&str>) -> bool {
    let accept = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok());
    match format {
        Some(format) => format == "jsonl",
        None => accept.is_some_and(|accept| accept.contains(LINES)),
    }
}

fn line(entry: &Entry) -> Bytes {
    let mut line = serde_json::to_vec(entry).unwrap_or_default();
    line.push(b'\n');
    line.into()
}

/// Lists the messages between actors, newest first. With `format=jsonl`, or `Accept: application/x-ndjson`, all that
/// match, one JSON object in each line.
#[utoipa::path(
    get,
    path = "/admin/messages",
    tag = "Operation",
    params(
        ("actor" = Option<String>, Query, description = "The sender or receiver: `registry`, or an id"),
        ("session" = Option<String>, Query, description = "`pbs_…`"),
        ("run" = Option<String>, Query, description = "`wr_…`"),
        ("organization" = Option<String>, Query, description = "`o_…`"),
        ("kind" = Option<String>, Query, description = "The kind of message, such as `begin`"),
        ("outcome" = Option<String>, Query, description = "`done`, `refused`, `failed`, `unanswered` or `pending`"),
        ("slower_than_ms" = Option<u64>, Query, description = "The least time until the answer"),
        ("text" = Option<String>, Query, description = "A text in the names, the note or the summary"),
        ("since" = Option<String>, Query, description = "The earliest time of sending"),
        ("cursor" = Option<i64>, Query, description = "`next_cursor` of the page before"),
        ("limit" = Option<u32>, Query, description = "At most 1000, or 100000 for an export"),
        ("format" = Option<String>, Query, description = "`json` or `jsonl`"),
    ),
    responses(
        (status = 200, description = "`messages` and `next_cursor`, or lines"),
        (status = 403, description = "This is not the operator key"),
    ),
)]
pub async fn list(
    _: Operator,
    Query(params): Query<Params>,
    request: HttpRequest,
    front: Data<Front>,
) -> Result<HttpResponse, Problem> {
    let journal = &front.world.journal;
    if wants_lines(&request, params.format.as_deref()) {
        let (filter, limit) = params.filter(MOST_EXPORTED, MOST_EXPORTED)?;
        let entries = journal.exported(&filter, limit);
        let lines = entries.map(|entry| Ok::<_, Infallible>(line(&entry)));
        return Ok(HttpResponse::Ok()
            .content_type(LINES)
            .insert_header(("Cache-Control", "no-store"))
            .streaming(stream::iter(lines)));
    }
    let (filter, limit) = params.filter(MOST, 100)?;
    let messages = journal.messages(&filter, limit);
    let next = messages.last().filter(|_last| messages.len() == limit).map(|last| last.id);
    Ok(HttpResponse::Ok().json(json!({ "messages": messages, "next_cursor": next })))
}

/// Shows a message with its causes, the outermost first, and the tree of the messages that were sent in its handling, as
/// far as they are still kept.
#[utoipa::path(
    get,
    path = "/admin/messages/{message_number}",
    tag = "Operation",
    params(("message_number" = i64, Path, description = "The `id` of the message")),
    responses(
        (status = 200, description = "`message`, `causes`, `consequences` and `truncated`"),
        (status = 403, description = "This is not the operator key"),
        (status = 404, description = "The message is not kept, or never was"),
    ),
)]
pub async fn show(
    _: Operator,
    request: HttpRequest,
    front: Data<Front>,
) -> Result<HttpResponse, Problem> {
    let text = request.match_info().get("message").unwrap_or_default();
    let lineage = text.parse().ok().and_then(|id| front.world.journal.lineage(id));
    match lineage {
        Some(lineage) => Ok(HttpResponse::Ok().json(lineage)),
        None => {
            let detail =
                "there is no such message, or it is not kept any more: the journal has the \
                          latest sessions.journal_messages"
                    .to_owned();
            Err(Problem::new(StatusCode::NOT_FOUND, "message_unknown", detail))
        }
    }
}

/// Lists the live actors, with the current work of each.
#[utoipa::path(
    get,
    path = "/admin/actors",
    tag = "Operation",
    responses(
        (status = 200, description = "`actors`: name, kind, phase, mailbox, work and last error of each"),
        (status = 403, description = "This is not the operator key"),
    ),
)]
pub async fn actors(_: Operator, front: Data<Front>) -> Json<Value> {
    Json(json!({ "actors": front.world.journal.actors() }))
}

/// A stream of messages to one operator.
struct Watcher {
    follower: Follower,
    front: Data<Front>,
    greeted: bool,
    /// The key that the stream ends with; none for that of the settings.
    key: Option<Revocation>,
    _permit: OwnedSemaphorePermit,
}

/// Streams the messages that match as they end, as `text/event-stream`. The event `message` has an entry as in the list,
/// the event `gap` the number of messages that a slow client has missed.
#[utoipa::path(
    get,
    path = "/admin/messages/stream",
    tag = "Operation",
    params(
        ("actor" = Option<String>, Query, description = "The sender or receiver: `registry`, or an id"),
        ("session" = Option<String>, Query, description = "`pbs_…`"),
        ("run" = Option<String>, Query, description = "`wr_…`"),
        ("organization" = Option<String>, Query, description = "`o_…`"),
        ("kind" = Option<String>, Query, description = "The kind of message, such as `begin`"),
        ("outcome" = Option<String>, Query, description = "`done`, `refused`, `failed` or `unanswered`"),
        ("slower_than_ms" = Option<u64>, Query, description = "The least time until the answer"),
        ("text" = Option<String>, Query, description = "A text in the names, the note or the summary"),
    ),
    responses(
        (status = 200, description = "The stream", content_type = "text/event-stream", body = String),
        (status = 403, description = "This is not the operator key"),
        (status = 422, description = "Fields are invalid, or are those of pages"),
        (status = 429, description = "`http.max_event_streams` streams are open"),
    ),
)]
pub async fn stream(
    _: Operator,
    Query(params): Query<Params>,
    request: HttpRequest,
    front: Data<Front>,
) -> Result<HttpResponse, ApiError> {
    params.check_stream()?;
    let (filter, _limit) = params.filter(MOST, MOST)?;
    let accept = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok());
    if accept.is_some_and(|it| !it.contains("text/event-stream") && !it.contains("*/*")) {
        let detail =
            "this is a stream: accept text/event-stream, or GET /admin/messages for a list";
        let status = StatusCode::NOT_ACCEPTABLE;
        return Err(Problem::new(status, "stream_only", detail).into());
    }
    let key = if Operator::comes_with(&request) { None } else { key_id(&request, &front).await? };
    let Ok(permit) = std::sync::Arc::clone(&front.streams).try_acquire_owned() else {
        let detail = "the limit of open event streams is reached (http.max_event_streams)";
        let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_streams", detail);
        return Err(problem.retry_after(Duration::from_secs(5)).into());
    };
    let watcher = Watcher {
        follower: front.world.journal.follow(filter),
        key: key.map(|key| front.keys.watch(key)),
        front,
        greeted: false,
        _permit: permit,
    };
    let chunks = stream::unfold(watcher, |mut watcher| async move {
        let chunk = watcher.next().await?;
        Some((Ok::<_, Infallible>(chunk), watcher))
    });
    Ok(HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header(("Cache-Control", "no-store"))
        .insert_header(("X-Accel-Buffering", "no"))
        .streaming(chunks))
}

/// The key of an operator that is a key of an organization.
async fn key_id(request: &HttpRequest, front: &Data<Front>) -> Result<Option<ApiKeyId>, Problem> {
    let Some(key) = key_of(request) else { return Ok(None) };
    let from = crate::http::outside::client_address(request);
    let Bearer { caller, .. } = front.keys.bearer(&key, from).await?;
    Ok(Some(caller.key))
}

impl Watcher {
    /// The next chunk to send; none when the server stops or the key was revoked.
    async fn next(&mut self) -> Option<Bytes> {
        if !std::mem::replace(&mut self.greeted, true) {
            // Sent at once, so that the client knows that it is connected.
            return Some(Bytes::from_static(b": messages\nretry: 2000\n\n"));
        }
        let key = self.key.clone();
        let revoked = async {
            match key {
                Some(key) => key.revoked().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = revoked => None,
            () = self.front.closing.cancelled() => None,
            () = sleep(HEARTBEAT) => Some(Bytes::from_static(b": heartbeat\n\n")),
            next = self.follower.next() => Some(match next? {
                Tailed::Message(entry) => {
                    let data = serde_json::to_string(&entry).unwrap_or_default();
                    format!("id: {}\nevent: message\ndata: {data}\n\n", entry.id).into()
                }
                Tailed::Missed(missed) => {
                    format!("event: gap\ndata: {{\"missed\":{missed}}}\n\n").into()
                }
            }),
        }
    }
}
