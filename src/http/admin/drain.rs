//! `/admin/drain`: rejects new work, lets active work finish, and reports the progress.
//!
//! Draining ends nothing by itself. To stop the server, an operator drains it, waits until `drained`, and
//! stops it; or stops it at once, which first drains it for `stop.grace_seconds`.

use std::time::Duration;

use actix_web::web::{Data, Json};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::actors::draining::Draining;
use crate::actors::registry::{Drain, Undrain};
use crate::actors::under_way::UnderWay;
use crate::http::body::{RawBody, parse};
use crate::http::caller::Operator;
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::validation::Fields;

/// The longest time that can be set for active work.
const MOST: u64 = 7 * 24 * 60 * 60;

/// The deadline of a drain.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = DrainRequest)]
#[serde(default, deny_unknown_fields)]
pub struct Request {
    /// The time in which active work should finish, in seconds. Viewers are notified of it,
    /// and nothing is ended.
    deadline_seconds: Option<u64>,
}

fn progress(front: &Front, draining: Option<Draining>) -> Json<Value> {
    let left = UnderWay::of(&front.world.views);
    let state = match draining {
        None => "open",
        Some(Draining { stopping: true, .. }) => "stopping",
        Some(Draining { stopping: false, .. }) => "draining",
    };
    let deadline = draining.and_then(|draining| draining.deadline);
    let now = front.world.clock.now();
    Json(json!({
        "state": state,
        "since": draining.map(|draining| draining.since),
        "deadline": deadline,
        "overdue": deadline.is_some_and(|deadline| deadline <= now) && !left.is_quiet(),
        "drained": draining.is_some() && left.is_quiet(),
        "left": left,
    }))
}

/// Starts draining: new work is rejected. May be repeated with another deadline.
#[utoipa::path(
    post,
    path = "/admin/drain",
    tag = "Operation",
    request_body = Option<Request>,
    responses(
        (status = 200, description = "The progress: `state`, `since`, `deadline`, `overdue`, \
            `drained`, and as `left` the sessions, occupants, waiters, runs and viewers"),
        (status = 403, description = "This is not the operator key"),
    ),
)]
pub async fn begin(
    _: Operator,
    RawBody(body): RawBody,
    front: Data<Front>,
) -> Result<Json<Value>, ApiError> {
    let request: Request = if body.is_empty() { Request::default() } else { parse(&body)? };
    let mut fields = Fields::new();
    let seconds = request.deadline_seconds;
    let fits = seconds.is_none_or(|seconds| seconds <= MOST);
    fields.require("deadline_seconds", seconds, fits, "expected at most 604800, a week");
    fields.finish()?;
    let within = seconds.map(Duration::from_secs);
    let draining = front.registry.ask(Drain { within, stopping: false }).await??;
    Ok(progress(&front, Some(draining)))
}

/// Returns the state of a drain, and the remaining work.
#[utoipa::path(
    get,
    path = "/admin/drain",
    tag = "Operation",
    responses(
        (status = 200, description = "The same as the answer of `POST`; `state` may be `open`"),
        (status = 403, description = "This is not the operator key"),
    ),
)]
pub async fn show(_: Operator, front: Data<Front>) -> Json<Value> {
    let draining = *front.world.views.draining().borrow();
    progress(&front, draining)
}

/// Ends draining: new work is accepted again.
#[utoipa::path(
    delete,
    path = "/admin/drain",
    tag = "Operation",
    responses(
        (status = 200, description = "The same as the answer of `POST`; `state` is `open`"),
        (status = 403, description = "This is not the operator key"),
        (status = 503, description = "The server is stopping"),
    ),
)]
pub async fn end(_: Operator, front: Data<Front>) -> Result<Json<Value>, ApiError> {
    front.registry.ask(Undrain).await??;
    Ok(progress(&front, None))
}
