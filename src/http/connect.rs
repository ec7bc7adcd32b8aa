//! `WS /v1/connect`: one address that makes or joins a session, holds it, drives it and releases it.
//!
//! ```text
//! find by name --+--> none: make it ----+--> begin --> DevTools --> release, and close if made
//!                +--> live: (wait) -----+
//! ```
//!
//! Everything before the upgrade is a request like any other, with its refusals. What it has made or
//! taken is undone if the client leaves. A session that was made is marked ([`ENDS_VACANT`]), unless it
//! is kept: it ends when its lease does, also under the next server.
//!
//! Requests for one name take turns, so that of two at once one makes the session and the other joins it.
//! On other servers of the same database the name is taken (409).
//!
//! [`ENDS_VACANT`]: crate::actors::session::ENDS_VACANT

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::web::{Data, Payload, ServiceConfig, get};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::StreamExt as _;
use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::body::parse_query;
use super::caller::Caller;
use super::devtools::{handshake_key, local_peer, not_connected, with_subprotocol};
use super::error::{ApiError, failed_start};
use super::front::Front;
use super::problem::Problem;
use super::sessions::begin::{Taker, Wanted};
use super::sessions::create::{Connecting, made};
use super::validation::{Fields, RequestPart};
use crate::actors::ask::Address;
use crate::actors::quotas::QuotaPermit;
use crate::actors::registry::{Registry, Route, RouteError};
use crate::actors::requester::Requester;
use crate::actors::session::{Close, Heartbeat, Release, SessionError};
use crate::actors::views::SessionView;
use crate::domain::ids::{OrganizationId, SessionId};
use crate::domain::labels::Name;
use crate::domain::lease::LeaseToken;
use crate::domain::occupancy::{Generation, Occupant, Refusal, RunnableType};
use crate::domain::quota::Quota;
use crate::domain::session::SessionStatus;
use crate::live::devtools::{self, Driver, Endpoint, Ground, Lease};

/// The time that the lease lasts when no server renews it, in seconds.
const TTL_SECONDS: u64 = 60;

/// The longest `wait`, in seconds.
const LONGEST_WAIT: u64 = 60 * 60;

/// The time that a session of the name has to end, where it is ending already.
const ENDING: Duration = Duration::from_secs(60);

/// The time beyond its `wait` that a client waits for its turn of a name.
const GRACE: Duration = Duration::from_secs(5);

/// The number of sessions of the name that may end while a client waits for one.
const MOST_TRIES: usize = 8;

/// The header of the answer that names the session.
const SESSION: HeaderName = HeaderName::from_static("x-greenroom-session");

pub fn routes(config: &mut ServiceConfig) {
    config.route("/v1/connect", get().to(connect));
}

/// The query of the address.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Params {
    /// The name of the session, which is joined if it lives.
    name: Option<String>,
    /// The id of a profile, `bp_…`.
    profile: Option<String>,
    /// Tags, separated by commas.
    tags: Option<String>,
    start_url: Option<String>,
    /// The lifetime in minutes, as of a session that is made by other means.
    timeout: Option<i64>,
    timeout_seconds: Option<u64>,
    /// True if a session that is made stays when the client has left.
    keep: bool,
    /// The time to wait for a session that another client holds, in seconds.
    wait: u64,
    /// Credentials, which are read elsewhere.
    apikey: Option<IgnoredAny>,
    token: Option<IgnoredAny>,
    client_id: Option<IgnoredAny>,
}

