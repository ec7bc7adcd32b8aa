//! The life of debug sessions: find, create, renew, replace and end them.

use std::time::Duration;

use actix_web::web::Data;
use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use tracing::{info, warn};
use utoipa::ToSchema;

use crate::actors::registry::{Create, Created, Route, RouteError, Start};
use crate::actors::run::egress_of;
use crate::actors::session::{Close, Renew, SessionError};
use crate::db::{self, DbError};
use crate::domain::debug_session::{DebugSession, DebugSessionStatus};
use crate::domain::ids::{OrganizationId, SessionId, WorkflowPermanentId};
use crate::domain::session::{SessionSpec, SessionStatus};
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::problem::Problem;
use crate::http::{sessions, workflows};

/// The age below which a debug session is not replaced: a page that is opened twice in a moment must
/// not replace the session that it has just created.
const JUST_MADE: TimeDelta = TimeDelta::seconds(30);

/// The number of attempts when another server creates a debug session at the same time.
const TRIES: usize = 5;

/// The time between two sweeps for expired debug sessions.
const BETWEEN_SWEEPS: Duration = Duration::from_secs(60);

/// The owner of a debug session, for one workflow.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The organization of the person.
    pub organization: OrganizationId,
    /// The name of the person.
    pub user: String,
    /// The workflow that is debugged.
    pub workflow: WorkflowPermanentId,
}

/// The reason why a debug session was replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The debug session had not been used for too long.
    Expired,
    /// The browser session had been closed.
    SessionClosed,
    /// The browser session had failed.
    SessionFailed,
    /// The browser session had reached the end of its lifetime.
    SessionTimedOut,
    /// The replacement was requested.
    Requested,
    /// Nobody had watched it, driven it or run a block in it for too long.
    Unused,
}

/// The replaced debug session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replaced {
    /// The reason for the replacement.
    pub reason: Reason,
    /// The browser session of the replaced debug session.
    pub session: SessionId,
}

/// A debug session that can be used.
#[derive(Debug)]
pub struct Opened {
    /// The debug session as it is stored.
    pub debug: DebugSession,
    /// The debug session that it has replaced, if any.
    pub replaced: Option<Replaced>,
}

fn until(front: &Front) -> DateTime<Utc> {
    front.world.clock.now() + front.world.settings.debug_session()
}

/// Returns the owner's debug session and renews it; creates one if none can be used.
///
/// # Errors
///
/// 404 if there is no such workflow; those of creating a session.
pub async fn open(front: &Front, owner: &Owner) -> Result<Opened, ApiError> {
    let _turn = front.turns.of(owner).await;
    let mut replaced = None;
    for _ in 0..TRIES {
        let live = live(front, owner).await?;
        let Some(debug) = live else {
            if let Some(debug) = make(front, owner).await? {
                return Ok(Opened { debug, replaced });
            }
            continue;
        };
        match standing(front, &debug).await? {
            Ok(()) => {
                if let Some(debug) = used(front, &debug).await? {
                    return Ok(Opened { debug, replaced });
                }
            }
            Err(reason) => {
                end(front, &debug, reason).await?;
                replaced = Some(Replaced { reason, session: debug.session });
            }
        }
    }
    Err(contended().into())
}

/// Replaces the owner's debug session, unless it was just created.
///
/// # Errors
///
/// Those of [`open`].
pub async fn replace(front: &Front, owner: &Owner) -> Result<Opened, ApiError> {
    let _turn = front.turns.of(owner).await;
    let mut replaced = None;
    for _ in 0..TRIES {
        if let Some(debug) = live(front, owner).await? {
            let standing = standing(front, &debug).await?;
            let age = front.world.clock.now() - debug.created_at;
            if standing.is_ok() && (age < JUST_MADE || replaced.is_some()) {
                return Ok(Opened { debug, replaced });
            }
            let reason = standing.err().unwrap_or(Reason::Requested);
            end(front, &debug, reason).await?;
            replaced = Some(Replaced { reason, session: debug.session });
        }
        if let Some(debug) = make(front, owner).await? {
            return Ok(Opened { debug, replaced });
        }
    }
    Err(contended().into())
}

fn contended() -> Problem {
    let status = actix_web::http::StatusCode::CONFLICT;
    let detail = "other requests are replacing this debug session at the same time: try again";
    Problem::new(status, "debug_session_contended", detail).retryable()
}

/// Returns the owner's debug session, whatever the state of its browser session.
///
/// # Errors
///
/// Those of the database.
pub async fn live(front: &Front, owner: &Owner) -> Result<Option<DebugSession>, DbError> {
    let Owner { organization, user, workflow } = owner;
    db::debug_sessions::live(&front.db, *organization, user, *workflow).await
}

