//! `/v1/browser_sessions/{id}/viewers`: tickets for viewers, and the connected viewers.

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::web::{Data, Json};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::told;
use crate::actors::registry::Route;
use crate::actors::session::{Invite, Invited, PutOut, ViewerList, Viewers};
use crate::actors::tickets::{Ticket, Uses};
use crate::domain::control::Credential;
use crate::domain::ids::{SessionId, ViewerId};
use crate::domain::rfb::Role;
use crate::http::body::{Body, PathId};
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::validation::Fields;

/// The maximum length of a label, in characters.
const LONGEST_LABEL: usize = 100;

/// The roles that a ticket may have.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Asked {
    Watch,
    Control,
}

/// The ticket that is requested.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = ViewerRequest)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The role: `watch` or `control`.
    #[schema(value_type = String)]
    role: Asked,
    /// The name of the viewer, for people.
    label: Option<String>,
    /// The life of the ticket in seconds; 3600 by default.
    ttl_seconds: Option<u64>,
    /// The uses: `single`, for the first page that presents the ticket, or `many`.
    #[serde(default = "many")]
    #[schema(value_type = String)]
    uses: Uses,
}

fn many() -> Uses {
    Uses::Many
}

/// Returns the name of a role in the API.
pub fn role_name(role: Role) -> &'static str {
    match role {
        Role::Watch => "watch",
        Role::Control => "control",
    }
}

/// Makes a ticket. Only this answer shows its secret.
#[utoipa::path(
    post,
    path = "/v1/browser_sessions/{browser_session_id}/viewers",
    tag = "Viewers",
    params(("browser_session_id" = String, Path, description = "`pbs_…`")),
    request_body = Request,
    responses(
        (status = 200, description = "The ticket, with its `ticket` and its `link`"),
        (status = 404, description = "There is no such session"),
        (status = 410, description = "The session has ended"),
        (status = 429, description = "As many tickets are valid as may be"),
    ),
)]
pub async fn invite(
    caller: Caller,
    PathId(id): PathId<SessionId>,
    body: Body<Request>,
    front: Data<Front>,
) -> Result<Json<Value>, ApiError> {
    let Body(Request { role, label, ttl_seconds, uses }) = body;
    let settings = &front.world.settings;
    let (ttl, longest) =
        (ttl_seconds.unwrap_or(settings.default_ticket_seconds), settings.max_ticket_seconds);
    let mut fields = Fields::new();
    let within = (1..=longest).contains(&ttl);
    fields.require("ttl_seconds", ttl, within, format!("expected 1 to {longest}"));
    let fits = label.as_deref().is_none_or(|label| label.chars().count() <= LONGEST_LABEL);
    let wrong = format!("expected at most {LONGEST_LABEL} characters");
    fields.require("label", label.as_deref(), fits, wrong);
    fields.finish()?;

    let role = match role {
        Asked::Watch => Role::Watch,
        Asked::Control => Role::Control,
    };
    let message = Invite { key: caller.key, role, label, ttl: Duration::from_secs(ttl), uses };
    let route = Route { organization: caller.organization, session: id, message };
    let Invited { ticket, secret } = told(&front, route).await?;
    let mut answer = shown(&ticket);
    if let Value::Object(answer) = &mut answer {
        let secret = secret.reveal();
        // The secret stands in the fragment, which is never sent to a server or logged.
        let link = format!("{}/view/{id}#ticket={secret}", front.base_url());
        answer.insert("ticket".to_owned(), secret.into());
        answer.insert("link".to_owned(), link.into());
    }
    Ok(Json(answer))
}

fn shown(ticket: &Ticket) -> Value {
    json!({
        "viewer_id": ticket.id,
        "role": role_name(ticket.role),
        "label": ticket.label,
        "uses": ticket.uses,
        "used": ticket.bound_to.is_some(),
        "created_at": ticket.created_at,
        "expires_at": ticket.expires_at,
    })
}

/// Lists the valid tickets and the connected viewers.
#[utoipa::path(
    get,
    path = "/v1/browser_sessions/{browser_session_id}/viewers",
    tag = "Viewers",
    params(("browser_session_id" = String, Path, description = "`pbs_…`")),
    responses(
        (status = 200, description = "`tickets` and `connected`"),
        (status = 404, description = "There is no such session"),
        (status = 410, description = "The session has ended"),
    ),
)]
pub async fn list(
    caller: Caller,
    PathId(id): PathId<SessionId>,
    front: Data<Front>,
) -> Result<Json<Value>, ApiError> {
    let route = Route { organization: caller.organization, session: id, message: Viewers };
    let ViewerList { tickets, connected } = told(&front, route).await?;
    let tickets: Vec<_> = tickets.iter().map(shown).collect();
    let connected: Vec<_> = connected
        .iter()
        .map(|viewer| {
            let ticket = match viewer.visit.credential {
                Credential::Key(_) => None,
                Credential::Ticket(ticket) => Some(ticket),
            };
            json!({
                "viewer_id": viewer.id,
                "ticket_viewer_id": ticket,
                "kind": viewer.kind.as_str(),
                "role": role_name(viewer.visit.role),
                "label": viewer.visit.label,
                "client_id": viewer.visit.client.as_ref().map(ToString::to_string),
                "in_control": viewer.in_control,
                "connected_at": viewer.since,
            })
        })
        .collect();
    Ok(Json(json!({ "tickets": tickets, "connected": connected })))
}

/// Revokes a ticket and kicks its viewers, or kicks one page by the id of one of its connections.
/// Viewers with a key can connect again.
#[utoipa::path(
    delete,
    path = "/v1/browser_sessions/{browser_session_id}/viewers/{viewer_id}",
    tag = "Viewers",
    params(
        ("browser_session_id" = String, Path, description = "`pbs_…`"),
        ("viewer_id" = String, Path, description = "A ticket's or a connection's"),
    ),
    responses(
        (status = 204, description = "Nobody is there by this name any more"),
        (status = 404, description = "There is no such session, or no such viewer"),
        (status = 410, description = "The session has ended"),
    ),
)]
pub async fn put_out(
    caller: Caller,
    PathId((id, viewer)): PathId<(SessionId, ViewerId)>,
    front: Data<Front>,
) -> Result<HttpResponse, ApiError> {
    let message = PutOut { viewer };
    told(&front, Route { organization: caller.organization, session: id, message }).await?;
    Ok(HttpResponse::NoContent().finish())
}
