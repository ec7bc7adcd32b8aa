//! The tickets of viewers: secrets that open one session in one role for a while.
//!
//! Tickets are kept in memory, by their hash, and written by the actor of their session alone, but
//! for those that end with the key that they were made with; whoever checks one reads them here, and no
//! mailbox is involved. They do not outlive the
//! server, on purpose: what was revoked stays revoked without a table, and a link that is
//! lost in a restart is made again by whoever has the key.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use dashmap::DashMap;

use super::secrets::Secrets;
use crate::domain::control::ClientId;
use crate::domain::ids::{ApiKeyId, OrganizationId, SessionId, ViewerId};
use crate::domain::rfb::Role;

/// A ticket's secret: 256 bits, written as `vt_` and 43 characters of base64url.
#[derive(Clone)]
pub struct TicketSecret(String);

impl TicketSecret {
    pub(super) fn fresh() -> Self {
        Self(format!("vt_{}", URL_SAFE_NO_PAD.encode(Secrets::random())))
    }

    /// The secret in clear, for the answer to whoever made the ticket and for nothing else.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for TicketSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketSecret(…)")
    }
}

/// How often a ticket may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Uses {
    /// By the first page that connects with it, which may connect again.
    Single,
    /// By whoever has it.
    Many,
}

/// What a ticket opens.
#[derive(Debug, Clone)]
pub struct Ticket {
    /// Its name, which is no secret.
    pub id: ViewerId,
    /// Whose session it opens.
    pub organization: OrganizationId,
    /// Which.
    pub session: SessionId,
    /// The key that it was made with, and ends with.
    pub key: ApiKeyId,
    /// The most that it gives.
    pub role: Role,
    /// For people: whose it is.
    pub label: Option<String>,
    /// How often it may be used.
    pub uses: Uses,
    /// The page that has used it, of a ticket for one.
    pub bound_to: Option<ClientId>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it opens nothing any more.
    pub expires_at: DateTime<Utc>,
}

impl Ticket {
    /// Whether this page may come with it. One for a single page asks for that page's name, or
    /// any number of pages without a name would be the first.
    pub fn admits(&self, client: Option<&ClientId>) -> bool {
        match self.uses {
            Uses::Many => true,
            Uses::Single => match (client, &self.bound_to) {
                (None, _) => false,
                (Some(_), None) => true,
                (Some(client), Some(bound)) => client == bound,
            },
        }
    }
}

/// All tickets of this node, by the hash of their secret.
#[derive(Debug, Clone, Default)]
pub struct Tickets {
    known: Arc<DashMap<[u8; 32], Ticket>>,
}

impl Tickets {
    /// What this secret opens at `now`; none if it opens nothing, or opens another session.
    pub fn opened(&self, session: SessionId, secret: &str, now: DateTime<Utc>) -> Option<Ticket> {
        let ticket = self.known.get(&hash(secret))?;
        (ticket.session == session && ticket.expires_at > now).then(|| ticket.clone())
    }

    pub(super) fn add(&self, ticket: Ticket) -> TicketSecret {
        let secret = TicketSecret::fresh();
        self.known.insert(hash(secret.reveal()), ticket);
        secret
    }

    /// The valid tickets of a session, oldest first. What has expired is forgotten.
    pub(super) fn of(&self, session: SessionId, now: DateTime<Utc>) -> Vec<Ticket> {
        self.known.retain(|_, ticket| ticket.session != session || ticket.expires_at > now);
        let mut tickets: Vec<_> = self
            .known
            .iter()
            .filter(|ticket| ticket.session == session)
            .map(|ticket| ticket.clone())
            .collect();
        tickets.sort_by_key(|ticket| ticket.id);
        tickets
    }

    /// Lets a page in with this ticket, to which one for a single page is bound from now on. Says
    /// whether it may come: another may have been first, and the ticket may have been revoked.
    pub(super) fn admit(&self, id: ViewerId, client: Option<&ClientId>) -> bool {
        let Some(mut ticket) = self.known.iter_mut().find(|ticket| ticket.id == id) else {
            return false;
        };
        let admitted = ticket.admits(client);
        if admitted && let Some(client) = client {
            ticket.bound_to.get_or_insert_with(|| client.clone());
        }
        admitted
    }

    /// Whether there was such a ticket of this session.
    pub(super) fn revoke(&self, session: SessionId, id: ViewerId) -> bool {
        let mut found = false;
        self.known.retain(|_, ticket| {
            let is_it = ticket.session == session && ticket.id == id;
            found |= is_it;
            !is_it
        });
        found
    }

    /// The keys that valid tickets were made with, each at least once.
    pub fn keys(&self) -> Vec<ApiKeyId> {
        self.known.iter().map(|ticket| ticket.key).collect()
    }

    /// Forgets the tickets that were made with a key that has ended.
    pub fn forget_those_by(&self, key: ApiKeyId) {
        self.known.retain(|_, ticket| ticket.key != key);
    }

    /// Forgets the tickets of a session that has ended.
    pub(super) fn forget(&self, session: SessionId) {
        self.known.retain(|_, ticket| ticket.session != session);
    }
}

/// A secret is 256 random bits, so that a fast hash is as good as a slow one.
fn hash(secret: &str) -> [u8; 32] {
    *blake3::hash(secret.as_bytes()).as_bytes()
}
