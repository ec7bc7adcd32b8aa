//! The creation of sessions, and their removal from the registry.

use std::sync::Arc;
use std::time::Duration;

use actix::fut::WrapFuture as _;
use actix::{Actor as _, ActorFutureExt as _, AsyncContext as _, Context};
use futures_util::FutureExt as _;
use serde_json::json;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout_at};
use tracing::{error, info, warn};

use super::{Adopt, Create, Created, Gone, Registry, RegistryError, Resident, Resides, Start};
use crate::actors::ask::{Address, Answering, Handle, Unanswered, answered, receipt};
use crate::actors::downloads::finish_downloads;
use crate::actors::journal::{About, Name};
use crate::actors::pool::Claim;
use crate::actors::receipt::Receipt;
use crate::actors::session::{Close, Origin, Session};
use crate::actors::storing::until_stored;
use crate::actors::views::SessionView;
use crate::actors::world::World;
use crate::db::store::Ended;
use crate::domain::deadlines::Deadlines;
use crate::domain::event::{EventKind, NewEvent, Subject};
use crate::domain::ids::{EventId, OrganizationId, SessionId};
use crate::domain::occupancy::Occupancy;
use crate::domain::profile::{ProfileAccess, ProfileUse};
use crate::domain::session::{Failure, SessionRecord, SessionSpec, SessionStatus};
use crate::system::desktop::Files;
use crate::traces;

/// The number of times that the actor of one session may break.
const MOST_BROKEN: u32 = 3;

/// The most sessions that may wait for their first use; each is a row and an actor.
const MOST_DORMANT: usize = 1_000;

/// The delay before the row of a session whose actor broke is read again.
const READ_AGAIN: Duration = Duration::from_secs(1);

/// The longest wait of a new session for the end of the writer of its profile, which stores it meanwhile.
/// It is shorter than the patience of those who create sessions.
const HANDOVER: Duration = Duration::from_secs(6);

/// The delay that each further restart adds; the first restart does not wait.
const AFTER_BROKEN: Duration = Duration::from_secs(2);

impl Handle<Create> for Registry {
    fn handle(
        &mut self,
        Create { organization, spec, start, run: _, id, must_write, storage_state }: Create,
        ctx: &mut Context<Self>,
    ) -> Answering<Result<Created, RegistryError>> {
        if let Some(id) = id {
            if let Some(view) = self.world.views.session(organization, id) {
                return answered(Ok(Created { id, view }));
            }
            if self.sessions_coming.contains(&id) {
                return answered(Err(RegistryError::UnderWay));
            }
        }
        let placed = match start {
            Start::Now => self.has_place(),
            Start::FirstUse => self.has_place_for_dormant(),
        };
        let within = || self.world.quotas.check_session(&self.world.views, organization);
        if let Err(refusal) = placed.and_then(|()| Ok(within()?)) {
            return answered(Err(refusal));
        }

        let claim = match start {
            Start::Now => self.claim(&spec, id.is_some()),
            Start::FirstUse => None,
        };
        let now = self.world.clock.now();
        let deadlines = match start {
            Start::Now => {
                let start_by = Some(now + self.world.settings.start_limit());
                Deadlines { start_by, ..Deadlines::default() }
            }
            Start::FirstUse => {
                Deadlines { expires_at: Some(now + spec.lifetime), ..Deadlines::default() }
            }
        };
        let mut record = SessionRecord {
            id: id
                .or_else(|| claim.as_ref().map(Claim::session))
                .unwrap_or_else(|| self.world.mint.mint(now)),
            organization,
            node: self.world.node,
            status: SessionStatus::Created,
            spec,
            desktop: None,
            occupancy: Occupancy::default(),
            deadlines,
            failure: None,
            created_at: id.map_or(now, SessionId::minted_at),
            started_at: None,
            completed_at: None,
            modified_at: now,
        };
        self.sessions_coming.insert(record.id);
        // A session whose asker chose the id is found again by it.
        let receipt = if id.is_some() { Receipt::default() } else { receipt() };
        let (answer, created) = oneshot::channel();
        // A desktop that runs already has its room.
        let room = (start == Start::Now && claim.is_none()).then(|| self.room());
        let (world, row) = (Arc::clone(&self.world), record.clone());
        let wished = record.spec.profile.clone().filter(|used| used.access == ProfileAccess::Write);
        let (limits, session) = (world.quotas.limits(organization), record.id);
        let stored = async move {
            match room {
                Some(room) => room.await?,
                // Its programs have their memory; what they write needs room as that of others does.
                None if claim.is_some() => {
                    if let Err(full) = world.launcher.disk().await {
                        claim.into_iter().for_each(Claim::unclaim);
                        return Err(RegistryError::NoRoom(full).into());
                    }
                }
                None => {}
            }
            let data = json!({ "timeout_seconds": row.spec.lifetime.as_secs() });
            // A request that is repeated after a lost answer makes the same session, and the same event.
            let id = EventId::from(row.id.number());
            let created = world.events.make(&row, EventKind::SessionCreated, data);
            let created = vec![NewEvent { id, ..created }];
            let full = world.store.insert_session(row, limits, created.clone()).await;
            if let Some(full) = full.map_err(RegistryError::NotStored)? {
                claim.into_iter().for_each(Claim::unclaim);
                return Err(RegistryError::from(world.quotas.full(organization, full)).into());
            }
            world.events.send(created);
            let access = match wished {
                Some(used) => {
                    Some(claim_profile(&world, (organization, session), used, must_write).await?)
                }
                None => None,
            };
            Ok((access, claim))
        };
        let trace = traces::current();
        let stored = traces::within(trace.clone(), stored);
        ctx.spawn(stored.into_actor(self).map(move |stored, registry, ctx| {
            let stored = stored.map_err(|NotMade { cause, end }| {
                match end {
                    // Its id stays taken until its row is final.
                    Some(end) => registry.end_unmade(record.id, end, ctx),
                    None => {
                        registry.sessions_coming.remove(&record.id);
                    }
                }
                cause
            });
            let created = stored.map(|(access, claim)| {
                registry.sessions_coming.remove(&record.id);
                let id = record.id;
                if let (Some(used), Some(access)) = (&mut record.spec.profile, access) {
                    used.access = access;
                }
                let origin = Origin::New(storage_state, claim);
                let admit = || registry.admit_session(record, origin, ctx);
                let view = traces::call_within(trace, admit);
                registry.close_if_unheard(id, receipt, ctx);
                Created { id, view }
            });
            let _ = answer.send(created); // The receipt reports the delivery.
        }));
        Box::pin(async move { created.await.map_err(|_gone| Unanswered::Gone)? })
    }
}

