//! What every endpoint is handed.

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

/// The server as its endpoints see it: whom to ask, what to read, and under which name it is
/// known outside.
#[derive(Debug, Clone)]
pub struct Front {
    /// Whom to ask for anything that changes a session or a run.
    pub registry: Address<Registry>,
    /// The views, the journal, the clock and the limits.
    pub world: Arc<World>,
    /// What is stored. Endpoints read from it; of what they write, nothing belongs to an actor.
    pub db: Db,
    /// Who may call.
    pub keys: Keys,
    /// The longest life of a link that needs no key.
    pub link_life: TimeDelta,
    /// What opens `/admin`; nothing does without it.
    pub operator_key: Option<Secret>,
    /// `http.public_url`, or the address that the server listens on: the start of links for clients
    /// of whose way to the server nothing else is known. Without a slash at the end.
    pub own_url: String,
    /// Set if the operator has set `http.public_url`, which then holds for every client.
    pub is_public: bool,
    /// The address that the server listens on.
    pub address: SocketAddr,
    /// What was left behind.
    pub ledger: Ledger,
    /// What the compatible API's viewers are told to use.
    pub streaming: Streaming,
    /// What is refused to viewers in control.
    pub policy: Policy,
    /// The rules for drivers' commands, and their memory.
    pub devtools: DevTools,
    /// The VNC servers that wait for clients of their own.
    pub waiting: Waiting,
    /// The requests with an `Idempotency-Key` that are being worked on.
    pub under_way: UnderWay,
    /// One at a time for each owner of a debug session.
    pub turns: Turns,
    /// What tells clients' servers.
    pub webhooks: Arc<Webhooks>,
    /// How many more streams of events may be opened.
    pub streams: Arc<Semaphore>,
    /// The refusals for quotas, to which answers wait.
    pub refusals: Refusals,
    /// The turns of each organization's requests.
    pub request_turns: quotas::Turns,
    /// The pictures that are being taken.
    pub pictures: Pictures,
    /// Notified when an organization was suspended here.
    pub suspended: Arc<Notify>,
    /// Canceled when the server stops: what goes on for long, such as a stream, ends then.
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
