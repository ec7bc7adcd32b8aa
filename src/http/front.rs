//! The state that every endpoint shares.

use std::net::SocketAddr;
use std::sync::Arc;

use chrono::TimeDelta;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use super::cdp::DevTools;
use super::debug_sessions::Turns;
use super::idempotency::UnderWay;
use super::keys::Keys;
use super::outside;
use super::quotas::{self, Pictures, Refusals};
use super::sessions::native::Waiting;
use super::settings::Streaming;
use super::webhooks::Webhooks;
use crate::actors::ask::Address;
use crate::actors::ledger::Ledger;
use crate::actors::registry::{self, Registry, RegistryError};
use crate::actors::world::World;
use crate::db::Db;
use crate::domain::ids::{OrganizationId, SessionId};
use crate::domain::rfb::Policy;
use crate::domain::secret::Secret;

/// The server as its endpoints see it: its actors, its state, and its address outside.
#[derive(Debug, Clone)]
pub struct Front {
    /// The registry, which gets every message that changes a session or a run.
    pub registry: Address<Registry>,
    /// The views, the journal, the clock and the limits.
    pub world: Arc<World>,
    /// The database. Endpoints read from it, and write only rows that no actor owns.
    pub db: Db,
    /// The API keys that may call.
    pub keys: Keys,
    /// The longest life of a link that needs no key.
    pub link_life: TimeDelta,
    /// The key that opens `/admin`; without it, only keys with the role `operator` do.
    pub operator_key: Option<Secret>,
    /// `http.public_url`, or the address that the server listens on: the start of links for clients
    /// of whose way to the server nothing else is known. Without a slash at the end.
    pub own_url: String,
    /// Set if the operator has set `http.public_url`, which then holds for every client.
    pub is_public: bool,
    /// The address that the server listens on.
    pub address: SocketAddr,
    /// The list of all leaks.
    pub ledger: Ledger,
    /// The transport that the compatible API's viewers should use.
    pub streaming: Streaming,
    /// The restrictions of viewers in control.
    pub policy: Policy,
    /// The rules for drivers' commands, and their memory.
    pub devtools: DevTools,
    /// The seats that are kept for native VNC clients.
    pub waiting: Waiting,
    /// The requests with an `Idempotency-Key` that are being handled.
    pub under_way: UnderWay,
    /// One at a time for each owner of a debug session.
    pub turns: Turns,
    /// The webhooks' sender of messages to clients' servers.
    pub webhooks: Arc<Webhooks>,
    /// A permit for each further stream of events that may be opened.
    pub streams: Arc<Semaphore>,
    /// The refusals for quotas, to which answers wait.
    pub refusals: Refusals,
    /// The turns of each organization's requests.
    pub request_turns: quotas::Turns,
    /// The pictures that are being taken.
    pub pictures: Pictures,
    /// Notified when an organization was suspended here.
    pub suspended: Arc<Notify>,
    /// Canceled when the server stops, which ends streams and other long requests.
    pub closing: CancellationToken,
}

impl Front {
    /// The start of links in the answer to the request that is being handled, without a slash at
    /// the end.
    pub fn base_url(&self) -> String {
        let named = if self.is_public { None } else { outside::base_url() };
        named.unwrap_or_else(|| self.own_url.clone())
    }

    /// Starts the browser of a session if it waits for its first use, and waits until it runs or has failed.
    ///
    /// # Errors
    ///
    /// Those of a session that is made.
    pub async fn awake(
        &self,
        organization: OrganizationId,
        session: SessionId,
    ) -> Result<(), RegistryError> {
        registry::awake(&self.registry.downgrade(), &self.world.views, organization, session).await
    }

    /// The start of links to sockets: [`Self::base_url`] with `ws` in place of `http`.
    pub fn socket_url(&self) -> String {
        let base = self.base_url();
        match base.strip_prefix("http") {
            Some(rest) => format!("ws{rest}"),
            None => base,
        }
    }
}
