//! The state that every endpoint shares.

use std::ops::Deref;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::{Notify, Semaphore};

use super::mcp::Mcp;
use super::name_turns::NameTurns;
use super::problem::Problem;
use super::quotas::{Refusals, Turns};
use super::sessions::native_seats::Waiting;
use super::under_way::UnderWay;
use crate::actors::ledger::Ledger;
use crate::actors::quotas::QuotaPermit;
use crate::domain::ids::OrganizationId;
use crate::domain::quota::{Quota, QuotaExceeded};
use crate::domain::secret::Secret;
use crate::live::state::Live;

/// The server as its endpoints see it: what streams and services share ([`Live`], to which it
/// dereferences), and the state of requests.
#[derive(Debug, Clone)]
pub struct Front {
    /// The state that streams share.
    pub live: Arc<Live>,
    /// The key that opens `/admin`; without it, only keys with the role `operator` do.
    pub operator_key: Option<Secret>,
    /// The key that opens `/metrics` alone.
    pub metrics_key: Option<Secret>,
    /// The settings in force with the origin of each, without secrets.
    pub config: Arc<Value>,
    /// The list of all leaks.
    pub ledger: Ledger,
    /// The seats that are kept for native VNC clients.
    pub waiting: Waiting,
    /// The requests with an `Idempotency-Key` that are being handled.
    pub under_way: UnderWay,
    /// The turns of the clients that connect to a name.
    pub name_turns: NameTurns,
    /// A permit for each further stream of events that may be opened.
    pub streams: Arc<Semaphore>,
    /// The refusals for quotas, to which answers wait.
    pub refusals: Refusals,
    /// The turns of each organization's requests.
    pub request_turns: Turns,
    /// Notified when an organization was suspended here.
    pub suspended: Arc<Notify>,
    /// The state of agents that drive over MCP.
    pub mcp: Arc<Mcp>,
}

impl Deref for Front {
    type Target = Live;

    fn deref(&self) -> &Live {
        &self.live
    }
}

impl Front {
    /// Takes a place within a quota that is counted in memory, until it is dropped.
    ///
    /// # Errors
    ///
    /// [`QuotaExceeded`] when the limit is reached.
    pub fn place(
        &self,
        organization: OrganizationId,
        quota: Quota,
    ) -> Result<QuotaPermit, QuotaExceeded> {
        self.world.quotas.take(organization, quota)
    }

    /// Checks that the organization may store further files.
    ///
    /// # Errors
    ///
    /// 429 if the quota of stored files is reached; those of the database.
    pub async fn check_storage(&self, organization: OrganizationId) -> Result<(), Problem> {
        let store = self.world.store.as_ref();
        Ok(self.world.quotas.check_storage(store, organization).await?)
    }
}
