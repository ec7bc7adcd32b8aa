//! The caller of a request, proven by a key.

use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::http::{Method, StatusCode};
use actix_web::{FromRequest, HttpRequest, web};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use subtle::ConstantTimeEq as _;

use super::body::parse_query;
use super::front::Front;
use super::outside::client_address;
use super::problem::Problem;
use super::quotas;
use crate::actors::requester::Requester;
use crate::actors::secrets::KeySigner;
use crate::actors::session::Visit;
use crate::actors::tickets::{Ticket, Unusable};
use crate::domain::control::{ClientId, Credential};
use crate::domain::ids::{ApiKeyId, OrganizationId};
use crate::domain::rfb::Role;
use crate::domain::tenancy::KeyRole;
use crate::domain::ticket::TicketRole;
pub use crate::service::keys::{Bearer, Caller};
use crate::service::keys::{hash_of, is_page_token};

impl FromRequest for Bearer {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let front = request.app_data::<web::Data<Front>>().cloned();
        let (key, from) = (key_of(request), client_address(request));
        let request = request.clone();
        Box::pin(async move {
            let (Some(front), Some(key)) = (front, key) else { return Err(refused()) };
            let bearer = front.keys.bearer(&key, from).await?;
            Requester::identify(|| bearer.caller.key.to_string());
            quotas::admit(&request, bearer.caller.organization).await?;
            Ok(bearer)
        })
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Credentials {
    apikey: Option<String>,
    token: Option<String>,
    ticket: Option<String>,
    client_id: Option<String>,
}

/// A header of the request, or what its query says instead.
fn given(
    request: &HttpRequest,
    header: &str,
    queried: fn(Credentials) -> Option<String>,
) -> Option<String> {
    in_header(request, header).or_else(|| queried(parse_query(request.query_string()).ok()?))
}

fn in_header(request: &HttpRequest, name: &str) -> Option<String> {
    request.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// The credential that the page of a browser offers among the subprotocols of its WebSocket, as
/// `greenroom.<kind>.<base64url>`. Pages cannot send other headers with a WebSocket, and proxies log queries.
fn offered(request: &HttpRequest, kind: &str) -> Option<String> {
    let upgrade = request.headers().get("upgrade")?.to_str().ok()?;
    if !upgrade.eq_ignore_ascii_case("websocket") {
        return None;
    }
    let offers = request.headers().get_all("sec-websocket-protocol");
    let mut offers = offers.filter_map(|value| value.to_str().ok()).flat_map(|it| it.split(','));
    offers.find_map(|offer| {
        let encoded = offer.trim().strip_prefix("greenroom.")?.strip_prefix(kind)?;
        let bytes = URL_SAFE_NO_PAD.decode(encoded.strip_prefix('.')?).ok()?;
        String::from_utf8(bytes).ok()
    })
}

/// The key that a request carries.
pub(super) fn key_of(request: &HttpRequest) -> Option<String> {
    let bearer = |text: &str| text.strip_prefix("Bearer ").unwrap_or(text).to_owned();
    in_header(request, "x-api-key")
        .or_else(|| offered(request, "apikey"))
        .or_else(|| given(request, "x-api-key", |query| query.apikey))
        .or_else(|| given(request, "authorization", |query| query.token).map(|it| bearer(&it)))
}

/// Returns the caller of a key that opens this much of the session that the path of the request
/// names as `id`.
///
/// # Errors
///
/// 403 if its role does not suffice; 404 for a session that it is not for.
pub(super) fn opened(
    bearer: &Bearer,
    role: KeyRole,
    request: &HttpRequest,
) -> Result<Caller, Problem> {
    let named = request.match_info().get("id").unwrap_or_default();
    Ok(bearer.of_session(role, named)?)
}

/// Returns 403, as in the compatible API, not 401.
pub fn refused() -> Problem {
    Problem::credentials()
}

impl FromRequest for Caller {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let bearer = Bearer::from_request(request, payload);
        Box::pin(async move { Ok(bearer.await?.whole()?) })
    }
}

/// A caller that may occupy and drive the session that the path of the request names as `id`. It has a key of
/// the session's organization with at least the role `drive`, or a ticket for the session with the role `drive`.
/// A key comes before a ticket.
#[derive(Debug, Clone)]
pub struct Driver {
    /// The organization of the session.
    pub organization: OrganizationId,
    /// The key that the request carries, or that its ticket was made with.
    pub key: ApiKeyId,
    /// Signs on behalf of the key that the request carries.
    pub signer: Option<KeySigner>,
    /// The ticket, where the request carries no key. It may be spent.
    pub ticket: Option<Ticket>,
}

impl FromRequest for Driver {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        if key_of(request).is_none() {
            let (driver, request) = (driver_by_ticket(request), request.clone());
            return Box::pin(async move {
                let driver = driver?;
                quotas::admit(&request, driver.organization).await?;
                Ok(driver)
            });
        }
        let (bearer, request) = (Bearer::from_request(request, payload), request.clone());
        Box::pin(async move {
            let Caller { organization, key, signer } =
                opened(&bearer.await?, KeyRole::Drive, &request)?;
            Ok(Self { organization, key, signer: Some(signer), ticket: None })
        })
    }
}

