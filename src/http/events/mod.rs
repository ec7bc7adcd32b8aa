//! `/v1/events` and `/v1/browser_sessions/{id}/events`: the log of events.
//!
//! Both are a stream of server-sent events, or a page of JSON for clients that send `Accept:
//! application/json`. A position in the log is the number of the event before it, `seq`. The events
//! after a position may be forgotten, or the position may belong to another numbering. The client
//! then receives `reset`, and continues with the events that are kept.

mod stream;

use std::time::Duration;

use actix_web::http::header::ACCEPT;
use actix_web::web::{Data, ServiceConfig, get};
use actix_web::{HttpRequest, HttpResponse};
use chrono::DateTime;
use serde::Deserialize;
use tokio::time::timeout;
use utoipa::IntoParams;

use super::body::{PathId, Query};
use super::caller::Caller;
use super::counting;
use super::error::ApiError;
use super::front::Front;
use super::paging;
use super::problem::Problem;
use super::sessions;
use super::validation::{Fields, RequestPart};
use crate::db::events::Extent;
use crate::db::{self, Mark};
use crate::domain::ids::{OrganizationId, SessionId};
use crate::domain::quota::Quota;
use crate::service::resources::event::{EventsPage, Reset};

/// The name of the lists in cursors.
const LIST: &str = "events";

/// The longest time that a page of JSON waits for an event, in seconds.
const LONGEST_WAIT: u64 = 25;

/// The maximum number of events on a page; `USUAL` is the default.
const MOST: u32 = 1_000;
const USUAL: u32 = 100;

pub fn routes(config: &mut ServiceConfig) {
    config
        .route("/v1/events", get().to(of_organization))
        .route("/v1/browser_sessions/{id}/events", get().to(of_session));
}

/// The query of the request.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// Only events after this number, or `latest` for new events only. The default is all events that
    /// are kept. The header `Last-Event-ID` takes precedence.
    after: Option<String>,
    /// The `x-next-cursor` of the page before; it takes precedence over `after`.
    cursor: Option<String>,
    /// The number of events on a page of JSON, 1 to 1000; 100 by default.
    limit: Option<u32>,
    /// The time in seconds that a page of JSON waits for an event if there is none; at most 25.
    wait_seconds: Option<u64>,
    /// The API key, for clients that cannot set headers.
    #[param(ignore)]
    apikey: Option<serde::de::IgnoredAny>,
}

/// A position in the events of an organization or of a session.
#[derive(Debug, Clone, Copy)]
struct Position {
    organization: OrganizationId,
    session: Option<SessionId>,
    after: i64,
}

impl Position {
    /// Moves an invalid position to the oldest valid one, and returns the reset to report to the
    /// client.
    fn settle(&mut self, Extent { last, forgotten }: Extent) -> Option<Reset> {
        if (forgotten..=last).contains(&self.after) || (self.after == 0 && forgotten == 0) {
            return None;
        }
        let reset = Reset { asked: self.after, oldest: forgotten + 1 };
        // A client that starts at the beginning has missed nothing.
        let missed = self.after != 0;
        self.after = forgotten;
        missed.then_some(reset)
    }
}

/// Lists the events of the organization's sessions and runs.
#[utoipa::path(
    get,
    path = "/v1/events",
    tag = "Events",
    params(Params, ("Last-Event-ID" = Option<i64>, Header, description = "The last received event; the answer continues after it")),
    responses(
        (
            status = 200,
            description = "A page, or a stream with the same events, each with its number as `id` \
                and its kind as `event`",
            content((EventsPage = "application/json"), (String = "text/event-stream")),
            headers(("x-next-cursor" = Option<String>, description = "The `cursor` of the next page, of a page")),
        ),
        (status = 422, description = "Fields are invalid, or the cursor is (`cursor_invalid`)"),
        (status = 429, description = "The limit of open streams is reached"),
    ),
)]
pub async fn of_organization(
    caller: Caller,
    Query(params): Query<Params>,
    request: HttpRequest,
    front: Data<Front>,
) -> Result<HttpResponse, ApiError> {
    follow(&front, caller, None, &params, &request).await
}

