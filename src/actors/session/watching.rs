//! The display of a session: viewers, and the pictures while it is occupied.

use std::path::PathBuf;

use actix::Context;
use chrono::{DateTime, TimeDelta, Utc};

use super::{
    Capture, Follow, FollowCopies, Followed, Phase, Session, SessionError, ViewerKind, Watch,
    Watching,
};
use crate::actors::ask::{Answering, Handle, answered};
use crate::domain::occupancy::{Held, Occupant, RunnableType};
use crate::domain::session::SessionStatus;
use crate::system::desktop::{Copies, Desktop, Picture};

/// The time after which a holder that nothing drives or watches counts as one that stays. Most clients that
/// only check a session out and in again have left by then, and cause no picture.
const STAYS: TimeDelta = TimeDelta::seconds(1);

impl Session {
    pub(super) fn desktop(&self) -> Result<&dyn Desktop, SessionError> {
        match &self.phase {
            Phase::Dormant | Phase::Starting { .. } | Phase::Recovering { .. } => {
                Err(SessionError::Starting)
            }
            Phase::Running { desktop } if self.record.status == SessionStatus::Running => {
                Ok(desktop.as_ref())
            }
            Phase::Running { .. } => Err(SessionError::Starting),
            Phase::Closing { .. } => Err(SessionError::Closing),
        }
    }

    /// The holder, if pictures are taken for it: at once if it is a run, or if a client drives or watches the
    /// session; otherwise once it has stayed for [`STAYS`].
    fn present_holder(&self) -> Option<&Held> {
        let held = self.record.occupancy.holder()?;
        let is_run = held.occupant.runnable_type == RunnableType::WorkflowRun;
        let is_at_work = is_run || self.drivers > 0 || self.watchers.watching() > 0;
        (is_at_work || held.since + STAYS <= self.world.clock.now()).then_some(held)
    }

    /// The time at which pictures begin for a holder that has just come.
    pub(super) fn stays_from(&self) -> Option<DateTime<Utc>> {
        let held = self.record.occupancy.holder().filter(|_held| self.present_holder().is_none());
        held.map(|held| held.since + STAYS)
    }

    /// Takes pictures while the session is occupied, and stops otherwise.
    pub(super) fn follow(&mut self) {
        self.stop_what_is_over();
        let Phase::Running { desktop } = &self.phase else {
            self.following = None;
            return;
        };
        let Some(held) = self.present_holder() else {
            self.following = None;
            return;
        };
        let generation = held.generation;
        if self.following.as_ref().is_none_or(|(followed, _following)| *followed != generation) {
            let keep = self.picture_of(&held.occupant);
            self.following = Some((generation, desktop.screen().follow(Some(keep))));
        }
    }

    /// Applies a change of the session's use by drivers, viewers and occupants: pictures are taken for a
    /// holder; a desktop in use is checked more closely, and its display is kept in the black box.
    pub(super) fn use_changed(&mut self) {
        self.follow();
        let used = self.watchers.watching() > 0 || self.present_holder().is_some();
        if let Phase::Running { desktop } = &self.phase {
            desktop.set_used(used || self.drivers > 0);
        }
        self.keep_box(used);
    }

    /// The file of the latest picture: `<organization>/<run>.png`, or
    /// `<organization>/<session>.png` for an occupant that is not a run. An id that a client chose
    /// is not safe as a file name.
    fn picture_of(&self, occupant: &Occupant) -> PathBuf {
        let run: Result<crate::domain::ids::RunId, _> = occupant.runnable_id.as_str().parse();
        let name = run.map_or_else(|_| self.record.id.to_string(), |run| run.to_string());
        let folder = self.world.pictures.join(self.record.organization.to_string());
        folder.join(name).with_extension("png")
    }
}

impl Handle<Capture> for Session {
    fn handle(
        &mut self,
        Capture { format }: Capture,
        _: &mut Context<Self>,
    ) -> Answering<Result<Picture, SessionError>> {
        match self.desktop() {
            Ok(desktop) => {
                let shot = desktop.screen().shot(format);
                Box::pin(async move { Ok(shot.await?) })
            }
            Err(refusal) => answered(Err(refusal)),
        }
    }
}

impl Handle<Watch> for Session {
    fn handle(
        &mut self,
        Watch { visit }: Watch,
        ctx: &mut Context<Self>,
    ) -> Answering<Result<Watching, SessionError>> {
        if let Err(refusal) = self.desktop().and_then(|_there| self.admit(&visit, ViewerKind::Vnc))
        {
            return answered(Err(refusal));
        }
        let (seat, devices) = match self.desktop() {
            Ok(desktop) => (desktop.vnc().take_seat(), desktop.devices()),
            Err(refusal) => return answered(Err(refusal)),
        };
        let connected = self.connect(visit, ViewerKind::Vnc, ctx);
        Box::pin(async move {
            let seat = seat.await.map_err(|failure| SessionError::Desktop(Box::new(failure)))?;
            Ok(Watching { seat, devices, connected })
        })
    }
}

impl Handle<Follow> for Session {
    fn handle(
        &mut self,
        Follow { visit }: Follow,
        ctx: &mut Context<Self>,
    ) -> Answering<Result<Followed, SessionError>> {
        let following = self.desktop().and_then(|desktop| {
            self.admit(&visit, ViewerKind::Pictures)?;
            Ok(desktop.screen().follow(None))
        });
        let following = match following {
            Ok(following) => following,
            Err(refusal) => return answered(Err(refusal)),
        };
        let connected = self.connect(visit, ViewerKind::Pictures, ctx);
        answered(Ok(Followed { following, connected }))
    }
}

impl Handle<FollowCopies> for Session {
    fn handle(
        &mut self,
        _: FollowCopies,
        _: &mut Context<Self>,
    ) -> Answering<Result<Copies, SessionError>> {
        answered(self.desktop().map(Desktop::copies))
    }
}
