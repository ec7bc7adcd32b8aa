//! The profile of a session: who may write to it, and its storage at the end or on request.
//!
//! A change of the permission to write is stored before it applies. Changes are processed one at a
//! time, in the order of arrival, and none while the profile is being stored.

use std::collections::VecDeque;
use std::time::Duration;

use actix::fut::WrapFuture as _;
use actix::{ActorFutureExt as _, AsyncContext as _, Context};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, warn};

use super::{Phase, Session, SessionError};
use crate::actors::ask::{Answering, Ask, Handle, Unanswered, answered};
use crate::actors::profiles::{self, NewVersion, ProfileError};
use crate::actors::storing::until_stored;
use crate::actors::views::SessionView;
use crate::domain::ids::ProfileId;
use crate::domain::labels::{Name, RESERVED_NAME, Tags};
use crate::domain::profile::{Origin, ProfileAccess, ProfileRecord, ProfileUse, VersionRecord};
use crate::system::desktop::{Desktop, PackAtEnd};

/// Sets whether the profile of the session is stored at its end.
#[derive(Debug)]
pub struct KeepProfile {
    /// True if it is stored.
    pub keep: bool,
}

impl Ask for KeepProfile {
    type Answer = Result<SessionView, SessionError>;
    const KIND: &'static str = "keep_profile";
    const AUDITED: bool = true;

    fn patience(&self) -> Duration {
        Duration::from_secs(120)
    }

    fn summary(&self) -> Value {
        json!({ "keep": self.keep })
    }
}

/// Stores the profile of the running browser, which stands still for a moment.
#[derive(Debug)]
pub struct StoreProfile {
    /// The name of a new profile. Without one, the session's own profile gets another version if
    /// the session may write to it; else a new profile is made.
    pub name: Option<Name>,
    /// The description of a new profile.
    pub description: Option<String>,
    /// The tags of a new profile.
    pub tags: Tags,
}

impl Ask for StoreProfile {
    type Answer = Result<VersionRecord, SessionError>;
    const KIND: &'static str = "store_profile";
    const AUDITED: bool = true;
    const NEEDS_BROWSER: bool = true;

    fn patience(&self) -> Duration {
        Duration::from_secs(120)
    }

    fn summary(&self) -> Value {
        json!({ "name": self.name })
    }
}

type Answer = oneshot::Sender<Result<SessionView, SessionError>>;

/// A change of the session's profile.
#[derive(Debug)]
enum ProfileChange {
    /// Sets whether the profile is stored at the end.
    Keep { keep: bool, answer: Answer },
    /// Gives up the permission to write. The sender is dropped once the row says so.
    GiveUp(oneshot::Sender<()>),
}

/// The changes of the profile that wait or are being stored.
#[derive(Debug, Default)]
pub(super) struct ProfileChanges {
    waiting: VecDeque<ProfileChange>,
    busy: bool,
    /// The storage of the running browser's profile, canceled when it is over.
    pub(super) storing: Option<CancellationToken>,
}

/// The profile that is left without the permission to write. One that the session would have made is
/// not made.
fn read_only(used: Option<ProfileUse>) -> Option<ProfileUse> {
    let used = used.filter(|used| !used.is_new)?;
    Some(ProfileUse { access: ProfileAccess::Copy, ..used })
}

impl Session {
    /// A profile of the session's organization, from which a row is made.
    fn new_profile(&self, id: ProfileId, name: Name) -> ProfileRecord {
        let empty = profiles::empty(&self.world, self.record.organization, name);
        ProfileRecord { id, writer: Some(self.record.id), ..empty }
    }

    /// The name of a profile for which no client gave one. No client can give it.
    fn default_name(id: ProfileId) -> Option<Name> {
        format!("{RESERVED_NAME}{id}").parse().ok()
    }

