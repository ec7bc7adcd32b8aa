//! The end of sessions and runs of organizations that are suspended or being deleted.
//!
//! An organization is suspended in the database, by this server or another. Each server ends its runs and then
//! its sessions of such an organization, including those that it adopted at its start.

use std::time::Duration;

use actix_web::web::Data;
use futures_util::future::join_all;
use tokio::time::sleep;
use tracing::{info, warn};

use super::deletion::Deletions;
use crate::actors::registry::{CancelRun, Route};
use crate::actors::run::Cancel;
use crate::actors::session::Close;
use crate::db::{self, DbError};
use crate::domain::ids::OrganizationId;
use crate::domain::session::SessionStatus;
use crate::http::front::Front;

/// The time between two checks, unless this server suspends an organization.
const EVERY: Duration = Duration::from_secs(2);

/// Ends the runs and sessions of suspended organizations, and continues deletions, until the server stops.
pub async fn enforce(front: Data<Front>) {
    let mut failing = false;
    let mut deletions = Deletions::default();
    loop {
        tokio::select! {
            () = sleep(EVERY) => {}
            () = front.suspended.notified() => {}
            () = front.closing.cancelled() => return,
        }
        match enforce_once(&front, &mut deletions).await {
            Ok(()) => failing = false,
            Err(cause) => {
                if !std::mem::replace(&mut failing, true) {
                    warn!("the suspended and deleted organizations cannot be read: {cause}");
                }
            }
        }
    }
}

async fn enforce_once(front: &Front, deletions: &mut Deletions) -> Result<(), DbError> {
    let suspended = db::organizations::suspended(&front.db).await?;
    join_all(suspended.into_iter().map(|id| end_all_of(front, id))).await;
    deletions.proceed(front).await
}

pub(super) async fn end_all_of(front: &Front, organization: OrganizationId) {
    let runs = front.world.views.runs(organization).into_iter();
    let runs: Vec<_> = runs.filter(|run| !run.record.status.is_final()).collect();
    let canceled = runs.iter().map(|run| {
        let message = Cancel { why: "the organization is suspended".to_owned() };
        front.registry.ask(CancelRun { organization, run: run.record.id, message })
    });
    // A session that has ended since is fine; the next check finds any other.
    drop(join_all(canceled).await);
    let sessions = front.world.views.sessions(organization).into_iter();
    let sessions: Vec<_> = sessions.filter(|session| !session.closing).collect();
    let closed = sessions.iter().map(|session| {
        let message = Close { status: SessionStatus::Completed };
        front.registry.ask(Route { organization, session: session.record.id, message })
    });
    drop(join_all(closed).await);
    if !runs.is_empty() || !sessions.is_empty() {
        let (runs, sessions) = (runs.len(), sessions.len());
        info!(
            "organization {organization} is suspended: {runs} runs and {sessions} sessions ended"
        );
    }
}
