//! `…/cdp/json/…`: discovery, for clients that connect to an `http` address.
//!
//! The answers are those of Chromium's own server, for pages alone. Addresses in them carry the
//! credential that the request had in its query. A credential from a header is not repeated, because
//! the client sends its headers again.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Json, Path};
use actix_web::{HttpRequest, HttpResponse};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::admission::{Admitted, admit};
use super::{session_of, target_failed, unreachable};
use crate::domain::ids::SessionId;
use crate::domain::session::DesktopIdentity;
use crate::http::caller::Driver;
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::problem::Problem;
use crate::live::devtools::{self, Command, Commander, Page, TargetId, running};

/// The names of credentials in the query, which come before the address of a new page.
const CREDENTIALS: [&str; 6] = ["apikey", "token", "ticket", "generation", "lease_token", "pass"];

/// A client of discovery, and the browser that it asks about.
struct Client {
    id: SessionId,
    admitted: Admitted,
    desktop: DesktopIdentity,
}

impl Client {
    /// Admits a client. A session that waits for its first use is started.
    async fn admit(
        driver: Result<Driver, Problem>,
        request: &HttpRequest,
        front: &Front,
        query: &str,
    ) -> Result<Self, ApiError> {
        let id = session_of(request)?;
        let mut admitted = admit(front, driver, id, request, query).await?;
        let organization = admitted.view.borrow().record.organization;
        front.awake(organization, id).await?;
        let desktop = running(&mut admitted.view).await?;
        Ok(Self { id, admitted, desktop })
    }

    /// Executes a command for the client, and returns the page that it was about.
    async fn command(self, front: &Front, command: &Command) -> Result<(Page, Self), ApiError> {
        let Self { id, admitted, desktop } = self;
        let admitted = admitted.more_than_once()?;
        let (view, ground) = (admitted.view.clone(), admitted.ground.clone());
        let commander = Commander { session: id, view, ground };
        let page = devtools::command(front, commander, command).await.map_err(target_failed)?;
        Ok((page, Self { id, admitted, desktop }))
    }

    fn entry(&self, front: &Front, page: &Page) -> Value {
        let below = format!("/devtools/page/{}", page.id);
        json!({
            "description": "",
            "id": page.id.as_str(),
            "title": page.title,
            "type": "page",
            "url": page.url,
            "webSocketDebuggerUrl": self.admitted.address(front, self.id, &below),
        })
    }
}

/// Returns the version of the browser and the address of its socket, as
/// Chromium's own `/json/version` does.
#[utoipa::path(
    get,
    path = "/v1/browser_sessions/{browser_session_id}/cdp/json/version",
    tag = "Browser sessions",
    params(("browser_session_id" = String, Path, description = "`pbs_…`")),
    responses(
        (status = 200, description = "`Browser`, `Protocol-Version`, `User-Agent`, `V8-Version`, `WebKit-Version`, `webSocketDebuggerUrl`"),
        (status = 404, description = "There is no such session"),
        (status = 410, description = "The session has ended"),
    ),
)]
pub async fn version(
    driver: Result<Driver, Problem>,
    request: HttpRequest,
    front: Data<Front>,
) -> Result<Json<Value>, ApiError> {
    let client = Client::admit(driver, &request, &front, request.query_string()).await?;
    let said = devtools::version(&client.desktop).await.map_err(target_failed)?;
    let text = |key: &str| said.get(key).and_then(Value::as_str).unwrap_or_default();
    let path = &client.desktop.devtools_path;
    Ok(Json(json!({
        "Browser": text("product"),
        "Protocol-Version": text("protocolVersion"),
        "User-Agent": text("userAgent"),
        "V8-Version": text("jsVersion"),
        "WebKit-Version": format!("537.36 ({})", text("revision")),
        "webSocketDebuggerUrl": client.admitted.browser_address(&front, client.id, path),
    })))
}

/// Lists the pages of the browser with the address of each page's socket. `…/cdp/json` does the same.
#[utoipa::path(
    get,
    path = "/v1/browser_sessions/{browser_session_id}/cdp/json/list",
    tag = "Browser sessions",
    params(("browser_session_id" = String, Path, description = "`pbs_…`")),
    responses(
        (status = 200, description = "The pages: `id`, `title`, `type`, `url`, `webSocketDebuggerUrl`"),
        (status = 404, description = "There is no such session"),
        (status = 410, description = "The session has ended"),
    ),
)]
pub async fn list(
    driver: Result<Driver, Problem>,
    request: HttpRequest,
    front: Data<Front>,
) -> Result<Json<Vec<Value>>, ApiError> {
    let client = Client::admit(driver, &request, &front, request.query_string()).await?;
    let pages = devtools::pages(&client.desktop).await.map_err(target_failed)?;
    Ok(Json(pages.iter().map(|page| client.entry(&front, page)).collect()))
}

/// Returns the browser's description of the DevTools protocol.
#[utoipa::path(
    get,
    path = "/v1/browser_sessions/{browser_session_id}/cdp/json/protocol",
    tag = "Browser sessions",
    params(("browser_session_id" = String, Path, description = "`pbs_…`")),
    responses(
        (status = 200, description = "The description of the protocol, with `domains`"),
        (status = 404, description = "There is no such session"),
        (status = 410, description = "The session has ended"),
    ),
)]
pub async fn protocol(
    driver: Result<Driver, Problem>,
    request: HttpRequest,
    front: Data<Front>,
) -> Result<HttpResponse, ApiError> {
    let client = Client::admit(driver, &request, &front, request.query_string()).await?;
    let protocol = devtools::protocol(&client.desktop).await;
    let protocol =
        protocol.map_err(|cause| unreachable(format!("the browser does not answer: {cause}")))?;
    let mut answer = HttpResponse::Ok();
    answer.content_type("application/json").no_chunking(protocol.length);
    Ok(answer.streaming(protocol.body))
}

