//! Rotation: the credentials of a session are replaced.
//!
//! ```text
//! request --> row: number of the rotation, new lease of the holder --> tickets end --> VNC password --> response
//! ```
//!
//! The row decides, in one write. Links carry the number of the rotation. Tickets live in memory and end with
//! the server. `desktop.json` has the number of the rotation that its VNC password belongs to: a server that
//! adopts a desktop with an earlier number replaces the password. So a kill of the server in the middle leaves
//! either the former credentials or the new ones.

use std::time::Duration;

use actix::fut::WrapFuture as _;
use actix::{ActorFutureExt as _, AsyncContext as _, Context};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tracing::{error, info};

use super::rotations::{NewLease, RotateAnswer, RotateReport};
use super::{Beginner, Phase, Session, SessionError};
use crate::actors::ask::{Answering, Ask, Handle, Unanswered, answered};
use crate::db::store::{Occupied, Rotated};
use crate::domain::event::EventKind;
use crate::domain::ids::{ApiKeyId, ViewerId};
use crate::domain::lease::{LeaseHash, TakenLease};
use crate::domain::occupancy::{Event, Generation, Occupancy};
use crate::domain::session::Failure;

/// Revokes every ticket, lease, signed link and VNC password of the session, and creates new ones for those that
/// exist.
#[derive(Debug)]
pub struct Rotate {
    /// The key of the client that gets the new lease. The lease ends with it.
    pub key: ApiKeyId,
}

impl Ask for Rotate {
    type Answer = Result<RotateReport, SessionError>;
    const KIND: &'static str = "rotate";
    const AUDITED: bool = true;

    /// Longer than a recovery, whose end it waits for.
    fn patience(&self) -> Duration {
        Duration::from_secs(90)
    }
}

/// Replaces the VNC password and disconnects native clients, as after the end of a key that has read it.
#[derive(Debug)]
pub struct ReplaceVncPassword;

impl Ask for ReplaceVncPassword {
    type Answer = Result<(), SessionError>;
    const KIND: &'static str = "replace_vnc_password";
    const AUDITED: bool = true;

    fn patience(&self) -> Duration {
        Duration::from_secs(60)
    }

    fn summary(&self) -> Value {
        Value::Null
    }
}

impl Session {
    /// Notes the credential with which the holder began. The lease ends with a ticket.
    pub(super) fn note_beginner(
        &mut self,
        by: Beginner,
        generation: Generation,
        lease: LeaseHash,
        ctx: &mut Context<Self>,
    ) {
        self.rotating.begun = Some((lease, by));
        if let Some(former) = self.rotating.ticket_end.take() {
            ctx.cancel_future(former);
        }
        if let Beginner::Ticket(ticket) = by {
            self.end_with_ticket(ticket, generation, lease, ctx);
        }
    }

    /// The same for a holder whose occupancy began on a former actor of the session.
    pub(super) fn note_former_beginner(&mut self, ctx: &mut Context<Self>) {
        let Some(held) = self.record.occupancy.holder() else { return };
        let (generation, lease) = (held.generation, held.lease);
        if let Some(ticket) = self.world.views.tickets.of_lease(self.record.id, lease) {
            self.note_beginner(Beginner::Ticket(ticket.id), generation, lease, ctx);
        }
    }

    fn end_with_ticket(
        &mut self,
        ticket: ViewerId,
        generation: Generation,
        lease: LeaseHash,
        ctx: &mut Context<Self>,
    ) {
        let clock = self.world.clock;
        let Some(ticket) = self.world.views.tickets.get(ticket, clock.now()) else {
            return self.end_lease(generation, lease);
        };
        let ended = async move { ticket.ended(clock).await };
        let ends = ended.into_actor(self).map(move |_has_expired, session, ctx| {
            info!(parent: &session.span, "generation {generation} ends with its ticket");
            session.end_lease(generation, lease);
            session.next_turn(ctx);
        });
        self.rotating.ticket_end = Some(ctx.spawn(ends));
    }