/// Checks if the debug session can be used, and returns the reason if it cannot.
async fn standing(front: &Front, debug: &DebugSession) -> Result<Result<(), Reason>, ApiError> {
    if debug.expires_at <= front.world.clock.now() {
        return Ok(Err(Reason::Expired));
    }
    let view = sessions::find(front, debug.organization, debug.session).await?;
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
pub async fn used(front: &Front, debug: &DebugSession) -> Result<Option<DebugSession>, ApiError> {
    // Computed before the browser session is renewed, so that the session lasts at least as long as
    // this time.
    let expires_at = until(front);
    let message = Renew { by: front.world.settings.debug_session() };
    let route = Route { organization: debug.organization, session: debug.session, message };
    match front.registry.ask(route).await? {
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
    if !db::debug_sessions::touch(&front.db, debug.id, expires_at).await? {
        return Ok(None);
    }
    let expires_at = debug.expires_at.max(expires_at);
    Ok(Some(DebugSession { expires_at, modified_at: front.world.clock.now(), ..debug.clone() }))
}

/// Ends a debug session, and closes its browser session in the background.
///
/// # Errors
///
/// Those of the database.
pub async fn end(front: &Front, debug: &DebugSession, reason: Reason) -> Result<(), DbError> {
    if db::debug_sessions::complete(&front.db, debug.id).await? {
        let id = debug.id; // `info!` has a `debug` of its own.
        info!("debug session {id} has ended: {reason:?}");
    }
    close(front, debug.organization, debug.session);
    Ok(())
}

/// Closes a session in the background; a session that has ended stays as it is.
fn close(front: &Front, organization: OrganizationId, session: SessionId) {
    let message = Close { status: SessionStatus::Completed };
    let closing = front.registry.ask(Route { organization, session, message });
    front.world.runtime.spawn(async move {
        match closing.await {
            Ok(Ok(()) | Err(RouteError::Unknown(_))) => {}
            Ok(Err(cause)) => warn!("session {session} of a debug session is not closed: {cause}"),
            Err(cause) => warn!("session {session} of a debug session is not closed: {cause}"),
        }
    });
}

/// Creates a browser session and a debug session for it; none if another server was first, whose
/// debug session is used then.
async fn make(front: &Front, owner: &Owner) -> Result<Option<DebugSession>, ApiError> {
    let Owner { organization, user, workflow } = owner.clone();
    let record = workflows::latest(front, organization, workflow).await?;
    let proxy_location = record.settings.get("proxy_location");
    let (egress, proxy) = egress_of(&record.settings);
    let spec = SessionSpec {
        lifetime: front.world.settings.debug_session(),
        proxy,
        egress,
        echo: serde_json::json!({ "proxy_location": proxy_location, "needs_live_view": true }),
        ..SessionSpec::default()
    };
    // A person who only looks at a workflow needs no browser.
    let start = Start::FirstUse;
    let Created { id: session, .. } =
        front.registry.ask(Create { organization, spec, start, run: None, id: None }).await??;

    let now = front.world.clock.now();
    let debug = DebugSession {
        id: front.world.mint.mint(now),
        organization,
        user,
        workflow_permanent_id: workflow,
        session,
        status: DebugSessionStatus::Created,
        expires_at: now + front.world.settings.debug_session(),
        created_at: now,
        modified_at: now,
    };
    match db::debug_sessions::insert(&front.db, &debug).await {
        Ok(()) => Ok(Some(debug)),
        Err(DbError::Conflict) => {
            close(front, organization, session);
            Ok(None)
        }
        Err(cause @ (DbError::Unavailable(_) | DbError::Rejected(_) | DbError::Corrupt { .. })) => {
            close(front, organization, session);
            Err(cause.into())
        }
    }
}

/// Ends expired and unused debug sessions, until the server stops.
pub async fn sweep(front: Data<Front>) {
    let unused = front.world.settings.debug_session_unused();
    let pause = unused.map_or(BETWEEN_SWEEPS, |unused| (unused / 4).min(BETWEEN_SWEEPS));
    loop {
        tokio::select! {
            () = front.closing.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        if let Err(cause) = sweep_once(&front, pause).await {
            warn!("expired debug sessions cannot be listed, retrying: {cause}");
        }
    }
}

async fn sweep_once(front: &Front, pause: Duration) -> Result<(), DbError> {
    let now = front.world.clock.now();
    for debug in db::debug_sessions::expired(&front.db, now).await? {
        end(front, &debug, Reason::Expired).await?;
    }
    let Some(limit) = front.world.settings.debug_session_unused() else { return Ok(()) };
    for debug in db::debug_sessions::unused(&front.db, now - pause).await? {
        // A session that is not here belongs to another node, or is replaced at its next use.
        let view = front.world.views.session(debug.organization, debug.session);
        let is_used = view.map(|view| {
            let view = view.borrow();
            // A session without a browser costs nothing, and one whose browser is starting is about
            // to be used. The unused time counts from when it runs.
            view.is_used() || view.record.status == SessionStatus::Created
        });
        match is_used {
            Some(true) => {
                db::debug_sessions::touch(&front.db, debug.id, debug.expires_at).await?;
            }
            Some(false)
                if db::debug_sessions::complete_unused(&front.db, debug.id, now - limit)
                    .await? =>
            {
                let id = debug.id; // `info!` has a `debug` of its own.
                info!("debug session {id} has ended: {:?}", Reason::Unused);
                close(front, debug.organization, debug.session);
            }
            Some(false) | None => {}
        }
    }
    Ok(())
}
