//! The right of a client to drive a session: a key of the session's organization, a ticket to drive, the lease
//! of its holder, or a pass for a block that its run executes.
//!
//! A lease comes in the query, as in the address in the answer to begin. It opens the session for
//! as long as it is held, and needs no key beside it. In the same way, a pass opens the session for
//! as long as its block runs.

use actix_web::http::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::watch;

use crate::actors::registry::RouteError;
use crate::actors::session::SessionError;
use crate::actors::tickets::{Ticket, Unusable};
use crate::actors::views::SessionView;
use crate::domain::ids::{OrganizationId, SessionId};
use crate::domain::lease::{LeaseToken, devtools_path};
use crate::domain::occupancy::Generation;
use crate::http::body::parse_query;
use crate::http::caller::{Driver, refused, unusable};
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::problem::Problem;
use crate::http::validation::{Fields, RequestPart};
use crate::live::devtools::{Ground, Lease};
use crate::service::lookup;

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
}

impl Admitted {
    /// Returns the path by which this client may drive the session, with the credential from its
    /// query.
    pub(super) fn path(&self, id: SessionId) -> String {
        match &self.ground {
            Ground::Key(_) | Ground::Ticket(_) => format!("/v1/browser_sessions/{id}/cdp"),
            Ground::Lease(lease, _) => devtools_path(id, lease.generation, &lease.token),
            Ground::Pass { secret, .. } => format!("/v1/browser_sessions/{id}/cdp?pass={secret}"),
        }
    }
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

/// Lets a client in by its key or its ticket, or by the lease or the pass in its query.
///
/// # Errors
///
/// 403 without credentials, and with a used ticket; 409 with a lease that does not hold the session; with a key,
/// 404 for an unknown session and 410 for an ended one.
pub(super) async fn admit(
    front: &Front,
    driver: Result<Driver, Problem>,
    id: SessionId,
    query: &str,
) -> Result<Admitted, ApiError> {
    let mut query: Query = parse_query(query)?;
    if let Some(secret) = query.pass.take() {
        let scope = front.world.passes.scope(&secret).filter(|scope| scope.session == id);
        let scope = scope.ok_or_else(refused)?;
        let view = live(front, scope.organization, id).await?;
        return Ok(Admitted {
            view,
            ground: Ground::Pass { secret, folder: scope.folder, over: scope.over },
        });
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
            Ok(Admitted { view, ground })
        }
        (Some(lease), Err(_)) => {
            let view = front.world.views.session_of_anyone(id);
            let held = view.filter(|view| lease.check(&view.borrow()).is_ok());
            let view = held.ok_or_else(|| not_held(&lease))?;
            let key = front.keys.watch_lease(id, &lease.hash)?;
            Ok(Admitted { view, ground: Ground::Lease(lease, key) })
        }
        (Some(lease), Ok(Driver { organization, .. })) => {
            let view = live(front, organization, id).await?;
            let checked = lease.check(&view.borrow());
            checked.map_err(|refused| RouteError::Session(refused.into()))?;
            let key = front.keys.watch_lease(id, &lease.hash)?;
            Ok(Admitted { view, ground: Ground::Lease(lease, key) })
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