    /// Begins a requested rotation. Called while no change is being stored. A rotation waits for the end of a
    /// recovery of the desktop.
    pub(super) fn rotate_if_due(&mut self, ctx: &mut Context<Self>) {
        match &self.phase {
            Phase::Dormant | Phase::Starting { .. } | Phase::Running { .. } => {}
            Phase::Recovering { .. } => return,
            Phase::Closing { .. } => return self.dismiss_rotations(),
        }
        if self.rotating.under_way {
            return;
        }
        let Some((key, answer)) = self.rotating.requests.pop_front() else { return };
        let (occupancy, lease) = match self.with_new_lease() {
            Ok(changed) => changed,
            Err(refusal) => return drop(answer.send(Err(refusal))), // The caller may have left.
        };
        let before = self.record.occupancy.clone();
        let rotation = self.record.spec.rotation.max(self.rotating.attempted).saturating_add(1);
        self.rotating.attempted = rotation;
        (self.storing, self.rotating.under_way) = (true, true);
        let idle = self.idle_after(&occupancy);
        let events = self.events_until(&occupancy);
        let (session, organization) = (self.record.id, self.record.organization);
        let taken = lease.as_ref().map(|new| {
            let lease = new.token.hash();
            TakenLease { session, organization, lease, key, ends_at: None }
        });
        let change = Occupied::new(before.generation(), occupancy.clone());
        let change = Occupied { idle, events: events.clone(), taken, ..change };
        let next = Rotated { change, rotation };
        let stored = self.world.store.rotate_session(self.record.id, next);
        ctx.spawn(stored.into_actor(self).map(move |outcome, session, ctx| {
            session.storing = false;
            match session.on_stored(outcome, occupancy, idle, events, ctx) {
                Ok(after) => {
                    session.record.spec.rotation = rotation;
                    let leases = usize::from(before != after);
                    session.end_former(lease, leases, answer, ctx);
                }
                Err(cause) => {
                    session.rotating.under_way = false;
                    let _ = answer.send(Err(cause)); // The caller may have left.
                }
            }
            session.publish();
            session.end_if_left(ctx); // Its holder's lease was over, or ended with a ticket.
            session.next_turn(ctx);
            session.set_timer(ctx);
            session.leave_if_asked(ctx);
        }));
    }

    /// The occupancy without the lease of the present holder. A holder with a key gets another lease; one with a
    /// ticket loses the session with it; a run, whose lease no client has, keeps it.
    fn with_new_lease(&self) -> Result<(Occupancy, Option<NewLease>), SessionError> {
        let occupancy = &self.record.occupancy;
        let Some(held) = occupancy.holder() else { return Ok((occupancy.clone(), None)) };
        let now = self.world.clock.now();
        if held.expires_at <= now {
            return Ok((occupancy.after(Event::Lapse { now })?, None));
        }
        let (generation, lease) = (held.generation, held.lease);
        let begun = self.rotating.begun.filter(|(begun, _by)| *begun == lease);
        match begun.map(|(_lease, by)| by) {
            Some(Beginner::Run) => Ok((occupancy.clone(), None)),
            Some(Beginner::Ticket(_)) => {
                Ok((occupancy.after(Event::Release { generation, lease })?, None))
            }
            Some(Beginner::Key(_)) | None => {
                let token = self.world.secrets.fresh_lease();
                let next = occupancy.after(Event::Replace { lease: token.hash() })?;
                let (occupant, expires_at) = (held.occupant.clone(), held.expires_at);
                let generation = next.generation();
                Ok((next, Some(NewLease { occupant, generation, token, expires_at })))
            }
        }
    }

    /// Ends everything that was opened with the former credentials.
    fn end_former(
        &mut self,
        lease: Option<NewLease>,
        leases: usize,
        answer: RotateAnswer,
        ctx: &mut Context<Self>,
    ) {
        let tickets = self.world.views.tickets.of(self.record.id, self.world.clock.now()).len();
        let viewers = self.end_tickets(ctx);
        let rotation = self.record.spec.rotation;
        let report = RotateReport { rotation, tickets, viewers, leases, lease, vnc_password: None };
        self.rotating.stored = Some((report, answer));
        self.publish(); // Before the answer, so that a read after it sees the change.
        self.settle_vnc(ctx);
    }

