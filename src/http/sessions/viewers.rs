//! `/v1/browser_sessions/{id}/viewers`: the tickets of a session, and the viewers that are connected.

use std::time::Duration;

use actix_web::web::{Data, Json};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{ask_session, find};
use crate::actors::registry::{Route, RouteError};
use crate::actors::session::{
    Invite, Invited, Kick, RevokeTickets, SessionError, ViewerList, Viewers,
};
use crate::actors::tickets::{Ticket, Uses};
use crate::domain::control::Credential;
use crate::domain::ids::{SessionId, ViewerId};
use crate::domain::tenancy::KeyRole;
use crate::domain::ticket::TicketRole;
use crate::http::body::{Body, PathId};
use crate::http::caller::{Bearer, Caller, opened};
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::validation::Fields;

/// The maximum length of a label, in characters.
const LONGEST_LABEL: usize = 100;

/// The body of the request.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = ViewerRequest)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// `watch`, `control`, or `drive` for a program: DevTools and the occupancy of the session.
    #[schema(value_type = String)]
    role: TicketRole,
    /// The owner or purpose, for people.
    label: Option<String>,
    /// The life of the ticket in seconds; 3600 by default.
    ttl_seconds: Option<u64>,
    /// `single` or `many`, the default. For a ticket to watch or control, the single use is the first page with it.
    /// For a ticket to drive, it is one DevTools connection or one begin, whose occupancy the ticket can renew and
    /// release.
    #[schema(value_type = Option<String>)]
    uses: Option<Uses>,
    /// True for `uses` of `single`.
    single_use: Option<bool>,
}

/// Creates a ticket. Only this response shows its secret: in the `link` of a viewer, or in the `cdp_url` of a
/// driver, which every DevTools client accepts. A ticket ends with the key that creates it, and permits no more
/// than that key: a key with the role `drive` creates tickets to watch and to drive.
#[utoipa::path(
    post,
    path = "/v1/browser_sessions/{browser_session_id}/viewers",
    tag = "Viewers",
    params(("browser_session_id" = String, Path, description = "`pbs_…`")),
    request_body = Request,
    responses(
        (status = 200, description = "The ticket, with its `ticket` and its `link` or `cdp_url`"),
        (status = 403, description = "The ticket would permit more than the key"),
        (status = 404, description = "There is no such session"),
        (status = 410, description = "The session has ended"),
        (status = 429, description = "The limit of valid tickets is reached"),
    ),
)]
pub async fn invite(
    bearer: Bearer,
    PathId(id): PathId<SessionId>,
    body: Body<Request>,
    request: HttpRequest,
    front: Data<Front>,
) -> Result<Json<Value>, ApiError> {
    let caller = opened(&bearer, KeyRole::Drive, &request)?;
    let Body(Request { role, label, ttl_seconds, uses, single_use }) = body;
    let settings = &front.world.settings;
    let (ttl, longest) =
        (ttl_seconds.unwrap_or(settings.default_ticket_seconds), settings.max_ticket_seconds);
    let mut fields = Fields::new();
    let within = (1..=longest).contains(&ttl);
    fields.require("ttl_seconds", ttl, within, format!("expected 1 to {longest}"));
    let fits = label.as_deref().is_none_or(|label| label.chars().count() <= LONGEST_LABEL);
    let wrong = format!("expected at most {LONGEST_LABEL} characters");
    fields.require("label", label.as_deref(), fits, wrong);
    let asked = single_use.map(|single| if single { Uses::Single } else { Uses::Many });
    let agrees = uses.is_none() || asked.is_none() || uses == asked;
    fields.require(
        "single_use",
        single_use,
        agrees,
        "expected the value that `uses` implies, or no field",
    );
    fields.finish()?;
    if !role.may_be_made_by(bearer.role) {
        let why =
            format!("its role is `{}`, which cannot create such a ticket", bearer.role.as_str());
        return Err(bearer.insufficient(&why).into());
    }

    let (key, ttl) = (caller.key, Duration::from_secs(ttl));
    let uses = uses.or(asked).unwrap_or(Uses::Many);
    let message = Invite { key, role, label, ttl, uses };
    let route = Route { organization: caller.organization, session: id, message };
    let Invited { ticket, secret } = ask_session(&front, route).await?;
    let mut answer = shown(&ticket);
    if let Value::Object(answer) = &mut answer {
        let secret = secret.reveal();
        let (name, address) = match role {
            // In the fragment, which no server and no log ever sees.
            TicketRole::Watch | TicketRole::Control => {
                ("link", format!("{}/view/{id}#ticket={secret}", front.base_url()))
            }
            TicketRole::Drive => {
                let base = front.socket_url();
                ("cdp_url", format!("{base}/v1/browser_sessions/{id}/cdp?ticket={secret}"))
            }
        };
        answer.insert("ticket".to_owned(), secret.into());
        answer.insert(name.to_owned(), address.into());
    }
    Ok(Json(answer))
}