/// A session that was not made.
struct NotMade {
    cause: RegistryError,
    /// The end of its row, which is not stored yet.
    end: Option<Ended>,
}

impl From<RegistryError> for NotMade {
    fn from(cause: RegistryError) -> Self {
        Self { cause, end: None }
    }
}

/// Reads whether a stored session is the writer of its profile, and makes it the writer if it is not. If
/// another session is the writer, this one gets a copy, or ends where it must write. A writer that is closing
/// is waited for: without that, the runs of a workflow that follow each other would lose logins.
async fn claim_profile(
    world: &World,
    (organization, session): (OrganizationId, SessionId),
    used: ProfileUse,
    must_write: bool,
) -> Result<ProfileAccess, NotMade> {
    let id = used.id;
    let until = Instant::now() + HANDOVER;
    let refusal = loop {
        match world.store.claim_profile(session, used.clone()).await {
            Ok(None) => return Ok(ProfileAccess::Write),
            Ok(Some(by)) if has_closed(world, organization, by, until).await => {}
            Ok(Some(_)) if !must_write => return Ok(ProfileAccess::Copy),
            Ok(Some(by)) => break RegistryError::ProfileInUse { id, by },
            Err(cause) => break RegistryError::NotStored(cause),
        }
    };
    let failure = Failure::new("profile_in_use", refusal.to_string());
    let subject = Subject { organization, session: Some(session), run: None };
    let ended = failed(world, subject, failure);
    let end = match world.store.end_session(session, ended.clone()).await {
        Ok(()) => {
            world.events.send(ended.events);
            None
        }
        Err(_not_stored) => Some(ended),
    };
    Err(NotMade { cause: refusal, end })
}

/// The end of a session whose actor does not report it, with its event.
fn failed(world: &World, subject: Subject, failure: Failure) -> Ended {
    let data = json!({ "status": SessionStatus::Failed, "failure": failure });
    let events = vec![world.events.make(subject, EventKind::SessionEnded, data)];
    let ended = Ended::new(SessionStatus::Failed, world.clock.now());
    Ended { failure: Some(failure), events, ..ended }
}

