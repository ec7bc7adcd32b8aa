//! `POST /v1/browser_sessions/{id}/begin`: an external client takes the occupancy.

use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::web::{Data, Json};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use crate::actors::registry::{Route, RouteError};
use crate::actors::session::{Begin, Beginner, Grant, Wait};
use crate::actors::tickets::{Ticket, Unusable};
use crate::domain::ids::{ApiKeyId, OrganizationId, SessionId};
use crate::domain::lease::{LeaseToken, TakenLease, devtools_path};
use crate::domain::occupancy::{Generation, Occupant, RunnableId, RunnableType};
use crate::http::body::{Body, PathId};
use crate::http::caller::{Driver, refused, unusable};
use crate::http::counting;
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::idempotency::key_of;
use crate::http::problem::Problem;
use crate::http::sessions::ask_session;
use crate::http::validation::Fields;

/// The maximum time that a client may wait in one request, in seconds.
const LONGEST_WAIT_SECONDS: u64 = 60 * 60;

#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = BeginRequest)]
#[serde(deny_unknown_fields)]
pub struct Request {
    #[schema(value_type = Option<String>)]
    #[serde(default)]
    runnable_type: Option<RunnableType>,
    runnable_id: String,
    ttl_seconds: Option<u64>,
    #[serde(default)]
    wait_seconds: u64,
    /// The lease token of the present holder, if it begins again.
    lease_token: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BeginResponse)]
pub struct Response {
    #[schema(value_type = i64)]
    generation: Generation,
    lease_token: String,
    heartbeat_interval_seconds: u64,
    expires_at: DateTime<Utc>,
    /// The address at which a DevTools client connects without a key while it holds this lease. It
    /// contains the lease token.
    browser_address: String,
}

/// The validated fields of a request.
struct Params {
    runnable_id: RunnableId,
    ttl: Duration,
    presented: Option<LeaseToken>,
}

impl Request {
    fn check(&self, front: &Front) -> Result<Params, Problem> {
        let settings = &front.world.settings;
        let mut fields = Fields::new();
        let runnable_id = fields.check("runnable_id", &*self.runnable_id, self.runnable_id.parse());
        let ttl = self.ttl_seconds.unwrap_or(settings.default_lease_seconds);
        let longest = settings.max_lease_seconds;
        let within = (1..=longest).contains(&ttl);
        fields.require("ttl_seconds", ttl, within, format!("expected 1 to {longest}"));
        let within = self.wait_seconds <= LONGEST_WAIT_SECONDS;
        fields.require("wait_seconds", self.wait_seconds, within, "expected at most 3600");
        // The error does not repeat a secret, not even a wrong one.
        let presented = self.lease_token.as_deref().map(str::parse).transpose();
        let presented = fields.check("lease_token", Value::Null, presented);
        let (Some(runnable_id), Some(presented)) = (runnable_id, presented) else {
            return Err(fields.finish().err().unwrap_or_else(|| Problem::invalid(Vec::new())));
        };
        fields.finish()?;
        Ok(Params { runnable_id, ttl: Duration::from_secs(ttl), presented })
    }
}

/// The lease token of a begin that names an `Idempotency-Key`. It is of the caller's API key or ticket, and of a
/// period as long as the longest lease: an occupancy whose answer was lost lapses within it, so that a
/// retry comes in the same period or in the next one.
async fn derived_lease(
    front: &Front,
    driver: &Driver,
    session: SessionId,
    runnable: &RunnableId,
    idempotency_key: &str,
) -> Result<LeaseToken, ApiError> {
    // No ticket gets a lease that its key, or another ticket of that key, has got.
    let named = match &driver.ticket {
        Some(ticket) => format!("{}\0{idempotency_key}", ticket.id),
        None => idempotency_key.to_owned(),
    };
    // Nor a lease that a rotation has ended.
    let view = front.world.views.session(driver.organization, session);
    let record = view.map(|view| view.borrow().record.clone());
    let named = match record.as_ref().map_or(0, |record| record.spec.rotation) {
        0 => named,
        rotation => format!("{named}\0rotation {rotation}"),
    };
    let signer = match driver.signer {
        Some(signer) => signer,
        None => {
            let signer = front.keys.signer(driver.organization, driver.key).await?;
            signer.ok_or_else(refused)?
        }
    };
    let longest = i64::try_from(front.world.settings.max_lease_seconds).unwrap_or(i64::MAX).max(1);
    let period = front.world.clock.now().timestamp() / longest;
    let of = |period| signer.lease_for(session, runnable, &named, period);
    let held = record.and_then(|record| Some(record.occupancy.holder()?.lease));
    let former = of(period - 1);
    Ok(if held == Some(former.hash()) { former } else { of(period) })
}

