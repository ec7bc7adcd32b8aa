//! The connections of viewers, and the control of the browser.
//!
//! [`domain::control`](crate::domain::control) decides on control. This module provides the facts
//! for the decision: the connected pages, and the time of the last key or click.

use std::sync::Arc;

use actix::fut::WrapFuture as _;
use actix::{ActorFutureExt as _, AsyncContext as _, Context};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::viewers::{Connected, Connection, ViewerKind, Visit};
use super::{CedeControl, Phase, Session, SessionError, TakeControl};
use crate::actors::ask::{Answering, Handle, answered, receipt};
use crate::domain::control::{Credential, Event, Refusal};
use crate::domain::event::EventKind;
use crate::domain::ids::ViewerId;
use crate::domain::rfb::Role;

impl Session {
    /// Admits another connection of this kind, or refuses it because of a limit or the viewer's
    /// ticket.
    pub(super) fn admit(&self, visit: &Visit, kind: ViewerKind) -> Result<(), SessionError> {
        self.room_for(kind)?;
        match visit.credential {
            Credential::Key(_) => Ok(()),
            Credential::Ticket(ticket) => {
                let (tickets, now) = (&self.world.views.tickets, self.world.clock.now());
                let admitted = tickets.admit(ticket, visit.client.as_ref(), now);
                if admitted { Ok(()) } else { Err(SessionError::TicketUsed) }
            }
        }
    }

    /// Checks the limits for another connection of this kind. Each kind that does not show the
    /// display has a limit of its own, equal to the limit on viewers.
    fn room_for(&self, kind: ViewerKind) -> Result<(), SessionError> {
        let settings = &self.world.settings;
        let there = match kind {
            ViewerKind::Vnc | ViewerKind::Pictures => self.watchers.watching(),
            ViewerKind::Messages | ViewerKind::Input => self.watchers.count(|other| other == kind),
        };
        if there >= settings.max_viewers {
            let of = "sessions.max_viewers";
            return Err(SessionError::TooManyViewers { limit: settings.max_viewers, of });
        }
        if !kind.shows() {
            return Ok(());
        }
        let limit = settings.max_viewers_of_organization;
        let sessions = self.world.views.sessions(self.record.organization);
        // Counted from published views: two viewers that connect at the same moment may both be
        // admitted.
        if sessions.iter().map(|view| view.viewers).sum::<usize>() >= limit {
            let of = "sessions.max_viewers_of_organization";
            return Err(SessionError::TooManyViewers { limit, of });
        }
        Ok(())
    }

    /// Registers a connection of a viewer. Dropping the result unregisters it.
    pub(super) fn connect(
        &mut self,
        visit: Visit,
        kind: ViewerKind,
        ctx: &mut Context<Self>,
    ) -> Connected {
        let now = self.world.clock.now();
        let id: ViewerId = self.world.mint.mint(now);
        let (party, role) = (visit.party(), visit.role);
        self.record_event(EventKind::ViewerJoined, visitor(id, &visit, kind));
        let out = CancellationToken::new();
        let connection = Connection { visit, kind, since: now, out: out.clone() };
        self.watchers.connections.insert(id, connection);
        let left = CancellationToken::new();
        let leaves = left.clone();
        let leaves = async move { leaves.cancelled().await };
        ctx.spawn(leaves.into_actor(self).map(move |(), session, ctx| session.on_left(id, ctx)));
        match &party {
            Some(party) if kind.asks() => {
                let _ = self.control(Event::Returned { party: party.clone(), now }, ctx);
            }
            Some(_) | None => {}
        }
        self.use_changed();
        self.publish();
        Connected {
            id,
            party,
            role,
            out,
            ended: self.ended.clone(),
            view: self.view.subscribe(),
            activity: Arc::clone(&self.watchers.activity),
            pastes: self.watchers.pastes.clone(),
            guard: left.drop_guard(),
        }
    }

    fn on_left(&mut self, id: ViewerId, ctx: &mut Context<Self>) {
        let Some(connection) = self.watchers.connections.remove(&id) else { return };
        self.record_event(EventKind::ViewerLeft, visitor(id, &connection.visit, connection.kind));
        if let Some(party) = connection.visit.party()
            && connection.kind.asks()
            && !self.watchers.can_ask(&party)
        {
            let until = self.world.clock.now() + self.world.settings.control_patience().grace;
            let _ = self.control(Event::Left { party, until }, ctx);
        }
        self.use_changed();
        self.publish();
    }

    /// Kicks a viewer by its ticket, or by one of its connections. True if there was any.
    pub(super) fn kick(&mut self, viewer: ViewerId, ctx: &mut Context<Self>) -> bool {
        let revoked = self.world.views.tickets.revoke(self.record.id, viewer);
        let by_ticket = Credential::Ticket(viewer);
        let page = self.watchers.connections.get(&viewer).and_then(|it| it.visit.party());
        let mut found = revoked;
        for (id, connection) in &self.watchers.connections {
            let same_page = page.is_some() && connection.visit.party() == page;
            if *id == viewer || connection.visit.credential == by_ticket || same_page {
                connection.out.cancel();
                found = true;
            }
        }
        let _ = self.control(Event::Kicked { credential: by_ticket }, ctx);
        if let Some(party) = page {
            let _ = self.control(Event::Cede { party }, ctx);
        }
        found
    }

