//! The life of debug sessions: find, create, renew, replace and end them.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::timeout;
use tracing::{info, warn};

use super::opened::{Opened, Reason, Replaced};
use super::turns::Owner;
use crate::actors::profiles;
use crate::actors::registry::{Create, Created, Route, RouteError, Start};
use crate::actors::session::{Close, Renew, SessionError};
use crate::db::{self, DbError};
use crate::domain::debug_session::{DebugSession, DebugSessionStatus};
use crate::domain::ids::{OrganizationId, SessionId};
use crate::domain::profile::Manager;
use crate::domain::session::{SessionSpec, SessionStatus};
use crate::domain::workflow_settings::egress_of;
use crate::service::core::Core;
use crate::service::error::ServiceError;
use crate::service::lookup;

/// The age below which a debug session is not replaced: a page that is opened twice in a moment must
/// not replace the session that it has just created.
const JUST_MADE: TimeDelta = TimeDelta::seconds(30);

/// The longest wait for the end of a session that is replaced.
const CLOSING: Duration = Duration::from_secs(150);

/// The number of attempts when another server creates a debug session at the same time.
const TRIES: usize = 5;

/// The time between two sweeps for expired debug sessions.
const BETWEEN_SWEEPS: Duration = Duration::from_secs(60);

fn until(core: &Core) -> DateTime<Utc> {
    core.world.clock.now() + core.world.settings.debug_session()
}

/// Returns the owner's debug session and renews it; creates one if none can be used.
///
/// # Errors
///
/// [`ServiceError::Unknown`] if there is no such workflow; those of creating a session.
pub async fn open(core: &Core, owner: &Owner) -> Result<Opened, ServiceError> {
    let _turn = core.turns.of(owner).await;
    let mut replaced = None;
    for _ in 0..TRIES {
        let live = live(core, owner).await?;
        let Some(debug) = live else {
            if let Some((debug, profile_version)) = make(core, owner).await? {
                return Ok(Opened { debug, replaced, profile_version });
            }
            continue;
        };
        match standing(core, &debug).await? {
            Ok(()) => {
                if let Some(debug) = used(core, &debug).await? {
                    return Ok(Opened { debug, replaced, profile_version: None });
                }
            }
            Err(reason) => {
                replaced = Some(ended(core, &debug, reason).await?);
            }
        }
    }
    Err(ServiceError::Contended)
}

/// Replaces the owner's debug session, unless it was just created.
///
/// # Errors
///
/// Those of [`open`].
pub async fn replace(core: &Core, owner: &Owner) -> Result<Opened, ServiceError> {
    let _turn = core.turns.of(owner).await;
    let mut replaced = None;
    for _ in 0..TRIES {
        if let Some(debug) = live(core, owner).await? {
            let standing = standing(core, &debug).await?;
            let age = core.world.clock.now() - debug.created_at;
            if standing.is_ok() && (age < JUST_MADE || replaced.is_some()) {
                return Ok(Opened { debug, replaced, profile_version: None });
            }
            let reason = standing.err().unwrap_or(Reason::Requested);
            replaced = Some(ended(core, &debug, reason).await?);
        }
        if let Some((debug, profile_version)) = make(core, owner).await? {
            return Ok(Opened { debug, replaced, profile_version });
        }
    }
    Err(ServiceError::Contended)
}

/// Returns the owner's debug session, whatever the state of its browser session.
///
/// # Errors
///
/// Those of the database.
pub async fn live(core: &Core, owner: &Owner) -> Result<Option<DebugSession>, DbError> {
    let Owner { organization, user, workflow } = owner;
    db::debug_sessions::live(&core.db, *organization, user, *workflow).await
}