fn driver_by_ticket(request: &HttpRequest) -> Result<Driver, Problem> {
    let ticket = ticket_of(request).ok_or_else(refused)?;
    if ticket.role != TicketRole::Drive {
        return Err(insufficient_ticket(&format!("its role is `{}`", ticket.role.as_str())));
    }
    let Ticket { organization, key, .. } = ticket;
    Ok(Driver { organization, key, signer: None, ticket: Some(ticket) })
}

/// The valid ticket that a request carries for the session in its path.
fn ticket_of(request: &HttpRequest) -> Option<Ticket> {
    let front = request.app_data::<web::Data<Front>>()?;
    let secret = in_header(request, "x-greenroom-ticket")
        .or_else(|| offered(request, "ticket"))
        .or_else(|| given(request, "x-greenroom-ticket", |query| query.ticket))?;
    let session = request.match_info().get("id")?.parse().ok()?;
    let world = &front.world;
    world.views.tickets.opened(session, &secret, world.clock.now())
}

/// 403 for a ticket that does not permit the request.
pub(super) fn insufficient_ticket(why: &str) -> Problem {
    let detail = format!("this ticket does not permit the request: {why}");
    Problem::new(StatusCode::FORBIDDEN, "ticket_insufficient", detail)
}

/// 403 for a ticket that cannot be used to drive any more.
pub(super) fn unusable(cause: Unusable) -> Problem {
    let (code, detail) = match cause {
        Unusable::Spent => {
            ("ticket_used", "this single-use ticket was used already; request another ticket")
        }
        Unusable::Ended => {
            ("ticket_ended", "this ticket was revoked or has expired; request another ticket")
        }
    };
    Problem::new(StatusCode::FORBIDDEN, code, detail)
}

/// A visitor of one session: a client with a key of its organization, or with a ticket for it.
///
/// A ticket comes in the header `x-greenroom-ticket` or as `ticket` in the query; the page that
/// brings it names itself in the header `x-greenroom-client` or as `client_id` in the query. A
/// key comes before a ticket. A key with a role below `organization` permits the same as a ticket to watch, and
/// so does a ticket to drive, unless it is for a single use.
/// The path of the request must name the session as `id`.
#[derive(Debug, Clone)]
pub struct Visitor {
    /// The organization of the session.
    pub organization: OrganizationId,
    /// The credential, the role and the client of the visitor.
    pub visit: Visit,
    /// The end of the ticket, if the visitor has one.
    pub until: Option<DateTime<Utc>>,
    /// The ticket that it comes with.
    pub ticket: Option<Ticket>,
    /// The key that it comes with, or that its ticket was made with.
    pub key: ApiKeyId,
    /// The caller, if its key opens everything of its organization.
    pub caller: Option<Caller>,
}

impl FromRequest for Visitor {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let client = given(request, "x-greenroom-client", |query| query.client_id);
        let client = client.and_then(|text| text.parse::<ClientId>().ok());
        if key_of(request).is_none() {
            let (visitor, request) = (by_ticket(request, client), request.clone());
            return Box::pin(async move {
                let visitor = visitor?;
                quotas::admit(&request, visitor.organization).await?;
                Ok(visitor)
            });
        }
        let (bearer, request) = (Bearer::from_request(request, payload), request.clone());
        Box::pin(async move {
            let bearer = bearer.await?;
            let Caller { organization, key, .. } = opened(&bearer, KeyRole::Watch, &request)?;
            let caller = bearer.whole().ok();
            let role = if caller.is_some() { Role::Control } else { Role::Watch };
            let visit = Visit { credential: Credential::Key(key), role, label: None, client };
            Ok(Self { organization, visit, until: None, ticket: None, key, caller })
        })
    }
}

fn by_ticket(request: &HttpRequest, client: Option<ClientId>) -> Result<Visitor, Problem> {
    let ticket = ticket_of(request).ok_or_else(refused)?;
    if !ticket.admits(client.as_ref()) {
        return Err(match ticket.role {
            TicketRole::Watch | TicketRole::Control => refused(),
            TicketRole::Drive => insufficient_ticket("it is for a single use of DevTools"),
        });
    }
    let (credential, role) = (Credential::Ticket(ticket.id), ticket.role.as_viewer());
    Ok(Visitor {
        organization: ticket.organization,
        visit: Visit { credential, role, label: ticket.label.clone(), client },
        until: Some(ticket.expires_at),
        key: ticket.key,
        ticket: Some(ticket),
        caller: None,
    })
}

