//! The state that services, streams and endpoints share.

use std::sync::Arc;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::address;
use super::debug_sessions::Turns;
use super::keys::Keys;
use super::pictures::PictureTurns;
use super::retention::Retaining;
use super::webhooks::Webhooks;
use crate::actors::ask::Address;
use crate::actors::registry::{self, Registry, RegistryError};
use crate::actors::world::World;
use crate::db::Db;
use crate::domain::ids::{OrganizationId, SessionId};

/// The server as its services see it: its actors, its database, its keys, and its address outside.
#[derive(Debug, Clone)]
pub struct Core {
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
    /// `http.public_url`, or the address that the server listens on: the start of links for clients
    /// of whose way to the server nothing else is known. Without a slash at the end.
    pub own_url: String,
    /// Set if the operator has set `http.public_url`, which then holds for every client.
    pub is_public: bool,
    /// The transport that the compatible API's viewers should use.
    pub streaming: Streaming,
    /// One at a time for each owner of a debug session.
    pub turns: Turns,
    /// The turns of pictures that are taken on request.
    pub pictures: PictureTurns,
    /// The webhooks' sender of messages to clients' servers.
    pub webhooks: Arc<Webhooks>,
    /// The retention of stored files.
    pub retention: Arc<Retaining>,
    /// Canceled when the server stops, which ends streams and other long requests.
    pub closing: CancellationToken,
}

impl Core {
    /// The start of links in the answer to the request that is being handled, without a slash at
    /// the end.
    pub fn base_url(&self) -> String {
        let named = if self.is_public { None } else { address::base_url() };
        named.unwrap_or_else(|| self.own_url.clone())
    }

    /// The start of links to sockets: [`Self::base_url`] with `ws` in place of `http`.
    pub fn socket_url(&self) -> String {
        address::socket_url(&self.base_url())
    }

    /// Starts the browser of a session if it waits for its first use, and waits until it runs or
    /// has failed.
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
}

/// The transport for the compatible API's viewers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Streaming {
    /// The whole display, over RFB.
    #[default]
    Vnc,
    /// The page in view, over DevTools.
    Cdp,
}

impl Streaming {
    /// Returns the name of the transport in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Vnc => "vnc",
            Self::Cdp => "cdp",
        }
    }
}
