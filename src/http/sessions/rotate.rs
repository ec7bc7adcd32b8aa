//! `POST /v1/browser_sessions/{id}/rotate`: replaces the credentials of a session.

use actix_web::HttpResponse;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::Data;
use chrono::{DateTime, Utc};
use secrecy::ExposeSecret as _;
use serde::Serialize;
use utoipa::ToSchema;

use super::ask_session;
use crate::actors::registry::Route;
use crate::actors::session::{NewLease, Rotate, RotateReport};
use crate::domain::ids::SessionId;
use crate::domain::lease::{TakenLease, devtools_path};
use crate::domain::occupancy::{Generation, RunnableType};
use crate::http::body::PathId;
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::front::Front;

/// The body of the answer.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RotateResponse)]
pub struct Response {
    /// The id of the session, `pbs_…`.
    browser_session_id: String,
    /// The number of times that the credentials of the session were replaced.
    rotation: i64,
    /// The credentials that were ended.
    ended: Ended,
    /// The new lease of the present holder; null without a holder, and for a run, whose lease no client has.
    lease: Option<LeaseResource>,
    /// The new VNC password; null if the browser does not run yet.
    vnc_password: Option<String>,
}

/// The credentials that were ended.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EndedCredentials)]
struct Ended {
    /// The number of tickets that were valid.
    tickets: usize,
    /// The number of viewers' connections that were cut.
    viewers: usize,
    /// The number of leases.
    leases: usize,
    /// True: all links to files of the session that were made before have ended.
    signed_links: bool,
    /// True if a VNC password was replaced.
    vnc_password: bool,
}

/// The lease that replaces the holder's former lease.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RotatedLease)]
struct LeaseResource {
    /// The kind of occupant.
    #[schema(value_type = String)]
    runnable_type: RunnableType,
    /// The name of the occupant.
    runnable_id: String,
    #[schema(value_type = i64)]
    generation: Generation,
    lease_token: String,
    /// The time at which the lease lapses without a heartbeat.
    expires_at: DateTime<Utc>,
    /// The address at which a DevTools client connects without a key, for as long as it holds this lease.
    browser_address: String,
}

/// Revokes every ticket, lease, signed link and VNC password of a session, and closes the connections that were
/// opened with them. Returns the new credentials for its clients. Connections made with keys stay. Links to files
/// are created at each read. A run that holds the session continues.
#[utoipa::path(
    post,
    path = "/v1/browser_sessions/{browser_session_id}/rotate",
    tag = "Browser sessions",
    params(("browser_session_id" = String, Path, description = "`pbs_…`")),
    responses(
        (status = 200, description = "The new credentials, and the number of connections that were ended", body = Response),
        (status = 404, description = "There is no such session"),
        (status = 409, description = "The occupancy changed at the same time: try again"),
        (status = 410, description = "The session has ended"),
        (status = 424, description = "The VNC password could not be replaced, everything else was: try again"),
    ),
)]
pub async fn rotate(
    caller: Caller,
    PathId(id): PathId<SessionId>,
    front: Data<Front>,
) -> Result<HttpResponse, ApiError> {
    let route = Route {
        organization: caller.organization,
        session: id,
        message: Rotate { key: caller.key },
    };
    let RotateReport { rotation, tickets, viewers, leases, lease, vnc_password } =
        ask_session(&front, route).await?;
    let ended = Ended {
        tickets,
        viewers,
        leases,
        signed_links: true,
        vnc_password: vnc_password.is_some(),
    };
    if let Some(lease) = &lease {
        let taken = TakenLease {
            session: id,
            organization: caller.organization,
            lease: lease.token.hash(),
            key: caller.key,
            ends_at: None,
        };
        front.keys.remember(taken);
    }
    let lease = lease.map(|NewLease { occupant, generation, token, expires_at }| {
        let path = devtools_path(id, generation, &token);
        LeaseResource {
            runnable_type: occupant.runnable_type,
            runnable_id: occupant.runnable_id.as_str().to_owned(),
            generation,
            lease_token: token.reveal(),
            expires_at,
            browser_address: format!("{}{path}", front.socket_url()),
        }
    });
    let answer = Response {
        browser_session_id: id.to_string(),
        rotation,
        ended,
        lease,
        vnc_password: vnc_password.map(|password| password.expose_secret().to_owned()),
    };
    Ok(HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(answer))
}