    /// Replaces the VNC password if it belongs to an earlier rotation than the row.
    pub(super) fn settle_vnc(&mut self, ctx: &mut Context<Self>) {
        if self.rotating.settling {
            return;
        }
        let rotation = self.record.spec.rotation;
        let replaced = match &self.phase {
            Phase::Running { desktop } if desktop.rotation() != rotation => {
                desktop.rotate_vnc(rotation)
            }
            // No password has been shown yet.
            Phase::Running { .. } | Phase::Dormant | Phase::Starting { .. } => {
                return self.on_vnc_settled(Ok(None));
            }
            // Called again when the desktop runs, or dismissed.
            Phase::Recovering { .. } | Phase::Closing { .. } => return,
        };
        (self.rotating.under_way, self.rotating.settling) = (true, true);
        ctx.spawn(replaced.into_actor(self).map(|replaced, session, ctx| {
            session.rotating.settling = false;
            session.on_vnc_settled(replaced.map(Some));
            session.next_turn(ctx);
            session.leave_if_asked(ctx);
        }));
    }

    fn on_vnc_settled(&mut self, outcome: Result<Option<SecretString>, Failure>) {
        self.rotating.under_way = false;
        if let Err(failure) = &outcome {
            let id = self.record.id;
            error!(parent: &self.span, code = failure.code, "{id}: {}", failure.message);
        }
        let Some((report, answer)) = self.rotating.stored.take() else { return };
        let RotateReport { rotation, tickets, viewers, leases, .. } = report;
        let is_vnc = matches!(outcome, Ok(Some(_)));
        info!(parent: &self.span, "the credentials of {} were replaced ({rotation})", self.record.id);
        let data = json!({
            "rotation": rotation,
            "tickets": tickets,
            "viewers": viewers,
            "leases": leases,
            "vnc_password": is_vnc,
        });
        self.record_event(EventKind::SessionRotated, data);
        let report = outcome.map(|vnc_password| RotateReport { vnc_password, ..report });
        // The caller may have left.
        let _ = answer.send(report.map_err(|cause| SessionError::NotRotated(Box::new(cause))));
    }

    /// Answers waiting requests for a rotation: the session is ending, and its credentials with it.
    pub(super) fn dismiss_rotations(&mut self) {
        let stored = self.rotating.stored.take().map(|(_report, answer)| answer);
        let waiting = self.rotating.requests.drain(..).map(|(_key, answer)| answer);
        for answer in waiting.chain(stored) {
            let _ = answer.send(Err(SessionError::Closing)); // The caller may have left.
        }
    }
}

impl Handle<Rotate> for Session {
    fn handle(
        &mut self,
        Rotate { key }: Rotate,
        ctx: &mut Context<Self>,
    ) -> Answering<Result<RotateReport, SessionError>> {
        let (answer, rotated) = oneshot::channel();
        self.rotating.requests.push_back((key, answer));
        self.next_turn(ctx);
        Box::pin(async move { rotated.await.map_err(|_gone| Unanswered::Gone)? })
    }
}

impl Handle<ReplaceVncPassword> for Session {
    fn handle(
        &mut self,
        ReplaceVncPassword: ReplaceVncPassword,
        ctx: &mut Context<Self>,
    ) -> Answering<Result<(), SessionError>> {
        let desktop = match &self.phase {
            // The client of this key may have read the password that is being set now.
            _ if self.rotating.settling => return answered(Err(SessionError::Starting)),
            Phase::Running { desktop } => desktop,
            // No password has been shown yet.
            Phase::Dormant | Phase::Starting { .. } => return answered(Ok(())),
            Phase::Recovering { .. } => return answered(Err(SessionError::Starting)),
            Phase::Closing { .. } => return answered(Err(SessionError::Closing)),
        };
        let replaced = desktop.rotate_vnc(desktop.rotation());
        self.rotating.settling = true;
        let (answer, done) = oneshot::channel();
        ctx.spawn(replaced.into_actor(self).map(|replaced, session, ctx| {
            session.rotating.settling = false;
            let outcome = replaced.map(drop);
            // The caller may have left.
            let _ = answer.send(outcome.map_err(|cause| SessionError::NotRotated(Box::new(cause))));
            session.settle_vnc(ctx);
            session.next_turn(ctx);
            session.leave_if_asked(ctx);
        }));
        Box::pin(async move { done.await.map_err(|_gone| Unanswered::Gone)? })
    }
}
