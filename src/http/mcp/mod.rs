//! `/mcp`: the Model Context Protocol, by which agents drive sessions.
//!
//! The transport is Streamable HTTP, specified at <https://modelcontextprotocol.io/specification>. It is stateless:
//! each request carries its credential, and no request depends on a former one. The SDK (`rmcp`) speaks every
//! revision of the protocol from 2024-11-05 to 2026-07-28. What lasts between two calls is the *handle*
//! (`holding.rs`), a lease on a session, and what [`live::agents`](crate::live::agents) keeps for it.
//!
//! A tool is a function of a `Call` and its parameters; `catalog.rs` lists all of them. Tools drive pages
//! with the page driver of workflows, and do the rest with the functions behind the HTTP API. An error is the
//! problem that the API would answer: a stable code, an explanation, and the way out.

mod answer;
mod call;
mod catalog;
mod client;
mod entry;
mod handle;
mod holding;
mod params;
mod queue;
mod resources;
mod server;
mod settings;
mod state;
mod tools;

use std::sync::Arc;

use actix_web::body::MessageBody;
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::middleware::{Next, from_fn};
use actix_web::web::{Data, ServiceConfig};
use actix_web::{Error, FromRequest as _, HttpRequest};
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp_actix_web::transport::StreamableHttpService;
use serde::Deserialize;

use self::client::Client;
use self::entry::ToolSet;
use self::server::AgentServer;
pub use self::settings::Settings;
pub use self::state::Mcp;
use super::body::{RawBody, parse_query};
use super::caller::{Bearer, Driver, key_of};
use super::counting;
use super::front::Front;
use super::problem::Problem;
use super::validation::{Fields, RequestPart};
use crate::actors::requester::Requester;
use crate::domain::ids::SessionId;
use crate::domain::tenancy::KeyRole;
use crate::service::address;

/// The largest request of a client, in bytes: files of an upload come in base64.
const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;

tokio::task_local! {
    /// The client whose request the current task handles. The SDK makes a server for each request.
    static CLIENT: Arc<Client>;
}

/// The query parameters of the endpoint.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Query {
    /// The sets of tools to offer, separated by commas.
    tools: Option<String>,
}

/// Adds the endpoint for all sessions, and the one for a single session.
pub fn routes(config: &mut ServiceConfig) {
    for path in ["/mcp", "/v1/browser_sessions/{id}/mcp"] {
        let service = StreamableHttpService::builder()
            .service_factory(Arc::new(|| {
                let client = CLIENT.try_with(Arc::clone).map_err(std::io::Error::other)?;
                Ok(AgentServer::new(client))
            }))
            .session_manager(Arc::new(NeverSessionManager::default()))
            .stateful_mode(false)
            .json_response(true)
            .max_request_body_bytes(MAX_BODY_BYTES)
            // Every request needs a credential that pages do not have, so the names of hosts prove nothing.
            .allowed_hosts(Vec::new())
            .build();
        config.service(service.scope_with_path(path).wrap(from_fn(admit)));
    }
}

/// Admits a client by its key, or by its ticket for the session that the path names.
async fn admit(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse, Error> {
    let client = match client(request.request()).await {
        Ok(client) => client,
        Err(problem) => return Ok(request.error_response(problem)),
    };
    // Within the bounds of all bodies; the SDK has none for their time and their memory together.
    let body = match request.extract::<RawBody>().await {
        Ok(RawBody(body)) => body,
        Err(problem) => return Ok(request.error_response(problem)),
    };
    request.set_payload(Payload::from(body));
    counting::waits(); // A call takes the time of the page.
    let answered = CLIENT.scope(Arc::new(client), next.call(request)).await;
    answered.map(ServiceResponse::map_into_boxed_body)
}

async fn client(request: &HttpRequest) -> Result<Client, Problem> {
    let front = request.app_data::<Data<Front>>().cloned().ok_or_else(Problem::credentials)?;
    let query: Query = parse_query(request.query_string())?;
    let mut fields = Fields::of(RequestPart::Query);
    let given = query.tools.unwrap_or_default();
    let tools = fields.check("tools", given.as_str(), given.parse::<ToolSet>());
    fields.finish()?;
    let only = match request.match_info().get("id") {
        Some(id) => {
            Some(id.parse::<SessionId>().map_err(|_odd| Problem::unknown::<SessionId>(id))?)
        }
        None => None,
    };
    let (bearer, driver) = match key_of(request) {
        Some(_) => {
            let bearer = Bearer::extract(request).await?;
            if let Some(only) = only {
                bearer.of_session(KeyRole::Drive, &only.to_string())?;
            }
            let caller = bearer.caller;
            let (organization, key) = (caller.organization, caller.key);
            (Some(bearer), Driver { organization, key, signer: Some(caller.signer), ticket: None })
        }
        None => (None, Driver::extract(request).await?),
    };
    Ok(Client {
        front,
        organization: driver.organization,
        key: driver.key,
        bearer,
        ticket: driver.ticket,
        only,
        tools: tools.unwrap_or_default(),
        requester: Requester::current(),
        base_url: address::base_url(),
    })
}
