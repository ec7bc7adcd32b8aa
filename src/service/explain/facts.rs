//! The facts beyond a session's snapshot from which its explanation is made.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::Reader;
use crate::actors::views::SessionView;
use crate::service::core::Core;
use crate::system::desktop::NoRoom;
use crate::system::programs::ProgramReport;

/// The facts about a session that its snapshot does not have.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// The time of the explanation.
    pub(super) now: DateTime<Utc>,
    /// The programs of the session on this node.
    pub(super) programs: Vec<ProgramReport>,
    /// The resource that the machine lacks for another browser, if the session is to start one or failed to.
    pub(super) lack: Option<NoRoom>,
    /// True if the session has an actor on this node.
    pub(super) is_here: bool,
    /// True if the server refuses new occupants, because it is about to stop.
    pub(super) is_draining: bool,
}

impl Facts {
    pub(super) async fn of(core: &Core, view: &SessionView, reader: Reader) -> Self {
        let record = &view.record;
        let world = &core.world;
        let is_here = world.views.session(record.organization, record.id).is_some();
        let programs = if is_here && !record.status.is_final() {
            let (launcher, id) = (Arc::clone(&world.launcher), record.id);
            let with_logs = reader == Reader::Operator;
            let examined = move || launcher.programs(id, with_logs);
            let examined = world.runtime.spawn_blocking(examined);
            examined.await.unwrap_or_default()
        } else {
            Vec::new()
        };
        let never_ran = record.started_at.is_none();
        let needs_room = record.is_dormant() || (record.failure.is_some() && never_ran);
        let lack = if needs_room { world.launcher.room(1).await.err() } else { None };
        let is_draining = world.views.draining().borrow().is_some();
        Self { now: world.clock.now(), programs, lack, is_here, is_draining }
    }
}
