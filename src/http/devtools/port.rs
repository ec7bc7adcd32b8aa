//! `POST …/cdp/port`: a port of this machine for clients that take only a host and a port.

use std::net::SocketAddr;
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::http::StatusCode;
use actix_web::web::{Data, Json};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::admission::{Admitted, admit};
use super::{peer_on_this_machine, session_of};
use crate::http::body::parse_query;
use crate::http::caller::Driver;
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::problem::Problem;
use crate::http::validation::{Fields, RequestPart};
use crate::live::devtools::{PortError, PortRequest, open_port};
use crate::system::handover::user_of;

/// The life of a port in seconds, unless the request names another; and the longest.
const SECONDS: u64 = 60 * 60;
const MOST_SECONDS: u64 = 24 * 60 * 60;

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct Query {
    /// The time after which the port closes, in seconds; 1 to 86400, by default 3600. Connections stay.
    ttl_seconds: Option<u64>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PortResponse)]
pub struct Response {
    /// The host and the port, `127.0.0.1:41234`, as Selenium's `debuggerAddress`.
    #[schema(value_type = String)]
    address: SocketAddr,
    /// The same as an address, as Puppeteer's `browserURL`.
    url: String,
    /// The time at which the port closes, unless its credential or the session ends before.
    expires_at: DateTime<Utc>,
}

/// Opens a port of this machine that leads to the DevTools of the session. It is for the user of the client,
/// needs no credential, and ends with the one that it was opened with. The operator
/// permits ports by the setting `isolation.devtools_ports`.
#[utoipa::path(
    post,
    path = "/v1/browser_sessions/{browser_session_id}/cdp/port",
    tag = "Browser sessions",
    params(("browser_session_id" = String, Path, description = "`pbs_…`"), Query),
    responses(
        (status = 200, description = "The port", body = Response),
        (status = 403, description = "The server opens no ports (`ports_off`), or the client is not on its machine (`client_not_local`)"),
        (status = 404, description = "There is no such session"),
        (status = 410, description = "The session has ended"),
        (status = 422, description = "Fields are invalid; `detail` lists them"),
        (status = 429, description = "Too many ports are open (`too_many_ports`)"),
    ),
)]
pub async fn open(
    driver: Result<Driver, Problem>,
    request: HttpRequest,
    front: Data<Front>,
) -> Result<Json<Response>, ApiError> {
    let id = session_of(&request)?;
    let admitted = admit(&front, driver, id, &request, request.query_string()).await?;
    let Query { ttl_seconds } = parse_query(request.query_string())?;
    let seconds = ttl_seconds.unwrap_or(SECONDS);
    let mut fields = Fields::of(RequestPart::Query);
    let within = (1..=MOST_SECONDS).contains(&seconds);
    fields.require("ttl_seconds", seconds, within, format!("expected 1 to {MOST_SECONDS}"));
    fields.finish()?;
    if !front.devtools.opens_ports {
        let detail =
            "this server opens no ports; the operator can set isolation.devtools_ports = true";
        return Err(Problem::new(StatusCode::FORBIDDEN, "ports_off", detail).into());
    }
    let Admitted { view, ground, .. } = admitted.more_than_once()?;
    let user = asker(&front, &request).await.ok_or_else(|| {
        let detail =
            "only a client on the server's machine, without a proxy between, can have a port";
        Problem::new(StatusCode::FORBIDDEN, "client_not_local", detail)
    })?;
    let life = Duration::from_secs(seconds);
    let asked = PortRequest { session: id, view, ground, user, life };
    let (address, expires_at) = open_port(&front, asked).await.map_err(not_opened)?;
    Ok(Json(Response { address, url: format!("http://{address}"), expires_at }))
}

/// Returns the user of the client, if the client itself is on this machine.
async fn asker(front: &Front, request: &HttpRequest) -> Option<u32> {
    let (peer, port) = (peer_on_this_machine(request)?, front.address.port());
    tokio::task::spawn_blocking(move || user_of(peer, port)).await.ok().flatten()
}

fn not_opened(cause: PortError) -> ApiError {
    let (status, code) = match &cause {
        PortError::TooMany { .. } => (StatusCode::TOO_MANY_REQUESTS, "too_many_ports"),
        PortError::System(_) => (StatusCode::SERVICE_UNAVAILABLE, "port_unavailable"),
    };
    let wait = Duration::from_secs(5);
    Problem::new(status, code, cause.to_string()).retryable().retry_after(wait).into()
}
