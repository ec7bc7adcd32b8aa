//! `GET /v1/browser_sessions/{id}/vnc`: direct access for native VNC clients, past the bridge.
//!
//! The input of such a client is not judged: anyone with the password can type, even while another
//! person has control. So the route takes a key of the organization, and no ticket.

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::Data;
use chrono::{DateTime, Utc};
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{Instrument as _, info_span, warn};
use url::Url;
use utoipa::{IntoParams, ToSchema};

use super::ask_session;
use super::native_seats::Extended;
use crate::actors::quotas::QuotaPermit;
use crate::actors::registry::{Route, RouteError};
use crate::actors::session::{ReplaceVncPassword, SessionError, Visit, Watch, Watching};
use crate::domain::control::Credential;
use crate::domain::ids::{ApiKeyId, OrganizationId, SessionId};
use crate::domain::quota::Quota;
use crate::domain::rfb::Role;
use crate::http::body::{PathId, Query};
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::validation::{Fields, RequestPart};
use crate::system::vnc;

/// The default time that the VNC server waits for a client, in seconds.
const USUAL_WAIT: u64 = 300;
const LONGEST_WAIT: u64 = 24 * 60 * 60;
/// The interval between two checks that a client is still connected.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// The pause before a password that could not be replaced is replaced again.
const RETRY_DELAY: Duration = Duration::from_secs(1);

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct Params {
    /// The time that the VNC server waits for a client to connect, in seconds; 300 by default. The
    /// VNC server stays for as long as a client is connected.
    #[param(minimum = 1, maximum = 86400)]
    wait_seconds: Option<u64>,
}

/// The address of a session's VNC server, on the server's own machine, and its password.
#[derive(Debug, Serialize, ToSchema)]
pub struct NativeResource {
    /// The loopback address of the VNC server.
    pub host: String,
    /// The session's own port.
    pub port: u16,
    /// For VNC Authentication; it is the same until the credentials of the session are rotated.
    pub password: String,
    /// The time until which the VNC server waits for a client.
    pub until: DateTime<Utc>,
    /// The command that opens a tunnel on another machine; a client there then connects to this
    /// port of that machine.
    pub tunnel: String,
}

/// Returns the address and the password of the session's VNC server, for a native VNC client.
#[utoipa::path(
    get,
    path = "/v1/browser_sessions/{browser_session_id}/vnc",
    tag = "Browser sessions",
    params(("browser_session_id" = String, Path, description = "`pbs_…`"), Params),
    responses(
        (status = 200, description = "The address and the password", body = NativeResource),
        (status = 403, description = "The caller needs a key of the organization"),
        (status = 404, description = "There is no such session"),
        (status = 410, description = "The session has ended"),
    ),
)]
pub async fn native(
    caller: Caller,
    PathId(id): PathId<SessionId>,
    Query(Params { wait_seconds }): Query<Params>,
    front: Data<Front>,
) -> Result<HttpResponse, ApiError> {
    let seconds = wait_seconds.unwrap_or(USUAL_WAIT);
    let mut fields = Fields::of(RequestPart::Query);
    let within = (1..=LONGEST_WAIT).contains(&seconds);
    fields.require("wait_seconds", seconds, within, format!("expected 1 to {LONGEST_WAIT}"));
    fields.finish()?;

    let place = front.place(caller.organization, Quota::Viewers)?;
    // Also if a VNC server waits already, because the session checks its organization.
    let credential = Credential::Key(caller.key);
    let label = Some("native VNC client".to_owned());
    let visit = Visit { credential, role: Role::Control, label, client: None };
    let message = Watch { visit };
    let route = Route { organization: caller.organization, session: id, message };
    let watching = ask_session(&front, route).await?;

    let wait = Duration::from_secs(seconds);
    let (until, now) = (Instant::now() + wait, front.world.clock.now());
    let endpoint = watching.seat.endpoint.clone();
    // One seat is enough for all native clients of a session.
    let reads = Reads { organization: caller.organization, session: id, key: caller.key };
    match front.waiting.extend(id, until, caller.key) {
        Some(Extended { given_up, is_new_key: true }) => {
            actix_web::rt::spawn(replace_when_revoked(front.clone(), reads, given_up));
        }
        Some(Extended { is_new_key: false, .. }) => {}
        None => {
            let (follow, given_up) = front.waiting.keep(id, until, caller.key);
            actix_web::rt::spawn(replace_when_revoked(front.clone(), reads, given_up.clone()));
            let span = info_span!("native", session.id = %id);
            let seat = (watching, place);
            let holding = hold(front.clone(), id, seat, (follow, given_up.drop_guard()));
            actix_web::rt::spawn(holding.instrument(span));
        }
    }
    let port = endpoint.address.port();
    let host = Url::parse(&front.base_url()).ok();
    let host = host.and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
    let answer = NativeResource {
        host: endpoint.address.ip().to_string(),
        port,
        password: endpoint.password.expose_secret().to_owned(),
        until: now + wait,
        tunnel: format!("ssh -N -L {port}:127.0.0.1:{port} {host}"),
    };
    Ok(HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(answer))
}

/// A client that has read the VNC password of a session.
#[derive(Debug, Clone, Copy)]
struct Reads {
    organization: OrganizationId,
    session: SessionId,
    key: ApiKeyId,
}

/// Replaces the password when the key with which it was read ends while native clients may use it.
async fn replace_when_revoked(front: Data<Front>, reads: Reads, given_up: CancellationToken) {
    let Reads { organization, session, key } = reads;
    let revocation = front.keys.watch(key);
    tokio::select! {
        () = revocation.revoked() => {}
        () = given_up.cancelled() => return,
        () = front.closing.cancelled() => return,
    }
    loop {
        let route = Route { organization, session, message: ReplaceVncPassword };
        match front.registry.ask(route).await {
            Ok(Ok(())) => return,
            Ok(Err(RouteError::Unknown(_) | RouteError::Session(SessionError::Closing))) => return,
            Ok(Err(cause)) => {
                warn!(session.id = %session, "the VNC password of {session} is not replaced yet: {cause}");
            }
            Err(cause) => {
                warn!(session.id = %session, "the VNC password of {session} is not replaced yet: {cause}")
            }
        }
        tokio::select! {
            () = tokio::time::sleep(RETRY_DELAY) => {}
            () = front.closing.cancelled() => return,
        }
    }
}

/// Keeps the VNC server while it waits for a client, and while one is connected.
async fn hold(
    front: Data<Front>,
    id: SessionId,
    (watching, place): (Watching, QuotaPermit),
    (mut until, given_up): (watch::Receiver<Instant>, DropGuard),
) {
    let Watching { seat, connected, devices: _ } = watching;
    let port = seat.endpoint.address.port();
    let waits = async {
        loop {
            let at = *until.borrow_and_update();
            tokio::select! {
                () = sleep_until(at) => {}
                Ok(()) = until.changed() => continue,
            }
            while vnc::connections(port).is_ok_and(|connections| connections > 0) {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            if front.waiting.give_up(id, &until) {
                return;
            }
        }
    };
    tokio::select! {
        () = waits => {}
        () = connected.ended.cancelled() => {}
        () = connected.out.cancelled() => {}
        () = front.closing.cancelled() => {}
    }
    // From here on an extension finds no seat, and the request takes a new one.
    drop(given_up);
    front.waiting.forget_given_up(id);
    drop((seat, connected, place));
}
