//! The subject of a stream of pictures or input: a session, or the run in one.

use std::future::pending;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::bridge::{Close, CloseCode};
use super::state::Live;
use super::viewer::unknown;
use crate::actors::views::{RunView, SessionView};
use crate::db;
use crate::domain::ids::{OrganizationId, RunId, SessionId};
use crate::domain::run::RunStatus;

/// The time that a run may take to start, as in the compatible API.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// A session or a run that was found.
#[derive(Debug)]
pub(super) enum Subject {
    /// A live session with the status last reported.
    Session(SessionId, watch::Receiver<SessionView>, &'static str),
    /// A live run with the status last reported.
    Run(watch::Receiver<RunView>, &'static str),
    /// A session or run that has ended, with its final status.
    Ended(&'static str),
}

impl Subject {
    /// Looks up the subject among the live ones first, then in the database.
    pub async fn find(
        live: &Live,
        organization: OrganizationId,
        what: &str,
        id: &str,
    ) -> Result<Self, Close> {
        let broken = |_unavailable| Close::new(CloseCode::TryAgainLater, "try again later");
        let views = &live.world.views;
        if what.starts_with("workflow_run") {
            let id: RunId = id.parse().map_err(|_wrong| unknown("run"))?;
            if let Some(view) = views.run(organization, id) {
                let status = view.borrow().record.status;
                return Ok(if status.is_final() {
                    Self::Ended(status.as_str())
                } else {
                    Self::Run(view, status.as_str())
                });
            }
            let stored = db::runs::by_id(&live.db, organization, id).await.map_err(broken)?;
            let stored = stored.ok_or_else(|| unknown("run"))?;
            return Ok(Self::Ended(stored.status.as_str()));
        }
        let id: SessionId = id.parse().map_err(|_wrong| unknown("session"))?;
        if let Some(view) = views.session(organization, id) {
            let status = view.borrow().record.status;
            return Ok(if status.is_final() {
                Self::Ended(status.as_str())
            } else {
                Self::Session(id, view, status.as_str())
            });
        }
        let stored = db::sessions::by_id(&live.db, organization, id).await.map_err(broken)?;
        let stored = stored.ok_or_else(|| unknown("session"))?;
        Ok(Self::Ended(stored.status.as_str()))
    }

    /// Returns the present status, as the API writes it.
    pub fn status(&mut self) -> &'static str {
        match self {
            Self::Session(_, view, reported) => {
                *reported = view.borrow().record.status.as_str();
                reported
            }
            Self::Run(view, reported) => {
                *reported = view.borrow().record.status.as_str();
                reported
            }
            Self::Ended(status) => status,
        }
    }

    /// Returns the final status, if the subject has ended.
    pub fn ended(&self) -> Option<&'static str> {
        let (status, is_final) = match self {
            Self::Session(_, view, _) => {
                let status = view.borrow().record.status;
                (status.as_str(), status.is_final())
            }
            Self::Run(view, _) => {
                let status = view.borrow().record.status;
                (status.as_str(), status.is_final())
            }
            Self::Ended(status) => (*status, true),
        };
        is_final.then_some(status)
    }

    /// Resolves when the status differs from the last result of [`status`](Self::status).
    pub async fn changed(&mut self) {
        let gone = match self {
            Self::Session(_, view, reported) => {
                view.wait_for(|view| view.record.status.as_str() != *reported).await.is_err()
            }
            Self::Run(view, reported) => {
                view.wait_for(|view| view.record.status.as_str() != *reported).await.is_err()
            }
            Self::Ended(_) => true,
        };
        if gone {
            pending::<()>().await;
        }
    }

    /// Resolves when the subject has ended, or no further changes will be published.
    pub async fn has_ended(&mut self) {
        match self {
            Self::Session(_, view, _) => {
                drop(view.wait_for(|view| view.record.status.is_final()).await);
            }
            Self::Run(view, _) => {
                drop(view.wait_for(|view| view.record.status.is_final()).await);
            }
            Self::Ended(_) => {}
        }
    }

    /// Returns the session; waits until a run has started in its session.
    pub async fn session(&mut self) -> Result<SessionId, Close> {
        let view = match self {
            Self::Session(id, ..) => return Ok(*id),
            Self::Ended(_) => return Err(Close::new(CloseCode::Normal, "ended")),
            Self::Run(view, _) => view,
        };
        let begun = view.wait_for(|view| match view.record.status {
            RunStatus::Created | RunStatus::Queued => false,
            RunStatus::Running
            | RunStatus::Paused
            | RunStatus::Completed
            | RunStatus::Failed
            | RunStatus::Terminated
            | RunStatus::Canceled
            | RunStatus::TimedOut => true,
        });
        match timeout(START_TIMEOUT, begun).await {
            Ok(Ok(view)) if view.record.status.is_final() => {
                Err(Close::new(CloseCode::Normal, "ended"))
            }
            Ok(Ok(view)) => view
                .record
                .session
                .ok_or_else(|| Close::new(CloseCode::TryAgainLater, "the run has no session")),
            Ok(Err(_gone)) => Err(Close::new(CloseCode::Normal, "ended")),
            Err(_late) => Err(Close::new(CloseCode::TimedOut, "the run has not begun")),
        }
    }
}
