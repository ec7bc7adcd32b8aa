//! `GET …/cdp/json/version`: discovery, for clients that connect to an `http` address.
//!
//! The address in the answer carries the credential that the request had in its query. A credential
//! from a header is not repeated, because the client sends its headers again.

use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::web::{Data, Json};
use serde_json::{Value, json};
use tokio::time::timeout;
use url::form_urlencoded;

use super::admission::admit;
use super::unreachable;
use crate::domain::ids::SessionId;
use crate::domain::session::DesktopIdentity;
use crate::http::body::PathId;
use crate::http::caller::Driver;
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::problem::Problem;
use crate::live::devtools::{Ground, running};
use crate::system::cdp::{Connection, Devtools};

/// The time that the browser has to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Answers as Chromium's own `/json/version` does.
pub(super) async fn version(
    driver: Result<Driver, Problem>,
    PathId(id): PathId<SessionId>,
    request: HttpRequest,
    front: Data<Front>,
) -> Result<Json<Value>, ApiError> {
    let mut admitted = admit(&front, driver, id, request.query_string()).await?;
    let organization = admitted.view.borrow().record.organization;
    front.awake(organization, id).await?;
    let desktop = running(&mut admitted.view).await?;
    let asked = timeout(PATIENCE, ask(&desktop)).await;
    let said = asked.unwrap_or_else(|_| Err("the query of its version".to_owned()));
    let said =
        said.map_err(|cause| unreachable(format!("the browser does not answer: {cause}")))?;
    let text = |key: &str| said.get(key).and_then(Value::as_str).unwrap_or_default();
    let mut address = format!("{}{}", front.socket_url(), admitted.path(id));
    if matches!(admitted.ground, Ground::Key(_) | Ground::Ticket(_))
        && let Some((name, value)) = queried(&request)
    {
        let pair =
            form_urlencoded::Serializer::new(String::new()).append_pair(name, &value).finish();
        address = format!("{address}?{pair}");
    }
    Ok(Json(json!({
        "Browser": text("product"),
        "Protocol-Version": text("protocolVersion"),
        "User-Agent": text("userAgent"),
        "V8-Version": text("jsVersion"),
        "WebKit-Version": format!("537.36 ({})", text("revision")),
        "webSocketDebuggerUrl": address,
    })))
}

/// Returns the browser's answer to `Browser.getVersion`.
async fn ask(desktop: &DesktopIdentity) -> Result<Value, String> {
    let connection = Connection::open(&Devtools::of(desktop)).await;
    let connection = connection.map_err(|cause| cause.to_string())?;
    let version = connection.call(None, "Browser.getVersion", json!({})).await;
    version.map_err(|cause| cause.to_string())
}

/// Returns the key or the ticket that a request has in its query, if it counts: headers come first.
fn queried(request: &HttpRequest) -> Option<(&'static str, String)> {
    let sent = |header: &str| request.headers().contains_key(header);
    let value = |name: &str| {
        let mut pairs = form_urlencoded::parse(request.query_string().as_bytes());
        pairs.find(|(given, _)| given == name).map(|(_, value)| value.into_owned())
    };
    if sent("x-api-key") {
        return None;
    }
    if let Some(key) = value("apikey") {
        return Some(("apikey", key));
    }
    if sent("authorization") {
        return None;
    }
    if let Some(token) = value("token") {
        return Some(("token", token));
    }
    if sent("x-greenroom-ticket") {
        return None;
    }
    value("ticket").map(|ticket| ("ticket", ticket))
}
