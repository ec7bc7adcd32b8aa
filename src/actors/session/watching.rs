//! Who sees the session: viewers, and the pictures of an occupied one.

use std::path::PathBuf;

use actix::fut::WrapFuture as _;
use actix::{ActorFutureExt as _, AsyncContext as _, Context};
use tokio_util::sync::CancellationToken;

use super::{Capture, Phase, Session, SessionError, Watch, Watching};
use crate::actors::ask::{Answering, Handle, answered};
use crate::domain::occupancy::Occupant;
use crate::domain::session::SessionStatus;
use crate::system::desktop::{Desktop, Picture};

impl Session {
    fn desktop(&self) -> Result<&dyn Desktop, SessionError> {
        match &self.phase {
            Phase::Starting { .. } | Phase::Recovering { .. } => Err(SessionError::Starting),
            Phase::Running { desktop } if self.record.status == SessionStatus::Running => {
                Ok(desktop.as_ref())
            }
            Phase::Running { .. } => Err(SessionError::Starting),
            Phase::Closing { .. } => Err(SessionError::Closing),
        }
    }

    /// Takes pictures while the session is occupied, and not otherwise.
    pub(super) fn follow(&mut self) {
        let keep = self.record.occupancy.holder().map(|held| self.picture_of(&held.occupant));
        self.following = match (&self.phase, keep) {
            (Phase::Running { desktop }, Some(keep)) => Some(desktop.screen().follow(Some(keep))),
            (
                Phase::Running { .. }
                | Phase::Starting { .. }
                | Phase::Recovering { .. }
                | Phase::Closing { .. },
                _,
            ) => None,
        };
    }

    /// `<organization>/<run>.png`; for whoever is no run, `<organization>/<session>.png`, because
    /// a name that a client chose is no name for a file.
    fn picture_of(&self, occupant: &Occupant) -> PathBuf {
        let run: Result<crate::domain::ids::RunId, _> = occupant.runnable_id.as_str().parse();
        let name = run.map_or_else(|_| self.record.id.to_string(), |run| run.to_string());
        let folder = self.world.pictures.join(self.record.organization.to_string());
        folder.join(name).with_extension("png")
    }

    fn on_viewer_left(&mut self) {
        self.viewers = self.viewers.saturating_sub(1);
        self.publish();
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
        Watch { label: _ }: Watch,
        ctx: &mut Context<Self>,
    ) -> Answering<Result<Watching, SessionError>> {
        let seat = match self.desktop() {
            Ok(desktop) => desktop.vnc().take_seat(),
            Err(refusal) => return answered(Err(refusal)),
        };
        self.viewers += 1;
        self.publish();
        let left = CancellationToken::new();
        let leaves = left.clone();
        let leaves = async move { leaves.cancelled().await };
        ctx.spawn(leaves.into_actor(self).map(|(), session, _| session.on_viewer_left()));

        let guard = left.drop_guard();
        let (ended, view) = (self.ended.clone(), self.view.subscribe());
        Box::pin(async move {
            let seat = seat.await.map_err(|failure| SessionError::Desktop(Box::new(failure)))?;
            Ok(Watching { seat, ended, view, guard })
        })
    }
}
