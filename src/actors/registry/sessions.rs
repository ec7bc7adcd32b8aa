//! How sessions come into the book, and how they leave it.

use std::sync::Arc;

use actix::fut::WrapFuture as _;
use actix::{Actor as _, ActorFutureExt as _, AsyncContext as _, Context};
use futures_util::FutureExt as _;
use tokio::sync::{oneshot, watch};
use tracing::{error, info, warn};

use super::{Create, Created, Gone, Registry, RegistryError, Resident, Resides};
use crate::actors::ask::{Address, Answering, Handle, Unanswered, answered};
use crate::actors::journal::{About, Name};
use crate::actors::registration::Registration;
use crate::actors::session::Session;
use crate::actors::views::SessionView;
use crate::db::store::Ended;
use crate::domain::deadlines::Deadlines;
use crate::domain::ids::SessionId;
use crate::domain::occupancy::Occupancy;
use crate::domain::session::{Failure, SessionRecord, SessionStatus};

impl Handle<Create> for Registry {
    fn handle(
        &mut self,
        Create { organization, spec, run: _ }: Create,
        ctx: &mut Context<Self>,
    ) -> Answering<Result<Created, RegistryError>> {
        let limit = self.world.settings.max_sessions;
        if self.draining {
            return answered(Err(RegistryError::Draining));
        }
        if self.sessions.len() + self.sessions_coming >= limit {
            return answered(Err(RegistryError::TooManySessions { limit }));
        }

        let now = self.world.clock.now();
        let record = SessionRecord {
            id: self.world.mint.mint(now),
            organization,
            node: self.world.node,
            status: SessionStatus::Created,
            spec,
            desktop: None,
            occupancy: Occupancy::default(),
            deadlines: Deadlines::default(),
            failure: None,
            created_at: now,
            started_at: None,
            completed_at: None,
            modified_at: now,
        };
        self.sessions_coming += 1;
        let (answer, created) = oneshot::channel();
        let stored = self.world.store.insert_session(record.clone());
        ctx.spawn(stored.into_actor(self).map(move |stored, registry, ctx| {
            registry.sessions_coming -= 1;
            let created = match stored {
                Ok(()) => {
                    let id = record.id;
                    Ok(Created { id, view: registry.admit_session(record, ctx) })
                }
                Err(cause) => Err(RegistryError::NotStored(cause)),
            };
            let _ = answer.send(created); // Its lifetime ends a session that nobody knows of.
        }));
        Box::pin(async move { created.await.map_err(|_gone| Unanswered::Gone)? })
    }
}

impl Registry {
    /// Starts the actor of a session whose row is stored.
    fn admit_session(
        &mut self,
        record: SessionRecord,
        ctx: &mut Context<Self>,
    ) -> watch::Receiver<SessionView> {
        let (id, organization) = (record.id, record.organization);
        let registry = self.address(&id.to_string(), ctx).downgrade();
        let registration = Registration::new(registry, Resident::Session(id));
        let (session, view) = Session::new(Arc::clone(&self.world), record, registration);

        let inner = Session::start_in_arbiter(&self.next_arbiter(), |_| session);
        let about = About { organization: Some(organization), session: Some(id), run: None };
        let name = Name::from(id.to_string().as_str());
        let address = Address::new(inner, name, about, Arc::clone(&self.world.journal));
        self.sessions.insert(id, Resides { organization, address });
        self.world.views.add_session(view.clone());
        info!("session {id} begins");
        view
    }

    /// Its actor panicked, and with it went the handle of its desktop: the processes are found
    /// by their marker and ended, and the row is told.
    fn mop_up(&self, id: SessionId, ctx: &mut Context<Self>) {
        error!("the actor of session {id} has ended without closing it");
        let world = Arc::clone(&self.world);
        let swept = self.world.launcher.sweep(id);
        let mopped = swept.then(move |left| {
            for what in left {
                error!("left behind by session {id}: {what}");
            }
            let failure = Failure {
                code: "session_actor_ended".to_owned(),
                stage: None,
                message: "the session's actor ended unexpectedly".to_owned(),
                exit: None,
                log_tail: Vec::new(),
                hint: Some("the server's log says where; create another session".to_owned()),
            };
            let at = world.clock.now();
            let ended = Ended { status: SessionStatus::Failed, failure: Some(failure), at };
            world.store.end_session(id, ended)
        });
        ctx.spawn(mopped.into_actor(self).map(move |stored, _, _| {
            if let Err(cause) = stored {
                warn!("the end of session {id} is not stored: {cause}");
            }
        }));
    }
}

impl Handle<Gone> for Registry {
    fn handle(
        &mut self,
        Gone { resident, in_order }: Gone,
        ctx: &mut Context<Self>,
    ) -> Answering<()> {
        match resident {
            Resident::Session(id) => {
                self.sessions.remove(&id);
                self.world.views.remove_session(id);
                if !in_order {
                    self.mop_up(id, ctx);
                }
            }
            Resident::Run(id) => self.on_run_gone(id, in_order, ctx),
        }
        answered(())
    }
}
