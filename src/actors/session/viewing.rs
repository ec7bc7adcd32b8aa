//! The messages from viewers and about viewers.

use std::time::Duration;

use actix::fut::WrapFuture as _;
use actix::{ActorFutureExt as _, AsyncContext as _, Context};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::viewers::{Connected, ViewerKind, Visit};
use super::{Phase, Session, SessionError};
use crate::actors::ask::{Answering, Ask, Handle, answered, receipt};
use crate::actors::tickets::{Ticket, TicketSecret, Uses};
use crate::domain::ids::{ApiKeyId, ViewerId};
use crate::domain::ticket::TicketRole;
use crate::system::desktop::{Copies, Following};

/// Opens a viewer's connection that needs neither the VNC server nor pictures of the display: its
/// message channel, its DevTools input, or a screencast.
#[derive(Debug)]
pub struct Join {
    /// The viewer that connects.
    pub visit: Visit,
    /// The purpose of the connection.
    pub kind: ViewerKind,
}

/// The result of joining: the connection.
pub type Joined = Connected;

impl Ask for Join {
    type Answer = Result<Joined, SessionError>;
    const KIND: &'static str = "join";
    const NEEDS_BROWSER: bool = true;

    fn summary(&self) -> Value {
        self.visit.summary(self.kind)
    }
}

impl Handle<Join> for Session {
    fn handle(
        &mut self,
        Join { visit, kind }: Join,
        ctx: &mut Context<Self>,
    ) -> Answering<Result<Joined, SessionError>> {
        // A message channel needs no browser: a person in control keeps control while the browser
        // recovers.
        let there = match (&self.phase, kind) {
            (Phase::Closing { .. }, _) => Err(SessionError::Closing),
            (_, ViewerKind::Messages) => Ok(()),
            (_, ViewerKind::Vnc | ViewerKind::Input | ViewerKind::Pictures) => {
                self.desktop().map(|_there| ())
            }
        };
        if let Err(refusal) = there.and_then(|()| self.admit(&visit, kind)) {
            return answered(Err(refusal));
        }
        answered(Ok(self.connect(visit, kind, ctx)))
    }
}

/// Starts a stream of pictures for a viewer, one for each change of the display.
#[derive(Debug)]
pub struct Follow {
    /// The viewer that connects.
    pub visit: Visit,
}

/// A stream of pictures for a viewer.
#[derive(Debug)]
pub struct Followed {
    /// The stream of pictures.
    pub following: Following,
    /// The viewer's connection to the session.
    pub connected: Connected,
}

impl Ask for Follow {
    type Answer = Result<Followed, SessionError>;
    const KIND: &'static str = "follow";
    const NEEDS_BROWSER: bool = true;

    fn summary(&self) -> Value {
        self.visit.summary(ViewerKind::Pictures)
    }
}

/// Subscribes a person in control to text that is copied in the browser.
#[derive(Debug)]
pub struct FollowCopies;

impl Ask for FollowCopies {
    type Answer = Result<Copies, SessionError>;
    const KIND: &'static str = "follow_copies";
    const NEEDS_BROWSER: bool = true;
}

/// Requests control for a person. Refused while another person has it.
#[derive(Debug)]
pub struct TakeControl {
    /// The message channel that sends the request.
    pub viewer: ViewerId,
}

impl Ask for TakeControl {
    type Answer = Result<(), SessionError>;
    const KIND: &'static str = "take_control";
    const AUDITED: bool = true;

    fn summary(&self) -> Value {
        json!({ "viewer": self.viewer })
    }
}

/// Returns a person's control to the agent. May be repeated.
#[derive(Debug)]
pub struct CedeControl {
    /// The message channel that sends the request.
    pub viewer: ViewerId,
}

impl Ask for CedeControl {
    type Answer = Result<(), SessionError>;
    const KIND: &'static str = "cede_control";
    const AUDITED: bool = true;

    fn summary(&self) -> Value {
        json!({ "viewer": self.viewer })
    }
}

/// Makes a ticket for a viewer or a driver.
#[derive(Debug)]
pub struct Invite {
    /// The API key of the request.
    pub key: ApiKeyId,
    /// The most that it gives.
    pub role: TicketRole,
    /// The owner or purpose, for people.
    pub label: Option<String>,
    /// The duration of its validity.
    pub ttl: Duration,
    /// The number of pages that may use it.
    pub uses: Uses,
}

/// A ticket that was created.
#[derive(Debug)]
pub struct Invited {
    /// The ticket without its secret.
    pub ticket: Ticket,
    /// Its secret, which is revealed only this once.
    pub secret: TicketSecret,
}

impl Ask for Invite {
    type Answer = Result<Invited, SessionError>;
    const KIND: &'static str = "invite";
    const AUDITED: bool = true;