    /// Revokes every ticket of the session and disconnects the viewers that used one. Returns their number.
    pub(super) fn end_tickets(&mut self, ctx: &mut Context<Self>) -> usize {
        self.world.views.tickets.forget(self.record.id);
        let mut viewers = 0;
        for connection in self.watchers.connections.values() {
            if matches!(connection.visit.credential, Credential::Ticket(_)) {
                connection.out.cancel();
                viewers += 1;
            }
        }
        if let Some(credential) = self.watchers.control.user().map(|user| user.party.credential)
            && matches!(credential, Credential::Ticket(_))
        {
            let _ = self.control(Event::Kicked { credential }, ctx);
        }
        viewers
    }

    /// Applies `event`, and notifies viewers and drivers if another party has control after it.
    fn control(&mut self, event: Event, ctx: &mut Context<Self>) -> Result<(), Refusal> {
        let next = self.watchers.control.after(event)?;
        if next == self.watchers.control {
            return Ok(());
        }
        let id = self.record.id;
        match (self.watchers.control.user(), next.user()) {
            (_, Some(user)) if !self.watchers.control.is_of(&user.party) => {
                let label = user.label.as_deref().unwrap_or("a viewer");
                info!(parent: &self.span, "{label} has control of {id}");
                self.record_event(EventKind::ControlTaken, json!({ "label": user.label }));
            }
            (Some(user), None) => {
                info!(parent: &self.span, "the agent has control of {id} again");
                self.record_event(EventKind::ControlCeded, json!({ "label": user.label }));
            }
            (Some(_) | None, _) => {}
        }
        self.watchers.control = next;
        self.set_control_timer(ctx);
        self.publish();
        Ok(())
    }

    /// Applies recent input to the control, and ends control that is over.
    fn settle_control(&mut self, ctx: &mut Context<Self>) {
        if let Some(latest) = self.watchers.activity.latest() {
            let idle_at = latest + self.world.settings.control_patience().idle;
            let _ = self.control(Event::Used { idle_at }, ctx);
        }
        let _ = self.control(Event::Expire { now: self.world.clock.now() }, ctx);
    }

    fn set_control_timer(&mut self, ctx: &mut Context<Self>) {
        if let Some(timer) = self.watchers.timer.take() {
            ctx.cancel_future(timer);
        }
        let Some(user) = self.watchers.control.user() else { return };
        let wait = self.world.clock.until(user.expires_at());
        self.watchers.timer = Some(ctx.run_later(wait, |session, ctx| {
            session.watchers.timer = None;
            session.settle_control(ctx);
            if session.watchers.timer.is_none() {
                session.set_control_timer(ctx);
            }
        }));
    }
}

/// The event data that describes a connection.
fn visitor(id: ViewerId, visit: &Visit, kind: ViewerKind) -> serde_json::Value {
    json!({ "viewer": id, "kind": kind.as_str(), "label": visit.label })
}

impl Handle<TakeControl> for Session {
    fn handle(
        &mut self,
        TakeControl { viewer }: TakeControl,
        ctx: &mut Context<Self>,
    ) -> Answering<Result<(), SessionError>> {
        match &self.phase {
            Phase::Dormant
            | Phase::Starting { .. }
            | Phase::Running { .. }
            | Phase::Recovering { .. } => {}
            Phase::Closing { .. } => return answered(Err(SessionError::Closing)),
        }
        let known = self.watchers.connections.get(&viewer);
        let Some((visit, party)) = known.and_then(|it| Some((&it.visit, it.visit.party()?))) else {
            return answered(Err(Refusal::NotConnected.into()));
        };
        if visit.role == Role::Watch {
            return answered(Err(Refusal::WatchOnly.into()));
        }
        let label = visit.label.clone();
        self.settle_control(ctx);
        let had = self.watchers.control.is_of(&party);
        let now = self.world.clock.now();
        let idle_at = now + self.world.settings.control_patience().idle;
        let taker = party.clone();
        let taken = self.control(Event::Take { party, label, now, idle_at }, ctx);
        if taken.is_ok() && !had {
            ctx.spawn(receipt().heard().into_actor(self).map(|heard, session, ctx| {
                if !heard {
                    let _ = session.control(Event::Cede { party: taker }, ctx);
                }
            }));
        }
        answered(taken.map_err(SessionError::from))
    }
}

impl Handle<CedeControl> for Session {
    fn handle(
        &mut self,
        CedeControl { viewer }: CedeControl,
        ctx: &mut Context<Self>,
    ) -> Answering<Result<(), SessionError>> {
        let known = self.watchers.connections.get(&viewer);
        if let Some(party) = known.and_then(|it| it.visit.party()) {
            let _ = self.control(Event::Cede { party }, ctx);
        }
        answered(Ok(()))
    }
}