/// Opens a page. The query is its address, after the credentials if these are in the query as well;
/// without an address the page is blank. It is opened as by a driver's `Target.createTarget`.
#[utoipa::path(
    put,
    path = "/v1/browser_sessions/{browser_session_id}/cdp/json/new",
    tag = "Browser sessions",
    params(("browser_session_id" = String, Path, description = "`pbs_…`")),
    responses(
        (status = 200, description = "The page: `id`, `title`, `type`, `url`, `webSocketDebuggerUrl`"),
        (status = 403, description = "The rules for drivers' commands refuse the address (`command_refused`)"),
        (status = 404, description = "There is no such session"),
        (status = 409, description = "A person has control (`control_held`)"),
        (status = 410, description = "The session has ended"),
        (status = 422, description = "The browser refuses the address (`command_failed`)"),
    ),
)]
pub async fn open(
    driver: Result<Driver, Problem>,
    request: HttpRequest,
    front: Data<Front>,
) -> Result<Json<Value>, ApiError> {
    let (credentials, address) = divided(request.query_string());
    let client = Client::admit(driver, &request, &front, credentials).await?;
    let url = match address {
        "" => "about:blank".to_owned(),
        // As Chromium does.
        address => percent_decode_str(address).decode_utf8_lossy().into_owned(),
    };
    let (page, client) = client.command(&front, &Command::Open(url)).await?;
    Ok(Json(client.entry(&front, &page)))
}

/// Closes a page of the browser.
#[utoipa::path(
    get,
    path = "/v1/browser_sessions/{browser_session_id}/cdp/json/close/{target_id}",
    tag = "Browser sessions",
    params(
        ("browser_session_id" = String, Path, description = "`pbs_…`"),
        ("target_id" = String, Path, description = "The `id` of a page in the list"),
    ),
    responses(
        (status = 200, description = "The page is closing", body = String, content_type = "text/plain"),
        (status = 404, description = "There is no such session, or no such page (`target_unknown`)"),
        (status = 409, description = "A person has control (`control_held`)"),
        (status = 410, description = "The session has ended"),
    ),
)]
pub async fn close(
    driver: Result<Driver, Problem>,
    request: HttpRequest,
    path: Path<(String, String)>,
    front: Data<Front>,
) -> Result<HttpResponse, ApiError> {
    let answer = "Target is closing";
    on_page(driver, &request, &path.1, &front, Command::Close, answer).await
}

/// Brings a page to the front.
#[utoipa::path(
    get,
    path = "/v1/browser_sessions/{browser_session_id}/cdp/json/activate/{target_id}",
    tag = "Browser sessions",
    params(
        ("browser_session_id" = String, Path, description = "`pbs_…`"),
        ("target_id" = String, Path, description = "The `id` of a page in the list"),
    ),
    responses(
        (status = 200, description = "The page is in front", body = String, content_type = "text/plain"),
        (status = 404, description = "There is no such session, or no such page (`target_unknown`)"),
        (status = 409, description = "A person has control (`control_held`)"),
        (status = 410, description = "The session has ended"),
    ),
)]
pub async fn activate(
    driver: Result<Driver, Problem>,
    request: HttpRequest,
    path: Path<(String, String)>,
    front: Data<Front>,
) -> Result<HttpResponse, ApiError> {
    let answer = "Target activated";
    on_page(driver, &request, &path.1, &front, Command::Activate, answer).await
}

async fn on_page(
    driver: Result<Driver, Problem>,
    request: &HttpRequest,
    target: &str,
    front: &Front,
    command: fn(TargetId) -> Command,
    answer: &'static str,
) -> Result<HttpResponse, ApiError> {
    let client = Client::admit(driver, request, front, request.query_string()).await?;
    client.command(front, &command(target_of(target)?)).await?;
    Ok(HttpResponse::Ok().content_type("text/plain; charset=utf-8").body(answer))
}

/// Returns the id of a page; 404 for what cannot be one, as for an unknown page.
pub(super) fn target_of(text: &str) -> Result<TargetId, Problem> {
    text.parse().map_err(|cause: devtools::NotATargetId| {
        Problem::new(StatusCode::NOT_FOUND, "target_unknown", cause.to_string())
    })
}

/// Divides the query of a new page into the credentials, which come first, and the address.
fn divided(query: &str) -> (&str, &str) {
    let mut rest = query;
    loop {
        let (member, after) = rest.split_once('&').unwrap_or((rest, ""));
        let name = member.split('=').next().unwrap_or_default();
        if !CREDENTIALS.contains(&name) {
            break;
        }
        rest = after;
    }
    (query.strip_suffix(rest).unwrap_or_default(), rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_a_new_page_is_what_follows_the_credentials() {
        for (query, credentials, address) in [
            ("", "", ""),
            ("https://a.example/?a=1&b=2", "", "https://a.example/?a=1&b=2"),
            ("apikey=k", "apikey=k", ""),
            ("apikey=k&https://a.example/?ticket=t", "apikey=k&", "https://a.example/?ticket=t"),
            (
                "generation=1&lease_token=lt_x&about:blank",
                "generation=1&lease_token=lt_x&",
                "about:blank",
            ),
        ] {
            assert_eq!(divided(query), (credentials, address), "{query}");
        }
    }
}