/// Checks if the debug session can be used, and returns the reason if it cannot.
async fn standing(core: &Core, debug: &DebugSession) -> Result<Result<(), Reason>, ServiceError> {
    if debug.expires_at <= core.world.clock.now() {
        return Ok(Err(Reason::Expired));
    }
    let view = lookup::session(core, debug.organization, debug.session).await?;
    Ok(match view.record.status {
        SessionStatus::Failed => Err(Reason::SessionFailed),
        SessionStatus::Timeout => Err(Reason::SessionTimedOut),
        SessionStatus::Completed => Err(Reason::SessionClosed),
        SessionStatus::Created | SessionStatus::Running | SessionStatus::Retry if view.closing => {
            Err(match view.record.failure {
                Some(_) => Reason::SessionFailed,
                None => Reason::SessionClosed,
            })
        }
        SessionStatus::Created | SessionStatus::Running | SessionStatus::Retry => Ok(()),
    })
}

/// Renews the debug session and its browser session; none if either has just ended.
///
/// # Errors
///
/// Those of the database, and of a session that does not answer.
pub async fn used(core: &Core, debug: &DebugSession) -> Result<Option<DebugSession>, ServiceError> {
    // Computed before the browser session is renewed, so that the session lasts at least as long as
    // this time.
    let expires_at = until(core);
    let message = Renew { by: core.world.settings.debug_session() };
    let route = Route { organization: debug.organization, session: debug.session, message };
    match core.registry.ask(route).await? {
        // The lifetime of a session that is starting counts from the end of its start.
        Ok(_) | Err(RouteError::Session(SessionError::Starting)) => {}
        Err(RouteError::Unknown(_) | RouteError::Session(SessionError::Closing)) => {
            return Ok(None);
        }
        Err(
            cause @ (RouteError::Draining | RouteError::Session(_) | RouteError::Unanswered(_)),
        ) => {
            return Err(cause.into());
        }
    }
    if !db::debug_sessions::touch(&core.db, debug.id, expires_at).await? {
        return Ok(None);
    }
    let expires_at = debug.expires_at.max(expires_at);
    Ok(Some(DebugSession { expires_at, modified_at: core.world.clock.now(), ..debug.clone() }))
}

/// Ends a debug session, and closes its browser session in the background.
///
/// # Errors
///
/// Those of the database.
pub async fn end(core: &Core, debug: &DebugSession, reason: Reason) -> Result<(), DbError> {
    if db::debug_sessions::complete(&core.db, debug.id).await? {
        let id = debug.id; // `info!` has a `debug` of its own.
        info!("debug session {id} has ended: {reason:?}");
    }
    close(core, debug.organization, debug.session);
    Ok(())
}

/// Ends a debug session that is replaced, and waits until its profile is stored, from which the next
/// one starts.
async fn ended(core: &Core, debug: &DebugSession, reason: Reason) -> Result<Replaced, DbError> {
    let (organization, session) = (debug.organization, debug.session);
    if db::debug_sessions::complete(&core.db, debug.id).await? {
        let id = debug.id; // `info!` has a `debug` of its own.
        info!("debug session {id} has ended: {reason:?}");
    }
    let message = Close { status: SessionStatus::Completed };
    let closing = core.registry.ask(Route { organization, session, message });
    if timeout(CLOSING, closing).await.is_err() {
        warn!(session.id = %session, "session {session} of a debug session is still closing: its profile may be missing");
    }
    Ok(Replaced { reason, session })
}

/// Closes a session in the background; a session that has ended stays as it is.
fn close(core: &Core, organization: OrganizationId, session: SessionId) {
    let message = Close { status: SessionStatus::Completed };
    let closing = core.registry.ask(Route { organization, session, message });
    core.world.runtime.spawn(async move {
        match closing.await {
            Ok(Ok(()) | Err(RouteError::Unknown(_))) => {}
            Ok(Err(cause)) => warn!(session.id = %session, "session {session} of a debug session is not closed: {cause}"),
            Err(cause) => warn!(session.id = %session, "session {session} of a debug session is not closed: {cause}"),
        }
    });
}

