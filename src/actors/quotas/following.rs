//! The task that updates quotas: limits that other servers have changed, and network traffic.
//!
//! It reads the counters of each session's egress program and stores them. When an organization has used
//! up its traffic of the day, the egress of its sessions is closed, until midnight, UTC, or a higher limit.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{DayTraffic, Quotas};
use crate::actors::ask::Address;
use crate::actors::registry::{Registry, Route};
use crate::actors::session::RefreshEgress;
use crate::actors::world::World;
use crate::db::egress_usage::SessionTraffic;
use crate::db::{self, Db, DbError};
use crate::domain::ids::SessionId;

/// The time between two rounds.
const INTERVAL: Duration = Duration::from_secs(2);

/// Updates quotas until `closing`, and then stores the last traffic.
pub async fn follow(
    world: Arc<World>,
    db: Db,
    registry: Address<Registry>,
    closing: CancellationToken,
) {
    let mut failing = false;
    // The sessions whose egress is closed because the traffic is used up.
    let mut closed: HashMap<SessionId, bool> = HashMap::new();
    loop {
        match world.quotas.refresh(&db).await {
            Ok(()) => failing = false,
            Err(cause) => {
                if !std::mem::replace(&mut failing, true) {
                    warn!("quotas are not up to date: {cause}");
                }
            }
        }
        refresh_egress(&world, &registry, &mut closed).await;
        if closing.is_cancelled() {
            return;
        }
        tokio::select! {
            () = sleep(INTERVAL) => {}
            () = world.quotas.0.changed.notified() => {}
            () = closing.cancelled() => {}
        }
    }
}

/// Closes the egress of sessions whose organization has used up its traffic, and opens it again later.
async fn refresh_egress(
    world: &World,
    registry: &Address<Registry>,
    closed: &mut HashMap<SessionId, bool>,
) {
    let sessions = world.views.owners();
    closed.retain(|session, _| sessions.iter().any(|(_, live)| live == session));
    let mut changes = Vec::new();
    for (organization, session) in sessions {
        let is_closed = world.quotas.check_egress(organization).is_err();
        if closed.insert(session, is_closed).unwrap_or(false) != is_closed {
            let what =
                if is_closed { "closed: its traffic of the day is used up" } else { "open again" };
            info!(session.id = %session, "the egress of {session} is {what}");
            changes.push(registry.ask(Route { organization, session, message: RefreshEgress }));
        }
    }
    // A session that has ended in between needs no change.
    drop(join_all(changes).await);
}

impl Quotas {
    /// Reads limits and traffic again.
    ///
    /// # Errors
    ///
    /// [`DbError::Unavailable`].
    pub async fn refresh(&self, db: &Db) -> Result<(), DbError> {
        let revision = self.0.own.read().revision;
        let limits = db::organizations::all_quotas(db).await?;
        {
            let mut own = self.0.own.write();
            // Limits that were set in the meantime are newer; the next round reads them.
            if own.revision == revision {
                own.limits = limits;
            }
        }
        let (traffic, ended) = self.read_meters();
        let day = self.0.clock.now().date_naive();
        db::egress_usage::note(db, traffic.clone(), day).await?;
        let bytes = db::egress_usage::of_day(db, day).await?;
        *self.0.traffic.write() = DayTraffic { day, bytes };

        let mut metered = self.0.metered.lock();
        for SessionTraffic { session, bytes, .. } in traffic {
            if let Some(meter) = metered.get_mut(&session) {
                meter.noted = Some(bytes);
            }
        }
        for session in ended {
            // Unless its actor was restarted in the meantime.
            let has_ended =
                metered.get(&session).is_some_and(|it| it.traffic.status.has_changed().is_err());
            if has_ended {
                metered.remove(&session);
            }
        }
        Ok(())
    }

    /// The counters that have changed since they were stored, and the sessions that have ended.
    fn read_meters(&self) -> (Vec<SessionTraffic>, Vec<SessionId>) {
        let (mut changed, mut ended) = (Vec::new(), Vec::new());
        for (session, meter) in self.0.metered.lock().iter() {
            // Read first: a session that has ended sends no more counters.
            if meter.traffic.status.has_changed().is_err() {
                ended.push(*session);
            }
            let bytes = meter
                .traffic
                .status
                .borrow()
                .as_ref()
                .map(|status| status.bytes_sent.saturating_add(status.bytes_received));
            if let Some(bytes) = bytes.filter(|bytes| meter.noted != Some(*bytes)) {
                let organization = meter.organization;
                changed.push(SessionTraffic { session: *session, organization, bytes });
            }
        }
        (changed, ended)
    }
}
