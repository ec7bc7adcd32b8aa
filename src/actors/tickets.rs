//! The tickets of viewers and drivers: secrets that open one session in one role for a while.
//!
//! Tickets are kept in memory, by their hash. Only the actor of their session writes them, except
//! that tickets also end with the API key that made them. Checks read them here, without a mailbox.
//! They deliberately have no table: a revoked ticket stays revoked without one, and the holder of the key can
//! issue a link again that was lost in a crash. A server that stops and keeps its sessions passes them on
//! in a file (`app/tickets.rs`).

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use dashmap::DashMap;
use tokio_util::sync::CancellationToken;

use super::clock::Clock;
use super::secrets::Secrets;
use crate::domain::control::ClientId;
use crate::domain::ids::{ApiKeyId, OrganizationId, SessionId, ViewerId};
use crate::domain::lease::LeaseHash;
use crate::domain::ticket::TicketRole;

/// The secret of a ticket: 256 bits, written as `vt_` and 43 characters of base64url.
#[derive(Clone)]
pub struct TicketSecret(String);

impl TicketSecret {
    pub(super) fn fresh() -> Self {
        Self(Secrets::fresh_text("vt_"))
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
    /// To watch or control: by the first page that connects with it, which may connect again. To drive: for
    /// one DevTools connection, or for one occupancy.
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
    /// The most that it gives.
    pub role: TicketRole,
    /// The owner or purpose, for people.
    pub label: Option<String>,
    /// The number of pages that may use it.
    pub uses: Uses,
    /// The page that has used it, for a ticket with a single use.
    pub bound_to: Option<ClientId>,
    /// The time of its first use.
    pub used_at: Option<DateTime<Utc>>,
    /// The lease that was taken with it last, and ends with it.
    pub lease: Option<LeaseHash>,
    /// The time at which it was created.
    pub created_at: DateTime<Utc>,
    /// The time at which it stops being valid.
    pub expires_at: DateTime<Utc>,
    /// Canceled when it is revoked, or ends with its key or its session.
    pub over: CancellationToken,
}

impl Ticket {
    /// True if this page may connect with the ticket. A single-use ticket requires the page's
    /// client id: otherwise any number of pages without one would each count as the first.
    pub fn admits(&self, client: Option<&ClientId>) -> bool {
        match (self.uses, self.role) {
            (Uses::Many, _) => true,
            // Its one use is for DevTools or the occupancy.
            (Uses::Single, TicketRole::Drive) => false,
            (Uses::Single, TicketRole::Watch | TicketRole::Control) => {
                match (client, &self.bound_to) {
                    (None, _) => false,
                    (Some(_), None) => true,
                    (Some(client), Some(bound)) => client == bound,
                }
            }
        }
    }

    /// True if it was for a single use, and that use was made.
    pub fn is_spent(&self) -> bool {
        self.uses == Uses::Single && self.used_at.is_some()
    }

    /// Resolves when it opens nothing any more, with true if it has expired.
    pub async fn ended(&self, clock: Clock) -> bool {
        tokio::select! {
            () = self.over.cancelled() => false,
            () = tokio::time::sleep(clock.until(self.expires_at)) => true,
        }
    }
}

/// A ticket as it is passed on to the next server: the hash of its secret, never the secret.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Stored {
    hash: [u8; 32],
    /// The number of the rotation of its session's credentials that it belongs to.
    pub rotation: i64,
    id: ViewerId,
    organization: OrganizationId,
    /// The session that it opens.
    pub session: SessionId,
    /// The API key that made it.
    pub key: ApiKeyId,
    role: TicketRole,
    label: Option<String>,
    uses: Uses,
    bound_to: Option<String>,
    used_at: Option<DateTime<Utc>>,
    lease: Option<String>,
    created_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
}

impl Stored {
    fn of(hash: [u8; 32], rotation: i64, ticket: &Ticket) -> Self {
        let Ticket { id, organization, session, key, role, uses, .. } = *ticket;
        Self {
            hash,
            rotation,
            id,
            organization,
            session,
            key,
            role,
            label: ticket.label.clone(),
            uses,
            bound_to: ticket.bound_to.as_ref().map(ClientId::to_string),
            used_at: ticket.used_at,
            lease: ticket.lease.map(LeaseHash::to_hex),
            created_at: ticket.created_at,
            expires_at: ticket.expires_at,
        }
    }

    /// The ticket; none if a field is not as this server would have written it. Such a ticket has ended.
    fn ticket(self) -> Option<([u8; 32], Ticket)> {
        let Self { hash, id, organization, session, key, role, label, uses, .. } = self;
        let bound_to = match self.bound_to {
            Some(client) => Some(client.parse().ok()?),
            None => None,
        };
        let lease = match self.lease {
            Some(lease) => Some(LeaseHash::from_hex(&lease)?),
            None => None,
        };
        let ticket = Ticket {
            id,
            organization,
            session,
            key,
            role,
            label,
            uses,
            bound_to,
            used_at: self.used_at,
            lease,
            created_at: self.created_at,
            expires_at: self.expires_at,
            over: CancellationToken::new(),
        };
        Some((hash, ticket))
    }
}

/// The reason why a ticket cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unusable {
    /// It was for a single use, and that use was made.
    Spent,
    /// It was revoked, or has expired.
    Ended,
}

