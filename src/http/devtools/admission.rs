//! The right of a client to drive a session: a key of the session's organization, a ticket to drive, the lease
//! of its holder, or a pass for a block that its run executes.
//!
//! A lease comes in the query, as in the address in the answer to begin. It opens the session for
//! as long as it is held, and needs no key beside it. In the same way, a pass opens the session for
//! as long as its block runs.

use actix_web::HttpRequest;
use actix_web::http::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::watch;
use url::form_urlencoded;

use crate::actors::registry::RouteError;
use crate::actors::session::SessionError;
use crate::actors::tickets::{Ticket, Unusable, Uses};
use crate::actors::views::SessionView;
use crate::domain::ids::{OrganizationId, SessionId};
use crate::domain::lease::LeaseToken;
use crate::domain::occupancy::Generation;
use crate::http::body::parse_query;
use crate::http::caller::{Driver, insufficient_ticket, refused, unusable};
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::problem::Problem;
use crate::http::quotas;
use crate::http::validation::{Fields, RequestPart};
use crate::live::devtools::{Ground, Lease, PORT_SECRET};
use crate::service::lookup;

use super::own_host::own_host;

/// Query parameters with credentials to drive. Other parameters, such as a key, are read elsewhere.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Query {
    generation: Option<String>,
    lease_token: Option<String>,
    pass: Option<String>,
}

/// Reads the lease that a query presents, if any.
///
/// # Errors
///
/// 422 if the query presents half of a lease, or a malformed one.
fn lease_of(query: Query) -> Result<Option<Lease>, Problem> {
    let Query { generation, lease_token, pass: _ } = query;
    if generation.is_none() && lease_token.is_none() {
        return Ok(None);
    }
    let mut fields = Fields::of(RequestPart::Query);
    let given = generation.unwrap_or_default();
    let number =
        given.parse::<i64>().map_err(|_no_number| "expected the generation that begin returned");
    let generation = fields.check("generation", given.as_str(), number);
    // The error does not repeat a secret, not even a wrong one.
    let token = lease_token.unwrap_or_default().parse::<LeaseToken>();
    let token = fields.check("lease_token", Value::Null, token);
    fields.finish()?;
    let lease = |(generation, token)| Lease::new(Generation::new(generation), token);
    Ok(generation.zip(token).map(lease))
}

/// A client that is admitted as a driver.
pub(super) struct Admitted {
    /// The view of the session.
    pub view: watch::Receiver<SessionView>,
    /// The credential that the client presented.
    pub ground: Ground,
    /// The way by which the client reaches the session.
    way: Way,
    /// The credentials of the query, which further addresses need too; empty, or with its `?`.
    query: String,
}

/// The way by which a client reaches a session's DevTools.
#[derive(Debug, Clone)]
enum Way {
    /// Below the path of the session.
    Path,
    /// At a host or a port that is of this session alone: the start of its addresses.
    Own(String),
}

impl Admitted {
    /// Returns the address of a socket for this client, with the credential from its query. `below` is
    /// a path at the browser's own server.
    pub(super) fn address(&self, front: &Front, id: SessionId, below: &str) -> String {
        match &self.way {
            Way::Path => {
                let start = front.socket_url();
                format!("{start}/v1/browser_sessions/{id}/cdp{below}{}", self.query)
            }
            Way::Own(start) => format!("{start}{below}{}", self.query),
        }
    }

    /// Returns the address of the browser's socket, as [`address`](Self::address) does. Below the path
    /// of a session it needs no name of the browser, whose own is `path`.
    pub(super) fn browser_address(&self, front: &Front, id: SessionId, path: &str) -> String {
        match &self.way {
            Way::Path => self.address(front, id, ""),
            Way::Own(_) => self.address(front, id, path),
        }
    }

    /// Refuses a ticket for a single use, which is for one connection and nothing beside it.
    ///
    /// # Errors
    ///
    /// 403 for such a ticket.
    pub(super) fn more_than_once(self) -> Result<Self, Problem> {
        match &self.ground {
            Ground::Ticket(ticket) if ticket.uses == Uses::Single => {
                Err(insufficient_ticket("it is for a single connection to DevTools"))
            }
            Ground::Key(_) | Ground::Lease(..) | Ground::Ticket(_) | Ground::Pass { .. } => {
                Ok(self)
            }
        }
    }
}

/// Returns the part of a query that has these parameters.
fn repeated<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    // Nothing separates the first pair from the `?`.
    let mut query = form_urlencoded::Serializer::for_suffix("?".to_owned(), 1);
    query.extend_pairs(pairs);
    query.finish()
}

/// Returns the credential of a ground as a query, if the request had it there: the client sends
/// its headers with each request again.
fn query_of(ground: &Ground, request: &HttpRequest, query: &str) -> String {
    match ground {
        Ground::Key(_) | Ground::Ticket(_) => match queried(request, query) {
            Some((name, value)) => repeated([(name, value.as_str())]),
            None => String::new(),
        },
        Ground::Lease(lease, _) => {
            let (generation, token) = (lease.generation.to_string(), lease.token.reveal());
            repeated([("generation", generation.as_str()), ("lease_token", token.as_str())])
        }
        Ground::Pass { secret, .. } => repeated([("pass", secret.as_str())]),
    }
}

