//! The targets that a session's programs may reach, and their changes while the session lives.
//!
//! The desktop's egress program applies a change, which is stored afterwards; changes are processed
//! one at a time, in the order of arrival. Without a desktop a change is only stored, and the
//! session launches with it. The lists of the organization are read before each launch and
//! adoption. A change of them that arrives while a desktop starts is applied when the desktop runs.

use std::sync::Arc;
use std::time::Duration;

use actix::fut::WrapFuture as _;
use actix::{ActorFutureExt as _, AsyncContext as _, Context};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tracing::warn;
use url::Url;

use super::egress_changes::{EgressChange, EgressPatch};
use super::{Phase, Session, SessionError};
use crate::actors::ask::{Answering, Ask, Handle, Unanswered, answered};
use crate::actors::views::SessionView;
use crate::db::store::StoreError;
use crate::domain::egress::EgressAsked;
use crate::domain::event::EventKind;
use crate::domain::session::{Failure, SessionSpec};
use crate::system::desktop::{Desktop, Egress, EgressOutcome};

/// The delay before the egress program is given a policy again that it did not accept.
const RETRY_DELAY: Duration = Duration::from_secs(2);

/// Changes the targets that the session's programs may reach, without a restart. On failure the
/// former policy stays.
#[derive(Debug)]
pub struct ChangeEgress {
    pub change: EgressChange,
}

impl Ask for ChangeEgress {
    type Answer = Result<SessionView, SessionError>;
    const KIND: &'static str = "change_egress";
    const AUDITED: bool = true;

    fn patience(&self) -> Duration {
        Duration::from_secs(50)
    }

    fn summary(&self) -> Value {
        match &self.change {
            EgressChange::Session(EgressPatch { allow, deny, upstream }) => json!({
                "allow": allow,
                "deny": deny,
                "upstream": upstream.as_ref().map(|url| url.as_ref().and_then(Url::host_str)),
            }),
            EgressChange::Organization => json!({ "by": "organization" }),
        }
    }
}

/// Tries to reach a URL as the session's programs would, with or without a change.
#[derive(Debug)]
pub struct CheckEgress {
    /// The target, `http` or `https`.
    pub url: String,
    /// The change under which the URL is tried.
    pub patch: Option<EgressPatch>,
}

impl Ask for CheckEgress {
    type Answer = Result<EgressOutcome, SessionError>;
    const KIND: &'static str = "check_egress";
    const NEEDS_BROWSER: bool = true;

    fn patience(&self) -> Duration {
        Duration::from_secs(50)
    }
}

/// Replaces the policy if it differs from the wanted one: the organization has used up its network traffic of
/// the day, or may use the network again.
#[derive(Debug)]
pub struct RefreshEgress;

impl Ask for RefreshEgress {
    type Answer = Result<(), SessionError>;
    const KIND: &'static str = "refresh_egress";
}

/// All that is asked for the network of a session.
fn asked(spec: &SessionSpec) -> EgressAsked {
    EgressAsked {
        organization: spec.organization_egress.clone(),
        session: spec.egress.clone(),
        upstream: spec.proxy.clone(),
        is_exhausted: false,
    }
}

/// True if only an egress program can enforce the policy. A proxy without credentials is set in the
/// browser itself.
fn needs_egress(spec: &SessionSpec) -> bool {
    let has_credentials = |url: &Url| !url.username().is_empty() || url.password().is_some();
    !spec.egress.is_empty()
        || !spec.organization_egress.is_empty()
        || spec.proxy.as_ref().is_some_and(has_credentials)
}

/// The outcome of a change: the specification if it was stored, and the answer.
type Changed = (Option<SessionSpec>, Result<(), SessionError>);

impl Session {
    /// Reads the lists of the organization, stores them with the session if they have changed, and
    /// continues with `next`. Changes wait meanwhile.
    pub(super) fn with_lists(
        &mut self,
        ctx: &mut Context<Self>,
        next: impl FnOnce(&mut Self, Result<(), StoreError>, &mut Context<Self>) + 'static,
    ) {
        self.egress.busy = true;
        let (store, mut spec) = (self.world.store.clone(), self.record.spec.clone());
        let (id, organization) = (self.record.id, self.record.organization);
        let read = async move {
            let lists = store.organization_egress(organization).await?;
            if lists != spec.organization_egress {
                spec.organization_egress = lists.clone();
                store.change_egress(id, spec).await?;
            }
            Ok::<_, StoreError>(lists)
        };
        ctx.spawn(read.into_actor(self).map(move |read, session, ctx| {
            session.egress.busy = false;
            let read = read.map(|lists| session.record.spec.organization_egress = lists);
            session.egress.in_force = Some(session.wanted(&session.record.spec));
            next(session, read, ctx);
            session.next_egress_change(ctx);
        }));
    }

