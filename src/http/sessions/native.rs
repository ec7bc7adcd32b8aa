//! `GET /v1/browser_sessions/{id}/vnc`: for VNC clients of one's own, past the bridge.
//!
//! What such a client sends is not judged: whoever has the password types, also while another person
//! has control. So it takes a key of the organization, and no ticket will do.

use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::Data;
use chrono::{DateTime, Utc};
use dashmap::DashMap;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{Instrument as _, info_span};
use url::Url;
use utoipa::{IntoParams, ToSchema};

use super::told;
use crate::actors::registry::Route;
use crate::actors::session::{Visit, VncEndpoint, Watch, Watching};
use crate::domain::control::Credential;
use crate::domain::ids::SessionId;
use crate::domain::rfb::Role;
use crate::http::body::{PathId, Query};
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::validation::{Fields, Part};
use crate::system::vnc;

/// How long the VNC server waits for a client that asks for nothing else.
const USUAL_WAIT: u64 = 300;
const LONGEST_WAIT: u64 = 24 * 60 * 60;
/// How often it is looked whether a client is still there.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// The query of the request.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct Wish {
    /// How long the VNC server waits for a client to connect; 300 unless given. It goes on for as
    /// long as one is connected.
    #[param(minimum = 1, maximum = 86400)]
    wait_seconds: Option<u64>,
}

/// Where a VNC client connects, on the server's own machine.
#[derive(Debug, Serialize, ToSchema)]
pub struct NativeResource {
    /// Loopback.
    pub host: String,
    /// The session's own.
    pub port: u16,
    /// For VNC Authentication; it is the same for as long as the session lives.
    pub password: String,
    /// Until when the VNC server waits for a client.
    pub until: DateTime<Utc>,
    /// What to run on another machine, and then to connect to this port of that machine.
    pub tunnel: String,
}

/// The VNC servers that wait for such clients, each with when it has waited long enough.
#[derive(Debug, Clone, Default)]
pub struct Waiting(Arc<DashMap<SessionId, (VncEndpoint, watch::Sender<Instant>)>>);

/// The session's VNC server, for a client of one's own.
#[utoipa::path(
    get,
    path = "/v1/browser_sessions/{browser_session_id}/vnc",
    tag = "Browser sessions",
    params(("browser_session_id" = String, Path, description = "`pbs_…`"), Wish),
    responses(
        (status = 200, description = "Where, and the password", body = NativeResource),
        (status = 403, description = "This takes a key of the organization"),
        (status = 404, description = "There is no such session"),
        (status = 410, description = "The session has ended"),
    ),
)]
pub async fn native(
    caller: Caller,
    PathId(id): PathId<SessionId>,
    Query(Wish { wait_seconds }): Query<Wish>,
    front: Data<Front>,
) -> Result<HttpResponse, ApiError> {
    let seconds = wait_seconds.unwrap_or(USUAL_WAIT);
    let mut fields = Fields::of(Part::Query);
    let within = (1..=LONGEST_WAIT).contains(&seconds);
    fields.require("wait_seconds", seconds, within, format!("expected 1 to {LONGEST_WAIT}"));
    fields.finish()?;

    // Also where one waits already: whose session this is, is checked by asking it.
    let credential = Credential::Key(caller.key);
    let label = Some("native VNC client".to_owned());
    let visit = Visit { credential, role: Role::Control, label, client: None };
    let message = Watch { visit };
    let route = Route { organization: caller.organization, session: id, message };
    let watching = told(&front, route).await?;

    let wait = Duration::from_secs(seconds);
    let (until, now) = (Instant::now() + wait, front.world.clock.now());
    let endpoint = watching.seat.endpoint.clone();
    let waiting = front.waiting.0.get(&id).map(|waiting| waiting.1.clone());
    // One seat is enough for all of a session's clients.
    let extended = waiting.is_some_and(|held| {
        held.send_modify(|held| *held = until.max(*held));
        held.receiver_count() > 0
    });
    if !extended {
        let (held, follow) = watch::channel(until);
        front.waiting.0.insert(id, (endpoint.clone(), held));
        let span = info_span!("native", session.id = %id);
        actix_web::rt::spawn(hold(front.clone(), id, watching, follow).instrument(span));
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

/// Keeps the VNC server while it waits for a client, and while one is connected.
async fn hold(
    front: Data<Front>,
    id: SessionId,
    watching: Watching,
    mut until: watch::Receiver<Instant>,
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
            if *until.borrow() <= Instant::now() {
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
    front.waiting.0.remove(&id);
}