    /// The session's own profile, if it may write to that.
    fn written(&self) -> Option<NewVersion> {
        let used = self.record.spec.profile.as_ref()?;
        let writes = used.access == ProfileAccess::Write;
        let profile = self.new_profile(used.id, Self::default_name(used.id)?);
        let (session, origin) = (self.record.id, Origin::SessionEnd);
        let new = NewVersion { profile, is_new: used.is_new, session, origin };
        writes.then_some(new)
    }

    /// Gives up the permission to write to the profile: a browser that was cleared must not take the
    /// place of the logins there. Nothing is stored at the end from now on. Resolves when the row says
    /// so, or cannot.
    pub(super) fn keep_no_profile(
        &mut self,
        ctx: &mut Context<Self>,
    ) -> impl Future<Output = ()> + use<> {
        let (stored, done) = oneshot::channel();
        let used = self.record.spec.profile.as_ref();
        let writes = used.is_some_and(|used| used.access == ProfileAccess::Write);
        if writes || self.profile.busy || !self.profile.waiting.is_empty() {
            self.record.spec.profile = read_only(self.record.spec.profile.take());
            self.profile.waiting.push_back(ProfileChange::GiveUp(stored));
            self.next_profile_change(ctx);
        }
        async move { drop(done.await) }
    }

    fn next_profile_change(&mut self, ctx: &mut Context<Self>) {
        while !self.profile.busy && self.profile.storing.is_none() {
            let Some(change) = self.profile.waiting.pop_front() else { return };
            match change {
                ProfileChange::Keep { keep, answer } => match self.may_keep(keep) {
                    Ok(()) => self.store_keep(keep, answer, ctx),
                    Err(refusal) => drop(answer.send(Err(refusal))), // The caller may have left.
                },
                ProfileChange::GiveUp(stored) => self.store_give_up(stored, ctx),
            }
        }
    }

    fn may_keep(&self, keep: bool) -> Result<(), SessionError> {
        match self.phase {
            Phase::Closing { .. } => Err(SessionError::Closing),
            // The browser that is being cleared has none of the logins.
            Phase::Recovering { .. } if keep && self.sanitizing.under_way.is_some() => {
                Err(SessionError::Starting)
            }
            Phase::Dormant
            | Phase::Starting { .. }
            | Phase::Running { .. }
            | Phase::Recovering { .. } => Ok(()),
        }
    }

    fn store_give_up(&mut self, stored: oneshot::Sender<()>, ctx: &mut Context<Self>) {
        self.profile.busy = true;
        let next = read_only(self.record.spec.profile.take());
        self.record.spec.profile = next.clone();
        let (store, id) = (std::sync::Arc::clone(&self.world.store), self.record.id);
        let write = move || store.set_profile(id, next.clone());
        let work = until_stored(format!("the profile of {id}"), u32::MAX, write);
        ctx.spawn(work.into_actor(self).map(move |outcome, session, ctx| {
            session.profile.busy = false;
            if let Err(cause) = outcome {
                warn!(parent: &session.span, "the profile of the session is not given up: {cause}");
            }
            drop(stored);
            session.next_profile_change(ctx);
        }));
    }

    fn store_keep(&mut self, keep: bool, answer: Answer, ctx: &mut Context<Self>) {
        self.profile.busy = true;
        let (store, id) = (std::sync::Arc::clone(&self.world.store), self.record.id);
        let next = match (keep, self.record.spec.profile.clone()) {
            (true, Some(used)) => Some(ProfileUse { access: ProfileAccess::Write, ..used }),
            (true, None) => Some(ProfileUse::made(self.world.mint.mint(self.world.clock.now()))),
            (false, present) => read_only(present),
        };
        let work = async move {
            match &next {
                Some(used) if used.access == ProfileAccess::Write => {
                    let holder = store.claim_profile(id, used.clone()).await;
                    if let Some(by) = holder.map_err(SessionError::NotStored)? {
                        return Err(SessionError::ProfileInUse { id: used.id, by });
                    }
                }
                Some(_) | None => {
                    store.set_profile(id, next.clone()).await.map_err(SessionError::NotStored)?;
                }
            }
            Ok(next)
        };
        ctx.spawn(work.into_actor(self).map(move |outcome, session, ctx| {
            session.profile.busy = false;
            let stored = outcome.map(|next| {
                session.record.spec.profile = next;
                session.record.modified_at = session.world.clock.now();
            });
            session.next_profile_change(ctx); // It may give up what was just stored.
            session.publish();
            let view = session.view.borrow().clone();
            let _ = answer.send(stored.map(|()| view)); // The caller may have left.
        }));
    }