/// Waits until a session of this node that is closing has ended, at most until `until`. False if it is not
/// closing, or has not ended by then.
async fn has_closed(
    world: &World,
    organization: OrganizationId,
    session: SessionId,
    until: Instant,
) -> bool {
    let Some(mut view) = world.views.session(organization, session) else { return false };
    if !view.borrow().closing || Instant::now() >= until {
        return false;
    }
    let ended = view.wait_for(|view| view.record.status.is_final());
    matches!(timeout_at(until, ended).await, Ok(Ok(_ended)))
}

impl Registry {
    /// Takes a running desktop for a session. Without one, the session gets the place of another that waits, if
    /// all places are taken.
    fn claim(&self, spec: &SessionSpec, is_chosen: bool) -> Option<Claim> {
        let claim = self.world.pool.claim(spec, is_chosen);
        if claim.is_none() {
            self.take_place();
        }
        claim
    }

    /// Takes the place of a desktop that waits, if a session needs one and all are taken.
    pub(super) fn take_place(&self) {
        let pool = &self.world.pool;
        if self.with_browsers() + pool.len() >= self.world.settings.max_sessions {
            pool.yield_one();
        }
    }

    /// The number of sessions that have a browser or are about to get one.
    fn with_browsers(&self) -> usize {
        let all = self.sessions.len() + self.restarting.len() + self.sessions_coming.len();
        all.saturating_sub(self.world.views.dormant())
    }

    /// Refuses another session with a browser if the limit is reached or the server drains.
    pub(super) fn has_place(&self) -> Result<(), RegistryError> {
        let limit = self.world.settings.max_sessions;
        if self.draining.is_some() {
            return Err(RegistryError::Draining);
        }
        if self.with_browsers() >= limit {
            return Err(RegistryError::TooManySessions { limit });
        }
        Ok(())
    }

    /// Refuses another session without a browser if the limit is reached or the server drains.
    fn has_place_for_dormant(&self) -> Result<(), RegistryError> {
        if self.draining.is_some() {
            return Err(RegistryError::Draining);
        }
        if self.world.views.dormant() >= MOST_DORMANT {
            return Err(RegistryError::TooManyDormant { limit: MOST_DORMANT });
        }
        Ok(())
    }

    /// Resolves with an error if the machine has no room for another browser in addition to those
    /// that are starting.
    pub(super) fn room(&self) -> impl Future<Output = Result<(), RegistryError>> + use<> {
        let coming = self.sessions_coming.len() + self.world.views.coming_up();
        let coming = u64::try_from(coming).unwrap_or(u64::MAX);
        let world = Arc::clone(&self.world);
        async move {
            let mut room = world.launcher.room(coming).await;
            if room.is_err() && world.pool.is_used() {
                world.pool.yield_all().await;
                room = world.launcher.room(coming).await;
            }
            room.map_err(RegistryError::NoRoom)
        }
    }

    /// Stores the end of a session that was not made, again and again until the database answers. Without
    /// it, a live row would have no actor.
    fn end_unmade(&self, id: SessionId, end: Ended, ctx: &mut Context<Self>) {
        let store = Arc::clone(&self.world.store);
        let events = end.events.clone();
        let write = move || store.end_session(id, end.clone());
        let work = until_stored(format!("the end of {id}, which was not made"), u32::MAX, write);
        ctx.spawn(work.into_actor(self).map(move |stored, registry, _| {
            registry.sessions_coming.remove(&id);
            match stored {
                Ok(()) => registry.world.events.send(events),
                Err(cause) => {
                    warn!(session.id = %id, "session {id} was not made, and its end is not stored: {cause}");
                }
            }
        }));
    }

    /// Closes a session as soon as its asker turns out not to have received the answer.
    fn close_if_unheard(&self, id: SessionId, receipt: Receipt, ctx: &mut Context<Self>) {
        let Some(Resides { address, .. }) = self.sessions.get(&id) else { return };
        let address = address.downgrade();
        let closes = async move {
            if !receipt.heard().await {
                info!(session.id = %id, "session {id} is closed: its client left before the answer");
                let _ = address.ask(Close { status: SessionStatus::Completed }).await;
            }
        };
        ctx.spawn(closes.into_actor(self));
    }

    /// Starts the actor of a session whose row is stored.
    fn admit_session(
        &mut self,
        record: SessionRecord,
        origin: Origin,
        ctx: &mut Context<Self>,
    ) -> watch::Receiver<SessionView> {
        let (id, organization) = (record.id, record.organization);
        let registry = self.address(&id.to_string(), ctx).downgrade();
        let registration = Self::registration(registry, Resident::Session(id));
        let (session, view) = Session::new(Arc::clone(&self.world), record, origin, registration);

        let inner = Session::start_in_arbiter(&self.next_arbiter(), |_| session);
        let about = About { organization: Some(organization), session: Some(id), run: None };
        let name = Name::from(id.to_string().as_str());
        let address = Address::new(inner, name, about, Arc::clone(&self.world.journal));
        self.sessions.insert(id, Resides { organization, address });
        self.world.views.add_session(view.clone());
        info!(session.id = %id, "session {id} starts");
        view
    }