fn shown(ticket: &Ticket) -> Value {
    json!({
        "viewer_id": ticket.id,
        "role": ticket.role,
        "label": ticket.label,
        "uses": ticket.uses,
        "single_use": ticket.uses == Uses::Single,
        "used": ticket.used_at.is_some(),
        "used_at": ticket.used_at,
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
    let ViewerList { tickets, connected } = ask_session(&front, route).await?;
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
                "role": viewer.visit.role.as_str(),
                "label": viewer.visit.label,
                "client_id": viewer.visit.client.as_ref().map(ToString::to_string),
                "in_control": viewer.in_control,
                "connected_at": viewer.since,
            })
        })
        .collect();
    Ok(Json(json!({ "tickets": tickets, "connected": connected })))
}

/// Revokes every ticket, and ends everything that was opened with one: live views, DevTools connections, occupancies.
#[utoipa::path(
    delete,
    path = "/v1/browser_sessions/{browser_session_id}/viewers",
    tag = "Viewers",
    params(("browser_session_id" = String, Path, description = "`pbs_…`")),
    responses(
        (status = 200, description = "`revoked`, the number of tickets that were valid"),
        (status = 404, description = "There is no such session"),
        (status = 410, description = "The session has ended"),
    ),
)]
pub async fn revoke_all(
    caller: Caller,
    PathId(id): PathId<SessionId>,
    front: Data<Front>,
) -> Result<Json<Value>, ApiError> {
    let message = RevokeTickets;
    let route = Route { organization: caller.organization, session: id, message };
    let revoked = ask_session(&front, route).await?;
    Ok(Json(json!({ "revoked": revoked })))
}

/// Revokes a ticket and disconnects its viewers, or disconnects a page by the name of one of its
/// connections. A viewer with a key can reconnect. A key with the role `drive` revokes only tickets that it created.
#[utoipa::path(
    delete,
    path = "/v1/browser_sessions/{browser_session_id}/viewers/{viewer_id}",
    tag = "Viewers",
    params(
        ("browser_session_id" = String, Path, description = "`pbs_…`"),
        ("viewer_id" = String, Path, description = "The id of a ticket or of a connection"),
    ),
    responses(
        (status = 204, description = "The viewer is disconnected, or the ticket is revoked"),
        (status = 404, description = "There is no such session, or no such viewer"),
        (status = 410, description = "The session has ended"),
    ),
)]
pub async fn kick(
    bearer: Bearer,
    PathId((id, viewer)): PathId<(SessionId, ViewerId)>,
    request: HttpRequest,
    front: Data<Front>,
) -> Result<HttpResponse, ApiError> {
    let caller = opened(&bearer, KeyRole::Drive, &request)?;
    let world = &front.world;
    let is_own = || {
        let ticket = world.views.tickets.get(viewer, world.clock.now());
        ticket.is_some_and(|ticket| ticket.session == id && ticket.key == caller.key)
    };
    if bearer.role < KeyRole::Organization && !is_own() {
        find(&front, caller.organization, id).await?;
        return Err(RouteError::Session(SessionError::UnknownViewer(viewer)).into());
    }
    let message = Kick { viewer };
    ask_session(&front, Route { organization: caller.organization, session: id, message }).await?;
    Ok(HttpResponse::NoContent().finish())
}