impl Params {
    /// Reads the query, and returns the options of a new session beside it.
    fn read(query: &str) -> Result<(Self, Option<Name>, Connecting), Problem> {
        let params: Self = parse_query(query)?;
        let mut fields = Fields::of(RequestPart::Query);
        let name = params.name.as_deref();
        let name = name.and_then(|name| fields.check("name", name, name.parse::<Name>()));
        let wrong = format!("expected at most {LONGEST_WAIT}");
        fields.require("wait", params.wait, params.wait <= LONGEST_WAIT, wrong);
        fields.finish()?;
        let tags = params.tags.as_deref().unwrap_or_default().split(',').map(str::trim);
        let connecting = Connecting {
            name: params.name.clone(),
            browser_profile_id: params.profile.clone(),
            tags: tags.filter(|tag| !tag.is_empty()).map(str::to_owned).collect(),
            start_url: params.start_url.clone(),
            timeout: params.timeout,
            timeout_seconds: params.timeout_seconds,
            ends_vacant: !params.keep,
        };
        Ok((params, name, connecting))
    }
}

/// A session that a client holds, or has made and is about to hold. Dropping it releases the session, or
/// closes it where a release would leave it behind. A release is fenced by the lease: it does nothing to a
/// session whose lease was replaced meanwhile, as by a rotation.
struct Hold {
    registry: Address<Registry>,
    organization: OrganizationId,
    session: SessionId,
    /// The lease, once it is granted.
    lease: Option<(Generation, LeaseToken)>,
    /// True if the session is to be closed, because a release would not end it.
    closes: bool,
}

impl Hold {
    fn of(front: &Front, organization: OrganizationId, session: SessionId, closes: bool) -> Self {
        Self { registry: front.registry.clone(), organization, session, lease: None, closes }
    }

    fn route<M>(&self, message: M) -> Route<M> {
        Route { organization: self.organization, session: self.session, message }
    }

    /// Renews the lease; false if it is lost.
    async fn renewed(&self) -> bool {
        let Some((generation, lease)) = &self.lease else { return false };
        let message =
            Heartbeat { generation: *generation, lease: lease.hash(), ttl: None, run: None };
        match self.registry.ask(self.route(message)).await {
            Ok(Ok(_grant)) => true,
            Ok(Err(RouteError::Unknown(_))) => false,
            Ok(Err(RouteError::Session(cause))) => !matches!(
                cause,
                SessionError::Refused(
                    Refusal::Lost { .. } | Refusal::WrongLease { .. } | Refusal::Closed
                ) | SessionError::Closing
            ),
            // Unanswered, or the server stops: the lease has time for the next try.
            Ok(Err(RouteError::Draining | RouteError::Unanswered(_))) | Err(_) => true,
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // Outcomes are stored. A session that is marked ends when it is vacant.
        if self.closes {
            let message = Close { status: SessionStatus::Completed };
            self.registry.notify(self.route(message));
        } else if let Some((generation, lease)) = self.lease.take() {
            let message = Release { generation, lease: lease.hash(), run: None };
            self.registry.notify(self.route(message));
        }
    }
}

/// Connects a client to a session that it names, or to a new one, as its holder.
async fn connect(
    caller: Caller,
    request: HttpRequest,
    mut payload: Payload,
    front: Data<Front>,
) -> Result<HttpResponse, ApiError> {
    let key = handshake_key(&request)?;
    let (params, name, connecting) = Params::read(request.query_string())?;
    let coming = Coming { front: &front, caller, name, connecting, params };
    let (mut hold, place) = tokio::select! {
        biased;
        left = client_left(&mut payload) => return Err(left.into()),
        held = coming.hold() => held?,
    };
    let session = hold.session;
    let Some((generation, lease)) = hold.lease.clone() else {
        return Err(RouteError::Session(SessionError::Closing).into());
    };
    let view = front.world.views.session(caller.organization, session);
    let view = view.ok_or(RouteError::Session(SessionError::Closing))?;
    let lease = Lease::new(generation, lease);
    let revocation = front.keys.watch(caller.key);
    let ended = CancellationToken::new();
    let driver = Driver {
        session,
        view,
        ground: Ground::Lease(lease, Some(revocation)),
        endpoint: Endpoint::Browser,
        local: local_peer(&front, &request),
        place,
        ended: Some(ended.clone().drop_guard()),
    };
    let answer = devtools::connect(&front, driver, key, payload).await.map_err(not_connected)?;
    hold.closes = false; // Also a session that is kept stays from now on.
    info!(session.id = %session, "a client has connected to session {session}");
    let ttl = Duration::from_secs(ttl_seconds(&front));
    let closing = front.closing.clone();
    actix_web::rt::spawn(Requester::carried(async move {
        let renewing = async {
            loop {
                sleep(ttl / 3).await;
                if !hold.renewed().await {
                    break;
                }
            }
        };
        tokio::select! {
            biased;
            () = ended.cancelled() => {}
            () = closing.cancelled() => {} // Before the sessions are left to the next server.
            () = renewing => {}
        }
        drop(hold);
    }));
    let mut answer = with_subprotocol(&request, answer);
    if let Ok(value) = HeaderValue::from_str(&session.to_string()) {
        answer.headers_mut().insert(SESSION, value);
    }
    Ok(answer)
}

fn ttl_seconds(front: &Front) -> u64 {
    TTL_SECONDS.min(front.world.settings.max_lease_seconds)
}

/// Resolves when the client has left, or speaks before the answer to its handshake.
async fn client_left(payload: &mut Payload) -> Problem {
    let why = match payload.next().await {
        Some(Ok(_)) => "the client speaks before its handshake is answered",
        Some(Err(_)) | None => "the client has left",
    };
    Problem::new(StatusCode::BAD_REQUEST, "bad_request", why)
}

/// The answer to a client whose turn of a name has not come in time.
fn contended(name: &Name) -> Problem {
    let detail = format!(
        "another client is making the session `{name}`: try again, or pass a larger `wait` to wait for it"
    );
    Problem::new(StatusCode::CONFLICT, "name_contended", detail)
        .retryable()
        .retry_after(Duration::from_secs(1))
}

/// A client that is about to hold a session.
struct Coming<'a> {
    front: &'a Front,
    caller: Caller,
    name: Option<Name>,
    connecting: Connecting,
    params: Params,
}

