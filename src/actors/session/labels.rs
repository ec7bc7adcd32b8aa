//! The name and the tags of a session, and their changes while it lives.
//!
//! A change is stored and then published; changes are processed in the order of arrival.

use std::sync::Arc;

use actix::fut::WrapFuture as _;
use actix::{ActorFutureExt as _, AsyncContext as _, Context};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::{Phase, Session, SessionError};
use crate::actors::ask::{Answering, Ask, Handle, Unanswered, answered};
use crate::actors::views::SessionView;
use crate::domain::labels::{LabelChange, Name};

/// Changes the name and the tags of the session. A name that another live session of the organization has
/// is refused by the database.
#[derive(Debug)]
pub struct ChangeLabels {
    /// The labels to change.
    pub change: LabelChange,
}

impl Ask for ChangeLabels {
    type Answer = Result<SessionView, SessionError>;
    const KIND: &'static str = "change_labels";
    const AUDITED: bool = true;

    fn summary(&self) -> Value {
        let name = self.change.name.as_ref();
        let name = name.map(|name| name.as_ref().map_or("", Name::as_str));
        json!({ "name": name, "tags": self.change.tags })
    }
}

impl Handle<ChangeLabels> for Session {
    fn handle(
        &mut self,
        ChangeLabels { change }: ChangeLabels,
        ctx: &mut Context<Self>,
    ) -> Answering<Result<SessionView, SessionError>> {
        if matches!(self.phase, Phase::Closing { .. }) {
            return answered(Err(SessionError::Closing));
        }
        let (store, id) = (Arc::clone(&self.world.store), self.record.id);
        let turns = Arc::clone(&self.labelling);
        let (answer, changed) = oneshot::channel();
        let work = async move {
            let turn = turns.lock_owned().await;
            let stored = store.change_labels(id, change.clone()).await;
            (stored.map(|()| change), turn)
        };
        ctx.spawn(work.into_actor(self).map(move |(stored, turn), session, _| {
            let outcome = stored.map(|LabelChange { name, tags }| {
                let spec = &mut session.record.spec;
                spec.name = name.unwrap_or_else(|| spec.name.take());
                spec.tags = tags.unwrap_or_else(|| std::mem::take(&mut spec.tags));
                session.record.modified_at = session.world.clock.now();
                session.publish();
                session.view.borrow().clone()
            });
            drop(turn);
            let _ = answer.send(outcome.map_err(SessionError::NotStored)); // The caller may have left.
        }));
        Box::pin(async move { changed.await.map_err(|_gone| Unanswered::Gone)? })
    }
}
