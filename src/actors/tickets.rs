//! The tickets of viewers: secrets that open one session in one role for a limited time.
//!
//! Tickets are kept in memory, by their hash. Only the actor of their session writes them, except
//! that tickets also end with the API key that made them. Checks read them here, without a mailbox.
//! They deliberately do not outlive the server: a revoked ticket stays revoked without a table, and
//! the holder of the key can issue a link again that was lost in a restart.

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

/// The secret of a ticket: 256 bits, written as `vt_` and 43 characters of base64url.
#[derive(Clone)]
pub struct TicketSecret(String);

impl TicketSecret {
    pub(super) fn fresh() -> Self {
        Self(format!("vt_{}", URL_SAFE_NO_PAD.encode(Secrets::random())))
    }

    /// The secret in clear, only for the answer to the client that created the ticket.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for TicketSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketSecret(…)")
    }
}

/// The number of pages that may use a ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Uses {
    /// The first page that connects with it, which may reconnect.
    Single,
    /// Every page that has it.
    Many,
}

/// The scope of a viewer's secret.
#[derive(Debug, Clone)]
pub struct Ticket {
    /// The id of the ticket, which is not secret.
    pub id: ViewerId,
    /// The organization of the session.
    pub organization: OrganizationId,
    /// The session that it opens.
    pub session: SessionId,
    /// The API key that made it, and whose end also ends it.
    pub key: ApiKeyId,
    /// The highest role that it grants.
    pub role: Role,
    /// A label for people, such as the viewer's name.
    pub label: Option<String>,
    /// The number of pages that may use it.
    pub uses: Uses,
    /// The page that has used it, for a ticket with a single use.
    pub bound_to: Option<ClientId>,
    /// The time at which it was created.
    pub created_at: DateTime<Utc>,
    /// The time at which it stops being valid.
    pub expires_at: DateTime<Utc>,
}

impl Ticket {
    /// True if this page may connect with the ticket. A single-use ticket requires the page's
    /// client id: otherwise any number of pages without one would each count as the first.
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
    /// The ticket with this secret at `now`; `None` if it is not valid, or opens another session.
    pub fn opened(&self, session: SessionId, secret: &str, now: DateTime<Utc>) -> Option<Ticket> {
        let ticket = self.known.get(&hash(secret))?;
        (ticket.session == session && ticket.expires_at > now).then(|| ticket.clone())
    }

    pub(super) fn add(&self, ticket: Ticket) -> TicketSecret {
        let secret = TicketSecret::fresh();
        self.known.insert(hash(secret.reveal()), ticket);
        secret
    }

    /// The valid tickets of a session, oldest first. Removes expired ones.
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

    /// Admits a page with this ticket, and binds a single-use ticket to it. False if the page may
    /// not connect: another page may have been first, or the ticket may have been revoked.
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

    /// Revokes a ticket of this session. True if it existed.
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

    /// Removes the tickets that were made with a key that has ended.
    pub fn forget_those_by(&self, key: ApiKeyId) {
        self.known.retain(|_, ticket| ticket.key != key);
    }

    /// Removes the tickets of a session that has ended.
    pub(super) fn forget(&self, session: SessionId) {
        self.known.retain(|_, ticket| ticket.session != session);
    }
}

/// The hash of a secret. A secret is 256 random bits, so a fast hash is as good as a slow one.
fn hash(secret: &str) -> [u8; 32] {
    *blake3::hash(secret.as_bytes()).as_bytes()
}