impl Coming<'_> {
    /// Returns the session that the client holds from now on, and the client's place in the quota.
    async fn hold(&self) -> Result<(Hold, QuotaPermit), ApiError> {
        let until = Instant::now() + Duration::from_secs(self.params.wait);
        let Some(name) = &self.name else { return self.make().await };
        let mut tries = 0;
        loop {
            tries += 1;
            // Each try has the grace: the session of the name may have taken the time to end.
            let late = until.max(Instant::now()) + GRACE;
            let turn = self.front.name_turns.next(self.caller.organization, name);
            let turn = timeout_at(late, turn).await.map_err(|_late| contended(name))?;
            let tried = match self.named(name) {
                Some(view) => {
                    // Others that wait for the same session have their turns meanwhile.
                    drop(turn);
                    self.join(&view, until).await
                }
                // The next client joins the session that this one holds.
                None => {
                    let made = self.make().await;
                    drop(turn);
                    made
                }
            };
            match tried {
                Err(cause) if tries < MOST_TRIES && self.has_changed(&cause, name) => {
                    self.ended(name).await;
                }
                tried => return tried,
            }
        }
    }

    fn place(&self) -> Result<QuotaPermit, ApiError> {
        Ok(self.front.place(self.caller.organization, Quota::DevtoolsConnections)?)
    }

    /// Returns the newest live session of the name on this server.
    fn named(&self, name: &Name) -> Option<SessionView> {
        let views = self.front.world.views.sessions(self.caller.organization);
        let is_live = |view: &SessionView| !view.record.status.is_final();
        views.into_iter().find(|view| is_live(view) && view.record.spec.name.as_ref() == Some(name))
    }

    /// True if the session of the name has ended meanwhile, or another one has taken the name.
    fn has_changed(&self, cause: &ApiError, name: &Name) -> bool {
        match cause {
            ApiError::Route(RouteError::Session(
                SessionError::Closing | SessionError::Refused(Refusal::Closed),
            )) => true,
            ApiError::Problem(problem) => {
                problem.code == "name_taken" && self.named(name).is_some()
            }
            ApiError::Route(_)
            | ApiError::Run(_)
            | ApiError::Registry(_)
            | ApiError::Unanswered(_)
            | ApiError::Db(_)
            | ApiError::Object(_) => false,
        }
    }

    /// Resolves when the session of the name is not on its way to its end.
    async fn ended(&self, name: &Name) {
        let Some(view) = self.named(name).filter(|view| view.closing) else { return };
        let view = self.front.world.views.session(self.caller.organization, view.record.id);
        let Some(mut view) = view else { return };
        // A closed channel also means that it has ended.
        let _late = timeout(ENDING, view.wait_for(|view| view.record.status.is_final())).await;
    }

    /// Makes a session and holds it.
    async fn make(&self) -> Result<(Hold, QuotaPermit), ApiError> {
        let place = self.place()?; // Before a browser is started for nothing.
        let request = self.connecting.clone().into();
        let (view, _warning) = made(self.front, self.caller, &request, None, None).await?;
        let session = view.record.id;
        // Also one that is to be kept is closed if its client leaves before it is connected.
        let hold = Hold::of(self.front, self.caller.organization, session, true);
        if let Some(failure) = &view.record.failure {
            return Err(failed_start(failure).with("browser_session_id", session).into());
        }
        Ok((self.begin(hold, Duration::ZERO).await?, place))
    }

    /// Holds a session of another client, or waits for it.
    async fn join(
        &self,
        view: &SessionView,
        until: Instant,
    ) -> Result<(Hold, QuotaPermit), ApiError> {
        if view.closing {
            return Err(RouteError::Session(SessionError::Closing).into());
        }
        let session = view.record.id;
        self.front.awake(self.caller.organization, session).await?;
        let view = self.front.world.views.session(self.caller.organization, session);
        let mut view = view.ok_or(RouteError::Session(SessionError::Closing))?;
        devtools::running(&mut view).await?;
        let hold = Hold::of(self.front, self.caller.organization, session, false);
        let hold = self.begin(hold, until.saturating_duration_since(Instant::now())).await?;
        Ok((hold, self.place()?)) // A client that only waits takes no place.
    }

    async fn begin(&self, mut hold: Hold, patience: Duration) -> Result<Hold, ApiError> {
        let front = self.front;
        let lease = front.world.secrets.fresh_lease();
        let name = format!("connect-{:016x}", rand::random::<u64>());
        let runnable_id =
            name.parse().map_err(|cause: crate::domain::occupancy::NotARunnableId| {
                Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", cause.to_string())
            })?;
        let occupant = Occupant { runnable_type: RunnableType::External, runnable_id };
        let ttl = Duration::from_secs(ttl_seconds(front));
        let session = hold.session;
        let (organization, key) = (self.caller.organization, self.caller.key);
        let taker = Taker { organization, key, ticket: None };
        let wanted = Wanted { session, occupant, lease: lease.clone(), ttl, patience };
        let grant = taker.take(front, wanted).await?;
        hold.lease = Some((grant.generation, lease.clone()));
        // A release ends a session that was made, unless it is to be kept.
        hold.closes = hold.closes && self.params.keep;
        taker.took(front, session, &lease);
        Ok(hold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_is_read_with_its_faults_named() {
        let (params, name, connecting) = Params::read(
            "apikey=k&name=crawler&tags=a,%20b,&keep=true&wait=5&start_url=https://a.example/",
        )
        .unwrap();
        assert_eq!((params.keep, params.wait), (true, 5));
        assert_eq!(name.unwrap().as_str(), "crawler");
        assert_eq!(
            (connecting.tags, connecting.ends_vacant),
            (vec!["a".into(), "b".into()], false)
        );
        for query in ["name=", "wait=3601", "wait=x", "keep=perhaps", "nmae=x"] {
            let problem = Params::read(query).err().unwrap_or_else(|| panic!("{query}"));
            assert_eq!(problem.code, "invalid_request", "{query}");
        }
    }
}