/// Takes the occupancy of a session, or waits for it. An occupancy that was taken with a ticket ends with the
/// ticket; one for a single use is spent by it.
#[utoipa::path(
    post,
    path = "/v1/browser_sessions/{browser_session_id}/begin",
    tag = "Browser sessions",
    params(
        ("browser_session_id" = String, Path, description = "`pbs_…`"),
        ("Idempotency-Key" = Option<String>, Header, description = "Requests with the same key, and the same API key, get the same lease"),
    ),
    request_body = Request,
    responses(
        (status = 200, description = "The occupancy", body = Response),
        (status = 404, description = "There is no such session"),
        (status = 409, description = "Another client occupies the session; the body names it and the end of its occupancy"),
        (status = 410, description = "The session has ended"),
        (status = 422, description = "Fields are invalid; `detail` lists them"),
    ),
)]
pub async fn begin(
    driver: Driver,
    PathId(id): PathId<SessionId>,
    body: Body<Request>,
    request: HttpRequest,
    front: Data<Front>,
) -> Result<Json<Response>, ApiError> {
    let Body(asked) = body;
    let Params { runnable_id, ttl, presented } = asked.check(&front)?;
    let key = key_of(&request)?;
    let lease = match (presented, key) {
        (Some(presented), _) => presented,
        (None, Some(key)) => derived_lease(&front, &driver, id, &runnable_id, &key).await?,
        (None, None) => front.world.secrets.fresh_lease(),
    };
    let runnable_type = asked.runnable_type.unwrap_or(RunnableType::External);
    let occupant = Occupant { runnable_type, runnable_id };
    let patience = Duration::from_secs(asked.wait_seconds);
    let wanted = Wanted { session: id, occupant, lease: lease.clone(), ttl, patience };
    let taker = Taker::from(&driver);
    let grant = taker.take(&front, wanted).await?;
    taker.took(&front, id, &lease);
    let path = devtools_path(id, grant.generation, &lease);
    Ok(Json(Response {
        generation: grant.generation,
        lease_token: lease.reveal(),
        heartbeat_interval_seconds: (ttl.as_secs() / 3).max(1),
        expires_at: grant.expires_at,
        browser_address: format!("{}{path}", front.socket_url()),
    }))
}

/// The client that takes an occupancy.
pub(in crate::http) struct Taker<'a> {
    /// The organization of the session.
    pub organization: OrganizationId,
    /// The key of the client, or that its ticket was made with.
    pub key: ApiKeyId,
    /// The ticket, if the client comes with one.
    pub ticket: Option<&'a Ticket>,
}

impl<'a> From<&'a Driver> for Taker<'a> {
    fn from(driver: &'a Driver) -> Self {
        let Driver { organization, key, ticket, .. } = driver;
        Self { organization: *organization, key: *key, ticket: ticket.as_ref() }
    }
}

/// The occupancy that a client wants.
pub(in crate::http) struct Wanted {
    pub session: SessionId,
    pub occupant: Occupant,
    pub lease: LeaseToken,
    /// The time that the lease lasts without a heartbeat.
    pub ttl: Duration,
    /// The time to wait for an occupied session.
    pub patience: Duration,
}

impl Taker<'_> {
    /// Takes the occupancy of a session, or waits for it. Dropping the future removes the client from the
    /// queue. The client must call [`took`](Self::took) then.
    ///
    /// # Errors
    ///
    /// Those of the session; 403 when the client's credential ends; 503 when the server stops.
    pub async fn take(&self, front: &Front, wanted: Wanted) -> Result<Grant, ApiError> {
        let Wanted { session, occupant, lease, ttl, patience } = wanted;
        // Dropped with this future when the client disconnects, which removes it from the queue.
        let gone = CancellationToken::new();
        let _leaves = gone.clone().drop_guard();
        let wait = (!patience.is_zero()).then_some(Wait { patience, gone });
        if wait.is_some() {
            counting::waits();
        }
        let (tickets, clock) = (&front.world.views.tickets, front.world.clock);
        let by = self.ticket.map_or(Beginner::Key(self.key), |ticket| Beginner::Ticket(ticket.id));
        let taken = self.ticket.map(|ticket| tickets.take(ticket.id, clock.now()));
        let taken = taken.transpose().map_err(unusable)?;
        let ticket_ended = async {
            match self.ticket {
                Some(ticket) => ticket.ended(clock).await,
                None => std::future::pending().await,
            }
        };
        let message = Begin { occupant, lease, ttl, wait, by };
        let route = Route { organization: self.organization, session, message };
        let mut draining = front.world.views.draining();
        let revocation = front.keys.watch(self.key);
        let grant = tokio::select! {
            biased; // A grant takes precedence over a revocation.
            grant = ask_session(front, route) => grant?,
            // Clients that wait are sent away, so that they can go to another server.
            _ = draining.wait_for(Option::is_some) => return Err(RouteError::Draining.into()),
            () = revocation.revoked() => return Err(refused().into()),
            _has_expired = ticket_ended => return Err(unusable(Unusable::Ended).into()),
        };
        if let Some(taken) = taken {
            taken.keep();
        }
        Ok(grant)
    }

    /// Remembers the credential with which a lease was taken, so that the lease ends with it.
    pub fn took(&self, front: &Front, session: SessionId, lease: &LeaseToken) {
        let taken = TakenLease {
            session,
            organization: self.organization,
            lease: lease.hash(),
            key: self.key,
            ends_at: self.ticket.map(|ticket| ticket.expires_at),
        };
        front.keys.remember(taken);
    }
}