impl Visitor {
    /// Returns the result of `work`, unless the visitor's key or ticket ends before.
    ///
    /// # Errors
    ///
    /// The answer to an invalid key or ticket.
    pub async fn unless_over<T>(
        &self,
        front: &Front,
        work: impl Future<Output = T>,
    ) -> Result<T, Problem> {
        unless_over(front, self.key, self.ticket.as_ref(), work).await
    }
}

/// A client that may use the files of the session that the path of the request names as `id`. It has
/// a key of the session's organization with at least the role `drive`, or a ticket for the session
/// with the role `control` or `drive`. A key comes before a ticket.
#[derive(Debug, Clone)]
pub struct FileClient {
    /// The organization of the session.
    pub organization: OrganizationId,
    /// The key that the request carries, or that its ticket was made with.
    pub key: ApiKeyId,
    /// The ticket, where the request carries no key.
    pub ticket: Option<Ticket>,
}

impl FromRequest for FileClient {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        if key_of(request).is_none() {
            let client = given(request, "x-greenroom-client", |query| query.client_id);
            let client = client.and_then(|text| text.parse::<ClientId>().ok());
            let (visitor, request) = (by_ticket(request, client), request.clone());
            return Box::pin(async move {
                let Visitor { organization, key, ticket, .. } = visitor?;
                if let Some(ticket) = ticket.as_ref().filter(|it| it.role == TicketRole::Watch) {
                    let role = ticket.role.as_str();
                    return Err(insufficient_ticket(&format!("its role is `{role}`")));
                }
                quotas::admit(&request, organization).await?;
                Ok(Self { organization, key, ticket })
            });
        }
        let (bearer, request) = (Bearer::from_request(request, payload), request.clone());
        Box::pin(async move {
            let Caller { organization, key, .. } =
                opened(&bearer.await?, KeyRole::Drive, &request)?;
            Ok(Self { organization, key, ticket: None })
        })
    }
}

impl FileClient {
    /// The same client, unless it comes with a ticket: a ticket adds and reads files, and takes
    /// none away.
    ///
    /// # Errors
    ///
    /// 403 for a ticket.
    pub fn with_key(self) -> Result<Self, Problem> {
        match self.ticket {
            None => Ok(self),
            Some(_) => Err(insufficient_ticket("only a key renames and deletes files")),
        }
    }

    /// Returns the result of `work`, unless the client's key or ticket ends before.
    ///
    /// # Errors
    ///
    /// The answer to an invalid key or ticket.
    pub async fn unless_over<T>(
        &self,
        front: &Front,
        work: impl Future<Output = T>,
    ) -> Result<T, Problem> {
        unless_over(front, self.key, self.ticket.as_ref(), work).await
    }
}

async fn unless_over<T>(
    front: &Front,
    key: ApiKeyId,
    ticket: Option<&Ticket>,
    work: impl Future<Output = T>,
) -> Result<T, Problem> {
    let ended = async {
        match ticket {
            Some(ticket) => ticket.ended(front.world.clock).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        done = front.keys.unless_revoked(key, work) => Ok(done?),
        _has_expired = ended => Err(refused()),
    }
}

/// An operator: the request carries the operator key of the settings, or a key whose role is `operator`,
/// in the header `x-api-key`; for requests that change nothing, also a page's token of such a key.
#[derive(Debug, Clone, Copy)]
pub struct Operator;

impl Operator {
    /// True if the request carries the operator key of the settings.
    pub fn comes_with(request: &HttpRequest) -> bool {
        let front = request.app_data::<web::Data<Front>>();
        let expected = front.and_then(|front| front.operator_key.as_ref());
        match (expected, key_of(request)) {
            (Some(expected), Some(key)) => {
                hash_of(expected.expose()).as_bytes().ct_eq(hash_of(&key).as_bytes()).into()
            }
            (Some(_) | None, _) => false,
        }
    }
}

impl FromRequest for Operator {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        if Self::comes_with(request) {
            Requester::identify(|| "operator".to_owned());
            return Box::pin(std::future::ready(Ok(Self)));
        }
        // A page's token looks, and changes nothing here: it could make a key that outlives it.
        let is_token = key_of(request).is_some_and(|key| is_page_token(&key));
        if is_token && request.method() != Method::GET {
            return Box::pin(std::future::ready(Err(refused())));
        }
        let bearer = Bearer::from_request(request, payload);
        Box::pin(async move {
            bearer.await?.at_least(KeyRole::Operator)?;
            Ok(Self)
        })
    }
}
