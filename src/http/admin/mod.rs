//! `/admin`: the API of operators. It needs the operator key of the settings, or a key with the role
//! `operator`.

pub mod deletion;
pub mod drain;
pub mod leaks;
pub mod organizations;
pub mod pool;
pub mod profiles;
mod retention;
pub mod suspension;

use actix_web::web::{Data, Json, ServiceConfig, delete, get, patch, post, resource as at};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::Query;
use super::caller::Operator;
use super::front::Front;
use super::problem::Problem;
use super::validation::{Fields, RequestPart};
use crate::actors::journal::Filter;

pub fn routes(config: &mut ServiceConfig) {
    config
        .route("/admin/messages", get().to(messages))
        .route("/admin/actors", get().to(actors))
        .route("/admin/leaks", get().to(leaks::show))
        .route("/admin/leaks/fix", post().to(leaks::fix))
        .route("/admin/pool", get().to(pool::show))
        .route("/admin/profiles/restore", post().to(profiles::begin))
        .service(
            at("/admin/organizations")
                .route(post().to(organizations::create))
                .route(get().to(organizations::list)),
        )
        .service(
            at("/admin/organizations/{id}")
                .route(get().to(organizations::show))
                .route(patch().to(organizations::change))
                .route(delete().to(deletion::delete)),
        )
        .service(
            at("/admin/organizations/{id}/api_keys")
                .route(post().to(organizations::make_key))
                .route(get().to(organizations::list_keys)),
        )
        .route("/admin/organizations/{id}/api_keys/{key}", delete().to(organizations::revoke_key))
        .route(
            "/admin/organizations/{id}/api_keys/{key}/rotate",
            post().to(organizations::rotate_key),
        )
        .service(
            at("/admin/drain")
                .route(post().to(drain::begin))
                .route(get().to(drain::show))
                .route(delete().to(drain::end)),
        );
}

/// A filter of messages; every field is optional.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Params {
    /// The sender or receiver: `registry`, or the id of a session or run.
    actor: Option<String>,
    session: Option<String>,
    run: Option<String>,
    kind: Option<String>,
    /// `done`, `refused`, `failed`, `unanswered`, `pending`.
    outcome: Option<String>,
    since: Option<DateTime<Utc>>,
    /// The cursor from `next_cursor`.
    cursor: Option<i64>,
    limit: Option<usize>,
}

/// The maximum number of messages on a page.
const MOST: usize = 1000;

/// Lists the messages between actors, newest first.
async fn messages(
    _: Operator,
    Query(params): Query<Params>,
    front: Data<Front>,
) -> Result<Json<Value>, Problem> {
    let mut fields = Fields::of(RequestPart::Query);
    let id = |name: &str, text: &Option<String>| text.clone().map(|text| (name.to_owned(), text));
    let (session, run) = (id("session", &params.session), id("run", &params.run));
    let session = session.and_then(|(name, text)| fields.check(&name, &*text, text.parse()));
    let run = run.and_then(|(name, text)| fields.check(&name, &*text, text.parse()));
    let limit = params.limit.unwrap_or(100);
    fields.require("limit", limit, (1..=MOST).contains(&limit), "expected 1 to 1000");
    let known = ["done", "refused", "failed", "unanswered", "pending"];
    if let Some(outcome) = &params.outcome {
        let expected = format!("expected one of {}", known.join(", "));
        fields.require("outcome", outcome.as_str(), known.contains(&outcome.as_str()), expected);
    }
    fields.finish()?;

    let Params { actor, kind, outcome, since, cursor: before, .. } = params;
    let filter = Filter { actor, session, run, kind, outcome, since, before };
    let messages = front.world.journal.messages(&filter, limit);
    let next = messages.last().filter(|_last| messages.len() == limit).map(|last| last.id);
    Ok(Json(json!({ "messages": messages, "next_cursor": next })))
}

/// Lists the live actors, with the current work of each.
async fn actors(_: Operator, front: Data<Front>) -> Json<Value> {
    Json(json!({ "actors": front.world.journal.actors() }))
}
