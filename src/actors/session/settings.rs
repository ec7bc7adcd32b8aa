//! The settings of a session's browser, and their changes while the session lives.
//!
//! A change is stored and then applied by the desktop; changes are processed one at a time, in the
//! order of arrival. A desktop that comes up meanwhile gets the stored settings.

use std::collections::VecDeque;
use std::time::Duration;

use actix::fut::WrapFuture as _;
use actix::{ActorFutureExt as _, AsyncContext as _, Context};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::{Phase, Session, SessionError};
use crate::actors::ask::{Answering, Ask, Handle, Unanswered};
use crate::actors::views::SessionView;
use crate::db::store::StoreError;
use crate::domain::browser_settings::{BrowserSettings, SettingsPatch};

/// The time in which a browser notices that a driver has left.
const DRIVER_LEAVES: Duration = Duration::from_millis(500);

/// Changes the settings of the session's browser, without a restart.
#[derive(Debug)]
pub struct ChangeSettings {
    /// The change. What a running browser does not take is for the caller to refuse.
    pub patch: SettingsPatch,
}

impl Ask for ChangeSettings {
    type Answer = Result<SessionView, SessionError>;
    const KIND: &'static str = "change_settings";
    const AUDITED: bool = true;

    fn summary(&self) -> Value {
        json!({ "fields": self.patch.fields() })
    }
}

type Answer = oneshot::Sender<Result<SessionView, SessionError>>;

/// The changes that wait or are being stored.
#[derive(Debug, Default)]
pub(super) struct SettingsChanges {
    waiting: VecDeque<(SettingsPatch, Answer)>,
    busy: bool,
    /// True if the browser starts when the change that is being stored is stored.
    launches: bool,
}

impl Session {
    /// Gives a desktop that has come up the settings that were stored meanwhile.
    pub(super) fn refresh_settings(&self) {
        if let Phase::Running { desktop } = &self.phase {
            drop(desktop.apply_settings(self.record.spec.settings.clone()));
        }
    }

    /// Sets the settings again after a driver has left.
    pub(super) fn renew_settings(&self, ctx: &mut Context<Self>) {
        ctx.run_later(DRIVER_LEAVES, |session, _| {
            if let Phase::Running { desktop } = &session.phase {
                desktop.renew_settings();
            }
        });
    }

    /// Returns true if a change is being stored. Then the browser starts after it, because some settings hold from
    /// the start on only.
    pub(super) fn launches_after_settings(&mut self) -> bool {
        self.settings.launches = self.settings.busy;
        self.settings.busy
    }

    fn next_settings_change(&mut self, ctx: &mut Context<Self>) {
        while !self.settings.busy {
            let Some((patch, answer)) = self.settings.waiting.pop_front() else { return };
            let refusal = match self.phase {
                Phase::Closing { .. } => Some(SessionError::Closing),
                Phase::Starting { .. } | Phase::Recovering { .. } => Some(SessionError::Starting),
                Phase::Dormant | Phase::Running { .. } => None,
            };
            match refusal {
                Some(refusal) => drop(answer.send(Err(refusal))), // The caller may have left.
                None => self.store_settings(&patch, answer, ctx),
            }
        }
    }

    fn store_settings(&mut self, patch: &SettingsPatch, answer: Answer, ctx: &mut Context<Self>) {
        self.settings.busy = true;
        let settings = patch.applied_to(&self.record.spec.settings);
        let stored = self.world.store.change_settings(self.record.id, settings.clone());
        let stored = stored.into_actor(self);
        ctx.spawn(stored.map(move |stored: Result<(), StoreError>, session, ctx| {
            session.settings.busy = false;
            match stored {
                Ok(()) => session.apply_stored(settings, answer, ctx),
                // The caller may have left.
                Err(cause) => drop(answer.send(Err(SessionError::NotStored(cause)))),
            }
            if std::mem::take(&mut session.settings.launches) {
                session.launch_desktop(ctx);
            }
            session.next_settings_change(ctx);
        }));
    }

    /// Applies settings that are stored, and answers when they are in force.
    fn apply_stored(&mut self, settings: BrowserSettings, answer: Answer, ctx: &mut Context<Self>) {
        self.record.spec.settings = settings.clone();
        self.record.modified_at = self.world.clock.now();
        self.publish();
        let view = self.view.borrow().clone();
        // A desktop that is not up gets them when it is.
        let applied = match &self.phase {
            Phase::Running { desktop } => Some(desktop.apply_settings(settings)),
            Phase::Dormant
            | Phase::Starting { .. }
            | Phase::Recovering { .. }
            | Phase::Closing { .. } => None,
        };
        let answered = async move {
            if let Some(applied) = applied {
                applied.await;
            }
            let _ = answer.send(Ok(view)); // The caller may have left.
        };
        ctx.spawn(answered.into_actor(self));
    }
}

impl Handle<ChangeSettings> for Session {
    fn handle(
        &mut self,
        ChangeSettings { patch }: ChangeSettings,
        ctx: &mut Context<Self>,
    ) -> Answering<Result<SessionView, SessionError>> {
        let (answer, changed) = oneshot::channel();
        self.settings.waiting.push_back((patch, answer));
        self.next_settings_change(ctx);
        Box::pin(async move { changed.await.map_err(|_gone| Unanswered::Gone)? })
    }
}