/// Creates a browser session and a debug session for it; none if another server was first, whose
/// debug session is used then. Returns the version of the profile that it starts from as well.
async fn make(
    core: &Core,
    owner: &Owner,
) -> Result<Option<(DebugSession, Option<i64>)>, ServiceError> {
    let Owner { organization, user, workflow } = owner.clone();
    let record = lookup::workflow(core, organization, workflow).await?;
    let proxy_location = record.settings.get("proxy_location");
    let (egress, proxy) = egress_of(&record.settings);
    let manager = Manager::Debug { workflow, user: user.clone() };
    let profile = profiles::managed(&core.world, organization, manager).await?;
    let version = db::profiles::current(&core.db, organization, profile.id).await?;
    let version = version.map(|version| version.number);
    let spec = SessionSpec {
        lifetime: core.world.settings.debug_session(),
        proxy,
        egress,
        echo: serde_json::json!({ "proxy_location": proxy_location, "needs_live_view": true }),
        profile: Some(profile),
        ..SessionSpec::default()
    };
    // A person who only looks at a workflow needs no browser.
    let start = Start::FirstUse;
    let create = Create {
        organization,
        spec,
        start,
        run: None,
        id: None,
        must_write: false,
        storage_state: None,
    };
    let Created { id: session, .. } = core.registry.ask(create).await??;

    let now = core.world.clock.now();
    let debug = DebugSession {
        id: core.world.mint.mint(now),
        organization,
        user,
        workflow_permanent_id: workflow,
        session,
        status: DebugSessionStatus::Created,
        expires_at: now + core.world.settings.debug_session(),
        created_at: now,
        modified_at: now,
    };
    match db::debug_sessions::insert(&core.db, &debug).await {
        Ok(()) => Ok(Some((debug, version))),
        Err(DbError::Conflict) => {
            close(core, organization, session);
            Ok(None)
        }
        Err(cause @ (DbError::Unavailable(_) | DbError::Rejected(_) | DbError::Corrupt { .. })) => {
            close(core, organization, session);
            Err(cause.into())
        }
    }
}

/// Ends expired and unused debug sessions, until the server stops.
pub async fn sweep(core: Arc<Core>) {
    let unused = core.world.settings.debug_session_unused();
    let pause = unused.map_or(BETWEEN_SWEEPS, |unused| (unused / 4).min(BETWEEN_SWEEPS));
    loop {
        tokio::select! {
            () = core.closing.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        if let Err(cause) = sweep_once(&core, pause).await {
            warn!("expired debug sessions cannot be listed, retrying: {cause}");
        }
    }
}

async fn sweep_once(core: &Core, pause: Duration) -> Result<(), DbError> {
    let now = core.world.clock.now();
    for debug in db::debug_sessions::expired(&core.db, now).await? {
        end(core, &debug, Reason::Expired).await?;
    }
    let Some(limit) = core.world.settings.debug_session_unused() else { return Ok(()) };
    for debug in db::debug_sessions::unused(&core.db, now - pause).await? {
        // A session that is not here belongs to another node, or is replaced at its next use.
        let view = core.world.views.session(debug.organization, debug.session);
        let is_used = view.map(|view| {
            let view = view.borrow();
            // A session without a browser costs nothing, and one whose browser is starting is about
            // to be used. The unused time counts from when it runs.
            view.is_used() || view.record.status == SessionStatus::Created
        });
        match is_used {
            Some(true) => {
                db::debug_sessions::touch(&core.db, debug.id, debug.expires_at).await?;
            }
            Some(false)
                if db::debug_sessions::complete_unused(&core.db, debug.id, now - limit).await? =>
            {
                let id = debug.id; // `info!` has a `debug` of its own.
                info!("debug session {id} has ended: {:?}", Reason::Unused);
                close(core, debug.organization, debug.session);
            }
            Some(false) | None => {}
        }
    }
    Ok(())
}