/// A use of a ticket. Dropped without [`keep`](Self::keep), it has not happened.
#[derive(Debug)]
pub struct Use {
    tickets: Tickets,
    id: ViewerId,
    is_first: bool,
}

impl Use {
    /// The use has succeeded.
    pub fn keep(mut self) {
        self.is_first = false;
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        if self.is_first
            && let Some(mut ticket) = self.tickets.known.iter_mut().find(|it| it.id == self.id)
        {
            ticket.used_at = None;
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
        let ticket = self.known.get(&Secrets::hash(secret))?;
        (ticket.session == session && ticket.expires_at > now).then(|| ticket.clone())
    }

    pub(super) fn add(&self, ticket: Ticket) -> TicketSecret {
        let secret = TicketSecret::fresh();
        self.known.insert(Secrets::hash(secret.reveal()), ticket);
        secret
    }

    /// The tickets that are valid at `now`, to be passed on, of sessions that have a number of a rotation.
    pub fn stored(
        &self,
        now: DateTime<Utc>,
        rotation: impl Fn(SessionId) -> Option<i64>,
    ) -> Vec<Stored> {
        let valid = self.known.iter().filter(|ticket| ticket.expires_at > now);
        let stored = valid.filter_map(|ticket| {
            let rotation = rotation(ticket.session)?;
            Some(Stored::of(*ticket.key(), rotation, ticket.value()))
        });
        stored.collect()
    }

    /// Adds the tickets that another server has passed on.
    pub fn restore(&self, tickets: Vec<Stored>) {
        for (hash, ticket) in tickets.into_iter().filter_map(Stored::ticket) {
            self.known.insert(hash, ticket);
        }
    }

    /// A ticket by its name, if it is valid.
    pub fn get(&self, id: ViewerId, now: DateTime<Utc>) -> Option<Ticket> {
        let ticket = self.known.iter().find(|ticket| ticket.id == id)?;
        (ticket.expires_at > now).then(|| ticket.clone())
    }

    /// The valid tickets of a session, oldest first. What has expired is forgotten.
    pub fn of(&self, session: SessionId, now: DateTime<Utc>) -> Vec<Ticket> {
        self.remove(|ticket| ticket.session == session && ticket.expires_at <= now);
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
    pub(super) fn admit(
        &self,
        id: ViewerId,
        client: Option<&ClientId>,
        now: DateTime<Utc>,
    ) -> bool {
        let Some(mut ticket) = self.known.iter_mut().find(|ticket| ticket.id == id) else {
            return false;
        };
        let admitted = ticket.admits(client);
        if admitted {
            ticket.used_at.get_or_insert(now);
            if let Some(client) = client {
                ticket.bound_to.get_or_insert_with(|| client.clone());
            }
        }
        admitted
    }

    /// Uses a ticket to drive. Of several that use one for a single use at once, one succeeds.
    ///
    /// # Errors
    ///
    /// [`Unusable`].
    pub fn take(&self, id: ViewerId, now: DateTime<Utc>) -> Result<Use, Unusable> {
        let found = self.known.iter_mut().find(|ticket| ticket.id == id);
        let Some(mut ticket) = found.filter(|ticket| ticket.expires_at > now) else {
            return Err(Unusable::Ended);
        };
        if ticket.is_spent() {
            return Err(Unusable::Spent);
        }
        let is_first = ticket.used_at.is_none();
        ticket.used_at.get_or_insert(now);
        Ok(Use { tickets: self.clone(), id, is_first })
    }

    /// Notes the lease that was taken with a ticket.
    pub(super) fn note_lease(&self, id: ViewerId, lease: LeaseHash) {
        if let Some(mut ticket) = self.known.iter_mut().find(|ticket| ticket.id == id) {
            ticket.lease = Some(lease);
        }
    }

    /// The ticket with which a lease of this session was taken.
    pub(super) fn of_lease(&self, session: SessionId, lease: LeaseHash) -> Option<Ticket> {
        let is_one = |ticket: &Ticket| ticket.session == session && ticket.lease == Some(lease);
        self.known.iter().find(|ticket| is_one(ticket)).map(|ticket| ticket.clone())
    }

    /// True if there was such a ticket of this session.
    pub(super) fn revoke(&self, session: SessionId, id: ViewerId) -> bool {
        self.remove(|ticket| ticket.session == session && ticket.id == id) > 0
    }

    /// The keys that valid tickets were made with, each at least once.
    pub fn keys(&self) -> Vec<ApiKeyId> {
        self.known.iter().map(|ticket| ticket.key).collect()
    }

    /// Removes the tickets that were made with a key that has ended.
    pub fn forget_those_by(&self, key: ApiKeyId) {
        self.remove(|ticket| ticket.key == key);
    }

    /// Forgets the tickets of a session. Returns their number.
    pub(super) fn forget(&self, session: SessionId) -> usize {
        self.remove(|ticket| ticket.session == session)
    }

    /// Ends these tickets and everything that was opened with them. Returns their number.
    fn remove(&self, is_one: impl Fn(&Ticket) -> bool) -> usize {
        let mut ended = Vec::new();
        self.known.retain(|_, ticket| {
            let goes = is_one(ticket);
            if goes {
                ended.push(ticket.over.clone());
            }
            !goes
        });
        // Outside of the locks, because woken tasks may take the same locks.
        ended.iter().for_each(CancellationToken::cancel);
        ended.len()
    }
}