    /// The failure of a desktop that cannot enforce the session's egress policy.
    pub(super) fn lacks_egress(&self, desktop: &dyn Desktop) -> Option<Failure> {
        let lacks = desktop.egress().is_none() && needs_egress(&self.record.spec);
        lacks.then(|| {
            let message = "lists of `egress` or an upstream proxy with credentials are requested, and \
                           this server does not separate the network of its sessions";
            let hint = "set `isolation.network` to other than `off`, see `greenroom doctor`; or request \
                        a session without `egress`, and clear the lists of the organization \
                        (PUT /v1/egress)";
            Failure::new("egress_unavailable", message).stage("egress").hint(hint)
        })
    }

    /// True if the organization has used up its network traffic of the day.
    pub(super) fn is_exhausted(&self) -> bool {
        self.world.quotas.check_egress(self.record.organization).is_err()
    }

    /// The policy that the egress program should follow now.
    fn wanted(&self, spec: &SessionSpec) -> EgressAsked {
        EgressAsked { is_exhausted: self.is_exhausted(), ..asked(spec) }
    }

    /// Sends the desktop the present policy: the changes that were stored while it started, and the network
    /// quota of the organization.
    pub(super) fn refresh_egress(&mut self, ctx: &mut Context<Self>) {
        let Phase::Running { desktop } = &self.phase else { return };
        let wanted = self.wanted(&self.record.spec);
        if self.egress.busy || self.egress.in_force.as_ref() == Some(&wanted) {
            return;
        }
        let Some(egress) = desktop.egress() else { return };
        self.egress.busy = true;
        let applied = egress.apply(wanted.clone());
        ctx.spawn(applied.into_actor(self).map(move |applied, session, ctx| {
            session.egress.busy = false;
            match applied {
                Ok(()) => {
                    session.egress.in_force = Some(wanted);
                    session.refresh_egress(ctx); // The policy may have changed in the meantime.
                }
                Err(cause) => {
                    let id = session.record.id;
                    warn!(parent: &session.span, "the egress policy of {id} is not in force: {cause}");
                    ctx.run_later(RETRY_DELAY, |session, ctx| session.refresh_egress(ctx));
                }
            }
            session.next_egress_change(ctx);
        }));
    }

    /// Reports refused requests of the desktop's programs from now on.
    pub(super) fn report_refusals(&mut self, desktop: &dyn Desktop) {
        let Some(egress) = desktop.egress() else { return };
        let (view, span) = (self.view.subscribe(), self.span.clone());
        self.reporting = Some(self.refusals.report(&self.world, view, egress.status(), span));
    }

    fn next_egress_change(&mut self, ctx: &mut Context<Self>) {
        while !self.egress.busy {
            let Some((change, answer)) = self.egress.waiting.pop_front() else { return };
            let of_client = matches!(change, EgressChange::Session(_));
            let egress = match &self.phase {
                Phase::Closing { .. } => Err(SessionError::Closing),
                Phase::Starting { .. } | Phase::Recovering { .. } if of_client => {
                    Err(SessionError::Starting)
                }
                Phase::Dormant | Phase::Starting { .. } | Phase::Recovering { .. } => Ok(None),
                Phase::Running { desktop } => match desktop.egress() {
                    None if of_client => Err(SessionError::NoEgress),
                    egress => Ok(egress),
                },
            };
            match egress {
                Ok(egress) => self.change_egress(change, egress, answer, ctx),
                Err(refusal) => drop(answer.send(Err(refusal))), // The caller may have left.
            }
        }
    }

