//! The client of one request.

use std::sync::Arc;

use actix_web::web::Data;

use super::entry::ToolSet;
use crate::actors::requester::Requester;
use crate::actors::tickets::Ticket;
use crate::domain::ids::{ApiKeyId, OrganizationId, SessionId};
use crate::http::caller::Bearer;
use crate::http::front::Front;

/// A client whose credential was checked.
#[derive(Debug, Clone)]
pub(super) struct Client {
    /// The state of endpoints.
    pub front: Data<Front>,
    /// The organization of the client.
    pub organization: OrganizationId,
    /// The key of the client, or that its ticket was made with.
    pub key: ApiKeyId,
    /// The key that came with the request; none for a ticket.
    pub bearer: Option<Bearer>,
    /// The ticket, where the request carries no key.
    pub ticket: Option<Ticket>,
    /// The only session that the address opens, for `/v1/browser_sessions/{id}/mcp`.
    pub only: Option<SessionId>,
    /// The sets of tools that the address offers.
    pub tools: ToolSet,
    /// The request, for messages to actors.
    pub requester: Option<Arc<Requester>>,
    /// The start of links, by the address under which the client reached the server.
    pub base_url: Option<String>,
}