/// Lists the events of one session and its runs.
#[utoipa::path(
    get,
    path = "/v1/browser_sessions/{browser_session_id}/events",
    tag = "Events",
    params(
        ("browser_session_id" = String, Path, description = "`pbs_…`"),
        Params,
        ("Last-Event-ID" = Option<i64>, Header, description = "The last received event; the answer continues after it"),
    ),
    responses(
        (
            status = 200,
            description = "The same as for an organization, for one session",
            content((EventsPage = "application/json"), (String = "text/event-stream")),
        ),
        (status = 404, description = "There is no such session"),
        (status = 429, description = "The limit of open streams is reached"),
    ),
)]
pub async fn of_session(
    caller: Caller,
    PathId(id): PathId<SessionId>,
    Query(params): Query<Params>,
    request: HttpRequest,
    front: Data<Front>,
) -> Result<HttpResponse, ApiError> {
    sessions::find(&front, caller.organization, id).await?;
    follow(&front, caller, Some(id), &params, &request).await
}

async fn follow(
    front: &Data<Front>,
    caller: Caller,
    session: Option<SessionId>,
    params: &Params,
    request: &HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let organization = caller.organization;
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let wants_json = header(ACCEPT).is_some_and(|accept| {
        accept.contains("application/json") && !accept.contains("text/event-stream")
    });
    // Before the database is asked: a refusal costs it nothing.
    let quota = match wants_json {
        true => None,
        false => Some(front.place(organization, Quota::EventStreams)?),
    };
    let extent = db::events::extent(&front.db, organization).await?;
    let after = params.place(request, extent)?;
    let place = Position { organization, session, after };
    if let Some(quota) = quota {
        return stream::open(front, place, quota, front.keys.watch(caller.key));
    }
    let page = front.keys.unless_revoked(caller.key, page(front, place, params)).await??;
    let at = Mark { at: DateTime::UNIX_EPOCH, id: page.next.to_string(), live: false };
    Ok(HttpResponse::Ok().insert_header((paging::NEXT, paging::cursor(LIST, &at))).json(page))
}

impl Params {
    fn place(&self, request: &HttpRequest, extent: Extent) -> Result<i64, Problem> {
        let header = request.headers().get("last-event-id").and_then(|value| value.to_str().ok());
        if let (None, Some(mark)) = (header, paging::mark(LIST, self.cursor.as_deref())?) {
            return mark.id.parse().map_err(|_odd| paging::invalid());
        }
        let (part, field, given) = match (header, self.after.as_deref()) {
            (Some(given), _) => (RequestPart::Header, "last-event-id", given),
            (None, Some(given)) => (RequestPart::Query, "after", given),
            (None, None) => return Ok(0),
        };
        if given == "latest" {
            return Ok(extent.last);
        }
        let number = given.trim().parse().ok().filter(|number: &i64| *number >= 0);
        let mut fields = Fields::of(part);
        let wrong = "expected the `seq` of an event, or `latest`";
        let number = fields.check(field, given, number.ok_or(wrong));
        fields.finish()?;
        Ok(number.unwrap_or(0))
    }
}

async fn page(front: &Front, mut place: Position, params: &Params) -> Result<EventsPage, ApiError> {
    let limit = params.limit.unwrap_or(USUAL).clamp(1, MOST);
    let wait = Duration::from_secs(params.wait_seconds.unwrap_or(0).min(LONGEST_WAIT));
    if !wait.is_zero() {
        counting::waits();
    }
    let mut latest = front.world.events.latest(place.organization);
    let began = tokio::time::Instant::now();
    loop {
        let Position { organization, session, after } = place;
        let extent = db::events::extent(&front.db, organization).await?;
        let reset = place.settle(extent);
        let events = db::events::after(&front.db, organization, session, place.after, limit);
        let events = events.await?;
        let left = wait.saturating_sub(began.elapsed());
        if events.is_empty() && reset.is_none() && !left.is_zero() {
            // Up to here there is no event of this session.
            place.after = place.after.max(extent.last);
            let risen = latest.wait_for(|seq| *seq > place.after);
            tokio::select! {
                _ = timeout(left, risen) => {}
                () = front.closing.cancelled() => return Ok(EventsPage::of(&events, after, reset)),
            }
            continue;
        }
        let next = match events.last() {
            Some(event) => event.seq,
            None => place.after.max(extent.last),
        };
        return Ok(EventsPage::of(&events, next, reset));
    }
}