    /// Has the desktop pack the profile at its end, if it is to be stored then. The session's files
    /// stay until the profile is stored, or cannot be.
    pub(super) fn pack_at_end(&self, desktop: &mut dyn Desktop) {
        let Some(new) = self.written() else { return };
        let world = std::sync::Arc::clone(&self.world);
        let (id, span) = (self.record.id, self.span.clone());
        let into = profiles::transit(&world, id, "end");
        let then = Box::new(move |packed| {
            let work = async move {
                drop(profiles::store(&world, new, packed).await); // It reports the outcome itself.
            };
            let work: futures_util::future::BoxFuture<'static, ()> =
                Box::pin(work.instrument(span));
            work
        });
        desktop.pack_at_end(PackAtEnd { into, then });
    }
}

impl Handle<KeepProfile> for Session {
    fn handle(
        &mut self,
        KeepProfile { keep }: KeepProfile,
        ctx: &mut Context<Self>,
    ) -> Answering<Result<SessionView, SessionError>> {
        let (answer, changed) = oneshot::channel();
        self.profile.waiting.push_back(ProfileChange::Keep { keep, answer });
        self.next_profile_change(ctx);
        Box::pin(async move { changed.await.map_err(|_gone| Unanswered::Gone)? })
    }
}

impl Handle<StoreProfile> for Session {
    fn handle(
        &mut self,
        StoreProfile { name, description, tags }: StoreProfile,
        ctx: &mut Context<Self>,
    ) -> Answering<Result<VersionRecord, SessionError>> {
        let into = profiles::transit(&self.world, self.record.id, "live");
        let packed = match self.desktop() {
            Ok(_) if self.profile.storing.is_some() => {
                return answered(Err(SessionError::Profile(ProfileError::UnderWay)));
            }
            Ok(desktop) => desktop.pack_profile(into),
            Err(refusal) => return answered(Err(refusal)),
        };
        let own = self.written().filter(|_own| name.is_none());
        let new = own.or_else(|| {
            let id = self.world.mint.mint(self.world.clock.now());
            let name = name.or_else(|| Self::default_name(id))?;
            let profile =
                ProfileRecord { description, tags, writer: None, ..self.new_profile(id, name) };
            let (session, origin) = (self.record.id, Origin::Request);
            Some(NewVersion { profile, is_new: true, session, origin })
        });
        let Some(new) = new else { return answered(Err(SessionError::Closing)) };
        let new = NewVersion { origin: Origin::Request, ..new };
        let over = CancellationToken::new();
        self.profile.storing = Some(over.clone());
        let world = std::sync::Arc::clone(&self.world);
        let (answer, stored) = oneshot::channel();
        let work = async move {
            let packed = packed.await;
            profiles::store(&world, new, packed).await
        };
        let work = work.instrument(self.span.clone()).into_actor(self);
        ctx.spawn(work.map(move |outcome, session, ctx| {
            session.profile.storing = None;
            over.cancel();
            if let Some(desktop) = session.shut_down_later.take() {
                session.shut_down(desktop, ctx);
            }
            session.next_profile_change(ctx);
            let _ = answer.send(outcome.map_err(SessionError::Profile)); // The caller may have left.
        }));
        Box::pin(async move { stored.await.map_err(|_gone| Unanswered::Gone)? })
    }
}