    /// Handles a panic of a session's actor, which also lost the handle of its desktop. Another
    /// actor adopts the desktop, unless actors of this session have broken too often.
    fn on_broken(&mut self, id: SessionId, organization: OrganizationId, ctx: &mut Context<Self>) {
        let broken = self.broken.entry(id).or_default();
        *broken += 1;
        error!(session.id = %id, "the actor of session {id} has ended without closing it, {broken} times so far");
        if *broken > MOST_BROKEN {
            return self.clean_up_orphan(id, Some(organization), ctx);
        }
        self.restarting.insert(id, organization);
        let wait = AFTER_BROKEN.saturating_mul(broken.saturating_sub(1));
        ctx.run_later(wait, move |registry, ctx| registry.restart(id, organization, ctx));
    }

    /// Starts another actor of a session whose actor broke, from the row: the last published view
    /// may be older than the row.
    fn restart(&mut self, id: SessionId, organization: OrganizationId, ctx: &mut Context<Self>) {
        let row = self.world.store.session(organization, id);
        ctx.spawn(row.into_actor(self).map(move |row, registry, ctx| match row {
            Ok(Some(record)) if !record.status.is_final() => {
                registry.restarting.remove(&id);
                registry.admit_session(record, Origin::Former, ctx);
            }
            Ok(Some(_) | None) => registry.clean_up_orphan(id, Some(organization), ctx),
            Err(cause) => {
                warn!(session.id = %id, "session {id} is not restarted yet, its row cannot be read: {cause}");
                ctx.run_later(READ_AGAIN, move |registry, ctx| {
                    registry.restart(id, organization, ctx);
                });
            }
        }));
    }

    /// Cleans up after a session whose actor broke for good: finds its processes by their marker,
    /// ends them, and stores the session's end.
    fn clean_up_orphan(
        &mut self,
        id: SessionId,
        organization: Option<OrganizationId>,
        ctx: &mut Context<Self>,
    ) {
        self.broken.remove(&id);
        self.restarting.remove(&id);
        self.world.views.remove_session(id);
        let world = Arc::clone(&self.world);
        let owner = Arc::clone(&self.world);
        let collected = async move {
            if let Some(organization) = organization {
                finish_downloads(&owner, organization, id, None).await;
            }
            owner.launcher.sweep(id, Files::Kept).await
        };
        let mopped = collected.then(async move |left| {
            for what in left {
                error!(session.id = %id, "left behind by session {id}: {what}");
            }
            let failure =
                Failure::new("session_actor_ended", "the session's actor ended unexpectedly")
                    .hint("see the server's log for the cause; create another session");
            let ended = match organization {
                Some(organization) => {
                    failed(&world, Subject { organization, session: Some(id), run: None }, failure)
                }
                None => Ended {
                    failure: Some(failure),
                    ..Ended::new(SessionStatus::Failed, world.clock.now())
                },
            };
            match world.store.end_session(id, ended.clone()).await {
                Ok(()) => world.events.send(ended.events),
                Err(cause) => {
                    warn!(session.id = %id, "the end of session {id} is not stored: {cause}")
                }
            }
        });
        ctx.spawn(mopped.into_actor(self).map(|(), _, _| ()));
    }
}

impl Handle<Adopt> for Registry {
    fn handle(&mut self, Adopt { records }: Adopt, ctx: &mut Context<Self>) -> Answering<()> {
        for record in records {
            // A session that has an actor already belongs to that actor.
            if !record.status.is_final() && !self.sessions.contains_key(&record.id) {
                self.admit_session(record, Origin::Former, ctx);
            }
        }
        answered(())
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
                let organization = self.sessions.remove(&id).map(|gone| gone.organization);
                if in_order {
                    self.world.views.remove_session(id);
                    self.world.pool.refill();
                    self.broken.remove(&id);
                    return answered(());
                }
                match organization {
                    Some(organization) => self.on_broken(id, organization, ctx),
                    None => self.clean_up_orphan(id, None, ctx),
                }
            }
            Resident::Run(id) => self.on_run_gone(id, in_order, ctx),
        }
        answered(())
    }
}