/// Returns the key or the ticket that a request has in its query, if it counts: headers come first.
fn queried(request: &HttpRequest, query: &str) -> Option<(&'static str, String)> {
    let sent = |header: &str| request.headers().contains_key(header);
    let value = |name: &str| {
        let mut pairs = form_urlencoded::parse(query.as_bytes());
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

/// Returns the view of a live session of this organization.
async fn live(
    front: &Front,
    organization: OrganizationId,
    id: SessionId,
) -> Result<watch::Receiver<SessionView>, ApiError> {
    if let Some(view) = front.world.views.session(organization, id) {
        return Ok(view);
    }
    lookup::session(front, organization, id).await?;
    Err(RouteError::Session(SessionError::Closing).into())
}

/// Lets a client in by its key or its ticket, by the lease or the pass in its query, or by the port of
/// a session that it is connected to. `query` is the part of the query with the credentials.
///
/// # Errors
///
/// 403 without credentials, and with a used ticket; 409 with a lease that does not hold the session; with a key,
/// 404 for an unknown session and 410 for an ended one; 429 for too many requests of the organization.
pub(super) async fn admit(
    front: &Front,
    driver: Result<Driver, Problem>,
    id: SessionId,
    request: &HttpRequest,
    query: &str,
) -> Result<Admitted, ApiError> {
    let admitted = match by_port(front, id, request).await? {
        Some(admitted) => admitted,
        None => {
            let (view, ground) = by_credential(front, driver, id, query).await?;
            let query = query_of(&ground, request, query);
            let way = own_host(request).map_or(Way::Path, Way::Own);
            Admitted { view, ground, way, query }
        }
    };
    let organization = admitted.view.borrow().record.organization;
    quotas::admit(request, organization).await?; // Also for a client that has a lease or a pass.
    Ok(admitted)
}

/// Lets a client in that came by a port of the session.
async fn by_port(
    front: &Front,
    id: SessionId,
    request: &HttpRequest,
) -> Result<Option<Admitted>, ApiError> {
    let Some(secret) = request.headers().get(PORT_SECRET) else { return Ok(None) };
    let opened = secret.to_str().ok().and_then(|secret| front.devtools.ports.opened(secret));
    let opened = opened.filter(|opened| opened.session == id).ok_or_else(refused)?;
    let view = live(front, opened.organization, id).await?;
    if let Ground::Lease(lease, _) = &opened.ground {
        let checked = lease.check(&view.borrow());
        checked.map_err(|refused| RouteError::Session(refused.into()))?;
    }
    let way = Way::Own(format!("ws://{}", opened.address));
    Ok(Some(Admitted { view, ground: opened.ground, way, query: String::new() }))
}

async fn by_credential(
    front: &Front,
    driver: Result<Driver, Problem>,
    id: SessionId,
    query: &str,
) -> Result<(watch::Receiver<SessionView>, Ground), ApiError> {
    let mut query: Query = parse_query(query)?;
    if let Some(secret) = query.pass.take() {
        let scope = front.world.passes.scope(&secret).filter(|scope| scope.session == id);
        let scope = scope.ok_or_else(refused)?;
        let view = live(front, scope.organization, id).await?;
        return Ok((view, Ground::Pass { secret, folder: scope.folder, over: scope.over }));
    }
    match (lease_of(query)?, driver) {
        (None, driver) => {
            let Driver { organization, key, ticket, .. } = driver?;
            if ticket.as_ref().is_some_and(Ticket::is_spent) {
                return Err(unusable(Unusable::Spent).into());
            }
            let view = live(front, organization, id).await?;
            let ground = match ticket {
                Some(ticket) => Ground::Ticket(ticket),
                None => Ground::Key(front.keys.watch(key)),
            };
            Ok((view, ground))
        }
        (Some(lease), Err(_)) => {
            let view = front.world.views.session_of_anyone(id);
            let held = view.filter(|view| lease.check(&view.borrow()).is_ok());
            let view = held.ok_or_else(|| not_held(&lease))?;
            let key = front.keys.watch_lease(id, &lease.hash)?;
            Ok((view, Ground::Lease(lease, key)))
        }
        (Some(lease), Ok(Driver { organization, .. })) => {
            let view = live(front, organization, id).await?;
            let checked = lease.check(&view.borrow());
            checked.map_err(|refused| RouteError::Session(refused.into()))?;
            let key = front.keys.watch_lease(id, &lease.hash)?;
            Ok((view, Ground::Lease(lease, key)))
        }
    }
}

/// The answer to a wrong lease from a client without a key, which must not reveal whether the
/// session exists.
fn not_held(lease: &Lease) -> Problem {
    let detail = format!("generation {} does not hold the session", lease.generation);
    Problem::new(StatusCode::CONFLICT, "occupancy_lost", detail)
        .with("generation", lease.generation)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(query: &str) -> Result<Option<Lease>, Problem> {
        lease_of(parse_query(query)?)
    }

    #[test]
    fn repeated_credentials_are_a_query_of_their_own() {
        assert_eq!(repeated([("apikey", "a b")]), "?apikey=a+b");
        assert_eq!(
            repeated([("generation", "1"), ("lease_token", "lt_x")]),
            "?generation=1&lease_token=lt_x"
        );
    }

    #[test]
    fn half_a_lease_is_refused_and_none_is_none() {
        assert!(lease("apikey=k").unwrap().is_none());
        let places = |query: &str| {
            let body = lease(query).unwrap_err().body();
            let detail = body["detail"].as_array().unwrap().clone();
            detail.iter().map(|it| it["loc"][1].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(places("generation=1"), ["lease_token"]);
        assert_eq!(places("lease_token=lt_x&generation=a"), ["generation", "lease_token"]);
        let token = LeaseToken::new([7; 32]);
        let query = format!("generation=3&lease_token={}", token.reveal());
        assert_eq!(lease(&query).unwrap().unwrap().generation, Generation::new(3));
        assert!(!format!("{:?}", lease(&query)).contains(&token.reveal()));
    }
}