    fn change_egress(
        &mut self,
        change: EgressChange,
        egress: Option<Arc<dyn Egress>>,
        answer: oneshot::Sender<Result<SessionView, SessionError>>,
        ctx: &mut Context<Self>,
    ) {
        self.egress.busy = true;
        let before = self.wanted(&self.record.spec);
        let mut spec = self.record.spec.clone();
        let (by, of_organization) = match &change {
            EgressChange::Session(patch) => {
                patch.apply(&mut spec);
                ("session", false)
            }
            EgressChange::Organization => ("organization", true),
        };
        let (store, id) = (self.world.store.clone(), self.record.id);
        let organization = self.record.organization;
        let is_exhausted = before.is_exhausted;
        let runs_without = egress.is_none() && matches!(self.phase, Phase::Running { .. });
        let work = async move {
            if of_organization {
                match store.organization_egress(organization).await {
                    Ok(lists) => spec.organization_egress = lists,
                    Err(cause) => return (None, Err(SessionError::NotStored(cause))),
                }
            }
            let applied = match &egress {
                Some(egress) => {
                    let wanted = EgressAsked { is_exhausted, ..asked(&spec) };
                    egress.apply(wanted).await.map_err(SessionError::Egress)
                }
                None if runs_without && needs_egress(&spec) => Err(SessionError::NoEgress),
                None => Ok(()),
            };
            // The organization's lists are stored in any case: they apply to the next launch.
            if applied.is_err() && !of_organization {
                return (None, applied);
            }
            if let Err(cause) = store.change_egress(id, spec.clone()).await {
                if let (Ok(()), Some(egress)) = (&applied, &egress) {
                    // The row counts. If this fails as well, the next change or launch corrects it.
                    let _ = egress.apply(before).await;
                }
                return (None, Err(SessionError::NotStored(cause)));
            }
            (Some(spec), applied)
        };
        ctx.spawn(work.into_actor(self).map(move |(stored, applied): Changed, session, ctx| {
            session.egress.busy = false;
            if let Some(spec) = stored {
                if applied.is_ok() && matches!(session.phase, Phase::Running { .. }) {
                    session.egress.in_force = Some(EgressAsked { is_exhausted, ..asked(&spec) });
                }
                // Other fields may have changed meanwhile.
                let SessionSpec { egress, organization_egress, proxy, echo, .. } = spec;
                let present = &mut session.record.spec;
                *present =
                    SessionSpec { egress, organization_egress, proxy, echo, ..present.clone() };
                session.record.modified_at = session.world.clock.now();
                session.record_event(EventKind::SessionEgressChanged, json!({ "by": by }));
                session.publish();
            }
            let view = session.view.borrow().clone();
            let _ = answer.send(applied.map(|()| view)); // The caller may have left.
            session.refresh_egress(ctx);
            session.next_egress_change(ctx);
        }));
    }
}

impl Handle<ChangeEgress> for Session {
    fn handle(
        &mut self,
        ChangeEgress { change }: ChangeEgress,
        ctx: &mut Context<Self>,
    ) -> Answering<Result<SessionView, SessionError>> {
        let (answer, changed) = oneshot::channel();
        self.egress.waiting.push_back((change, answer));
        self.next_egress_change(ctx);
        Box::pin(async move { changed.await.map_err(|_gone| Unanswered::Gone)? })
    }
}

impl Handle<RefreshEgress> for Session {
    fn handle(
        &mut self,
        RefreshEgress: RefreshEgress,
        ctx: &mut Context<Self>,
    ) -> Answering<Result<(), SessionError>> {
        self.refresh_egress(ctx);
        answered(Ok(()))
    }
}

impl Handle<CheckEgress> for Session {
    fn handle(
        &mut self,
        CheckEgress { url, patch }: CheckEgress,
        _: &mut Context<Self>,
    ) -> Answering<Result<EgressOutcome, SessionError>> {
        let egress = match self.desktop() {
            Ok(desktop) => desktop.egress().ok_or(SessionError::NoEgress),
            Err(refusal) => Err(refusal),
        };
        let egress = match egress {
            Ok(egress) => egress,
            Err(refusal) => return answered(Err(refusal)),
        };
        let asked = patch.map(|patch| {
            let mut spec = self.record.spec.clone();
            patch.apply(&mut spec);
            self.wanted(&spec)
        });
        let outcome = egress.check(url, asked);
        Box::pin(async move { outcome.await.map_err(SessionError::Egress) })
    }
}
