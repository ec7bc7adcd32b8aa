//! `/admin/pressure`: the capacity of this node, and the reason if it takes no new session.

use actix_web::http::StatusCode;
use actix_web::http::header::ACCEPT;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;

use crate::http::caller::Operator;
use crate::http::front::Front;

/// The kinds of messages that bring new work.
const NEW_WORK: [&str; 3] = ["create", "start_run", "begin"];

/// Shows how many sessions and runs this node has and may have, what waits, what was refused since its start, and why it
/// takes no new session, if it does not. With `Accept: text/plain` the answer is one line for probes: `ok`, or
/// 503 and the reason.
#[utoipa::path(
    get,
    path = "/admin/pressure",
    tag = "Operation",
    responses(
        (status = 200, description = "`accepts`, `reason`, `capacity`, `queued` and `rejected`; or `ok`"),
        (status = 403, description = "This is not the operator key"),
        (status = 503, description = "The reason, as plain text"),
    ),
)]
pub async fn show(_: Operator, request: HttpRequest, front: Data<Front>) -> HttpResponse {
    let world = &front.world;
    let (settings, sessions) = (&world.settings, world.views.all_sessions());
    let dormant = sessions.iter().filter(|view| view.record.is_dormant()).count();
    let present = sessions.len().saturating_sub(dormant);
    let runs = world.views.runs_under_way();
    let draining = *world.views.draining().borrow();
    let lack = world.launcher.room(1).await.err();
    let reason = match (draining, lack) {
        (Some(draining), _) if draining.stopping => Some("the server is stopping".to_owned()),
        (Some(_), _) => Some("the server is draining".to_owned()),
        (None, _) if present >= settings.max_sessions => {
            Some(format!("{present} sessions are live, which is the limit (sessions.max_sessions)"))
        }
        (None, Some(lack)) => Some(format!("{lack} ({})", lack.setting)),
        (None, None) => None,
    };
    let accept = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok());
    if accept.is_some_and(|accept| accept.starts_with("text/plain")) {
        let (status, line) = match &reason {
            None => (StatusCode::OK, "ok"),
            Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason.as_str()),
        };
        let mut answer = HttpResponse::build(status);
        return answer.content_type("text/plain; charset=utf-8").body(format!("{line}\n"));
    }
    let refused: u64 = NEW_WORK
        .iter()
        .map(|kind| {
            let outcomes = &world.journal.metrics().of(&[kind]).outcomes;
            outcomes.all().find(|(name, _)| *name == "refused").map_or(0, |(_, count)| count)
        })
        .sum();
    let waiters: usize = sessions.iter().map(|view| view.waiters.len()).sum();
    HttpResponse::Ok().json(json!({
        "accepts": reason.is_none(),
        "reason": reason,
        "capacity": {
            "sessions": present,
            "most_sessions": settings.max_sessions,
            "dormant_sessions": dormant,
            "runs": runs,
            "most_runs": settings.max_runs,
        },
        "queued": { "occupancy_waiters": waiters, "database_changes": database_queue(&front) },
        "rejected": refused,
    }))
}

fn database_queue(front: &Front) -> Option<usize> {
    front.db.figures().writer.map(|writer| writer.waiting)
}
