//! What a session can be asked by viewers and about them.

use std::sync::Arc;
use std::time::Duration;

use actix::fut::WrapFuture as _;
use actix::{ActorFutureExt as _, AsyncContext as _, Context};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tokio::sync::{broadcast, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::control::{Activity, Kind};
use super::{Phase, Session, SessionError};
use crate::actors::ask::{Answering, Ask, Handle, answered, receipt};
use crate::actors::tickets::{Ticket, TicketSecret, Uses};
use crate::actors::views::SessionView;
use crate::domain::control::{ClientId, Credential, Party};
use crate::domain::ids::{ApiKeyId, ViewerId};
use crate::domain::rfb::Role;
use crate::domain::ticket::TicketRole;
use crate::system::desktop::{Copies, Following};

/// Who comes to see a session.
#[derive(Debug, Clone)]
pub struct Visit {
    /// What it has proven itself with.
    pub credential: Credential,
    /// The most that this is good for.
    pub role: Role,
    /// For people.
    pub label: Option<String>,
    /// The page's own name, if it has one.
    pub client: Option<ClientId>,
}

impl Visit {
    /// The page, if it can be told from others.
    pub fn party(&self) -> Option<Party> {
        let client = self.client.clone()?;
        Some(Party { credential: self.credential, client })
    }

    pub(super) fn summary(&self, kind: Kind) -> Value {
        let ticket = match self.credential {
            Credential::Key(_) => None,
            Credential::Ticket(id) => Some(id),
        };
        json!({ "kind": kind.as_str(), "label": self.label, "ticket": ticket })
    }
}

/// A viewer's place in a session. Dropping it gives the place back.
#[derive(Debug)]
pub struct Connected {
    /// This connection's name.
    pub id: ViewerId,
    /// The page, if it can be told from others.
    pub party: Option<Party>,
    /// The most that the viewer may do.
    pub role: Role,
    /// Canceled when the viewer is put out.
    pub out: CancellationToken,
    /// Canceled when the session begins to end.
    pub ended: CancellationToken,
    /// How the session stands, and who has control.
    pub view: watch::Receiver<SessionView>,
    /// To be told of keys and clicks.
    pub activity: Arc<Activity>,
    /// Who has pressed the key that pastes, from bridges to message channels: the page has a part in it.
    pub pastes: broadcast::Sender<Party>,
    /// Gives the place back when dropped.
    pub guard: DropGuard,
}

/// A viewer opens a connection that needs neither the VNC server nor pictures of the display: its
/// message channel, its DevTools input, or a screencast.
#[derive(Debug)]
pub struct Join {
    /// Who.
    pub visit: Visit,
    /// What for.
    pub kind: Kind,
}

/// The place of such a connection.
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
        // A message channel needs no browser: who has control keeps it while one is brought back.
        let there = match (&self.phase, kind) {
            (Phase::Closing { .. }, _) => Err(SessionError::Closing),
            (_, Kind::Messages) => Ok(()),
            (_, Kind::Vnc | Kind::Input | Kind::Pictures) => self.desktop().map(|_there| ()),
        };
        if let Err(refusal) = there.and_then(|()| self.admit(&visit, kind)) {
            return answered(Err(refusal));
        }
        answered(Ok(self.connect(visit, kind, ctx)))
    }
}

/// A viewer would like to see pictures, one for each change.
#[derive(Debug)]
pub struct Follow {
    /// Who.
    pub visit: Visit,
}

/// Pictures that are being taken for a viewer.
#[derive(Debug)]
pub struct Followed {
    /// The pictures.
    pub following: Following,
    /// The viewer's place in the session.
    pub connected: Connected,
}

impl Ask for Follow {
    type Answer = Result<Followed, SessionError>;
    const KIND: &'static str = "follow";
    const NEEDS_BROWSER: bool = true;

    fn summary(&self) -> Value {
        self.visit.summary(Kind::Pictures)
    }
}

/// Somebody who has control would like to have what is copied in the browser.
#[derive(Debug)]
pub struct FollowCopies;

impl Ask for FollowCopies {
    type Answer = Result<Copies, SessionError>;
    const KIND: &'static str = "follow_copies";
    const NEEDS_BROWSER: bool = true;
}

/// A person would like to have control. Refused while another person has it.
#[derive(Debug)]
pub struct TakeControl {
    /// The message channel through which this is asked.
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

/// A person gives control back. May be repeated.
#[derive(Debug)]
pub struct CedeControl {
    /// The message channel through which this is asked.
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
    /// The key of whoever asks for it.
    pub key: ApiKeyId,
    /// The most that it gives.
    pub role: TicketRole,
    /// For people: whose it is.
    pub label: Option<String>,
    /// How long it is valid.
    pub ttl: Duration,
    /// How often it may be used.
    pub uses: Uses,
}

/// A ticket that was made.
#[derive(Debug)]
pub struct Invited {
    /// What it opens.
    pub ticket: Ticket,
    /// Its secret, which is told this once.
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
        // Nobody has the secret of a ticket that was not heard of.
        let id = ticket.id;
        ctx.spawn(receipt().heard().into_actor(self).map(move |heard, session, ctx| {
            if !heard {
                session.put_out(id, ctx);
            }
        }));
        answered(Ok(Invited { ticket, secret }))
    }
}

/// Who may come, and who is there.
#[derive(Debug)]
pub struct Viewers;

/// A viewer that is connected.
#[derive(Debug, Clone)]
pub struct ConnectedViewer {
    /// This connection's name.
    pub id: ViewerId,
    /// Who.
    pub visit: Visit,
    /// What the connection is for.
    pub kind: Kind,
    /// Since when.
    pub since: DateTime<Utc>,
    /// Whether it has control.
    pub in_control: bool,
}

/// Tickets that are valid, and viewers that are connected.
#[derive(Debug, Clone)]
pub struct ViewerList {
    /// Oldest first.
    pub tickets: Vec<Ticket>,
    /// Oldest first.
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

/// Revokes a ticket, and puts out who came with it; or puts out one page by one of its connections.
#[derive(Debug)]
pub struct PutOut {
    /// A ticket's name or a connection's.
    pub viewer: ViewerId,
}

impl Ask for PutOut {
    type Answer = Result<(), SessionError>;
    const KIND: &'static str = "put_out";
    const AUDITED: bool = true;

    fn summary(&self) -> Value {
        json!({ "viewer": self.viewer })
    }
}

/// Revokes every ticket, and puts out who came with them.
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

impl Handle<PutOut> for Session {
    fn handle(
        &mut self,
        PutOut { viewer }: PutOut,
        ctx: &mut Context<Self>,
    ) -> Answering<Result<(), SessionError>> {
        let found = self.put_out(viewer, ctx);
        answered(if found { Ok(()) } else { Err(SessionError::UnknownViewer(viewer)) })
    }
}