    fn summary(&self) -> Value {
        json!({
            "role": self.role,
            "label": self.label,
            "ttl_seconds": self.ttl.as_secs(),
            "uses": self.uses,
        })
    }
}

impl Handle<Invite> for Session {
    fn handle(
        &mut self,
        Invite { key, role, label, ttl, uses }: Invite,
        ctx: &mut Context<Self>,
    ) -> Answering<Result<Invited, SessionError>> {
        if matches!(self.phase, Phase::Closing { .. }) {
            return answered(Err(SessionError::Closing));
        }
        let (tickets, now) = (&self.world.views.tickets, self.world.clock.now());
        let limit = self.world.settings.max_tickets;
        if tickets.of(self.record.id, now).len() >= limit {
            return answered(Err(SessionError::TooManyTickets { limit }));
        }
        let ticket = Ticket {
            id: self.world.mint.mint(now),
            organization: self.record.organization,
            session: self.record.id,
            key,
            role,
            label,
            uses,
            bound_to: None,
            used_at: None,
            lease: None,
            created_at: now,
            expires_at: now + ttl,
            over: CancellationToken::new(),
        };
        let secret = tickets.add(ticket.clone());
        // No client has the secret of a ticket whose answer was not received.
        let id = ticket.id;
        ctx.spawn(receipt().heard().into_actor(self).map(move |heard, session, ctx| {
            if !heard {
                session.kick(id, ctx);
            }
        }));
        answered(Ok(Invited { ticket, secret }))
    }
}

/// Lists the valid tickets and the connected viewers.
#[derive(Debug)]
pub struct Viewers;

/// A viewer that is connected.
#[derive(Debug, Clone)]
pub struct ConnectedViewer {
    /// The id of this connection.
    pub id: ViewerId,
    /// The identity and the rights of the viewer.
    pub visit: Visit,
    /// The purpose of the connection.
    pub kind: ViewerKind,
    /// The time at which it connected.
    pub since: DateTime<Utc>,
    /// True if it has control.
    pub in_control: bool,
}

/// The valid tickets, and the connected viewers.
#[derive(Debug, Clone)]
pub struct ViewerList {
    /// The valid tickets, oldest first.
    pub tickets: Vec<Ticket>,
    /// The connected viewers, oldest first.
    pub connected: Vec<ConnectedViewer>,
}

impl Ask for Viewers {
    type Answer = Result<ViewerList, SessionError>;
    const KIND: &'static str = "viewers";
}

impl Handle<Viewers> for Session {
    fn handle(
        &mut self,
        Viewers: Viewers,
        _: &mut Context<Self>,
    ) -> Answering<Result<ViewerList, SessionError>> {
        let connected = self.watchers.connections.iter().map(|(id, connection)| {
            let party = connection.visit.party();
            ConnectedViewer {
                id: *id,
                visit: connection.visit.clone(),
                kind: connection.kind,
                since: connection.since,
                in_control: party.is_some_and(|party| self.watchers.control.is_of(&party)),
            }
        });
        let tickets = self.world.views.tickets.of(self.record.id, self.world.clock.now());
        answered(Ok(ViewerList { tickets, connected: connected.collect() }))
    }
}

/// Revokes a ticket and kicks the viewers that came with it, or kicks one page by one of its
/// connections.
#[derive(Debug)]
pub struct Kick {
    /// The id of a ticket or of a connection.
    pub viewer: ViewerId,
}

impl Ask for Kick {
    type Answer = Result<(), SessionError>;
    const KIND: &'static str = "put_out";
    const AUDITED: bool = true;

    fn summary(&self) -> Value {
        json!({ "viewer": self.viewer })
    }
}

/// Revokes every ticket, and disconnects the viewers that used one.
#[derive(Debug)]
pub struct RevokeTickets;

impl Ask for RevokeTickets {
    type Answer = Result<usize, SessionError>;
    const KIND: &'static str = "revoke_tickets";
    const AUDITED: bool = true;
}

impl Handle<RevokeTickets> for Session {
    fn handle(
        &mut self,
        RevokeTickets: RevokeTickets,
        ctx: &mut Context<Self>,
    ) -> Answering<Result<usize, SessionError>> {
        if matches!(self.phase, Phase::Closing { .. }) {
            return answered(Err(SessionError::Closing));
        }
        let valid = self.world.views.tickets.of(self.record.id, self.world.clock.now()).len();
        self.end_tickets(ctx);
        answered(Ok(valid))
    }
}

impl Handle<Kick> for Session {
    fn handle(
        &mut self,
        Kick { viewer }: Kick,
        ctx: &mut Context<Self>,
    ) -> Answering<Result<(), SessionError>> {
        let found = self.kick(viewer, ctx);
        answered(if found { Ok(()) } else { Err(SessionError::UnknownViewer(viewer)) })
    }
}
