//! The request on whose behalf a message is sent, for the audit trail.
//!
//! `http` sets it around the handling of a request, and names the key once that is known. A message
//! that is sent while another is handled has the requester of that one. Spawned tasks have none.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use tokio::task_local;

task_local! {
    static CURRENT: Arc<Requester>;
}

/// A request of a client.
#[derive(Debug)]
pub struct Requester {
    /// The id of the request.
    pub request: String,
    /// The address of the client, as far as trusted proxies report it.
    pub address: Option<IpAddr>,
    key: OnceLock<String>,
}

impl Requester {
    pub fn new(request: String, address: Option<IpAddr>) -> Arc<Self> {
        Arc::new(Self { request, address, key: OnceLock::new() })
    }

    /// Runs the handling of the request.
    pub async fn scope<F: Future>(self: Arc<Self>, handling: F) -> F::Output {
        CURRENT.scope(self, handling).await
    }

    /// The id of the key that the request came with, or `operator` for that of the settings.
    pub fn key(&self) -> Option<&str> {
        self.key.get().map(String::as_str)
    }

    /// Names the key of the request that the current task handles. The first key counts.
    pub fn identify(key: impl FnOnce() -> String) {
        let _outside_of_a_request = CURRENT.try_with(|requester| {
            requester.key.get_or_init(key);
        });
    }

    /// The same work, on behalf of the request that the current task handles: for a task of its own.
    pub fn carried<F: Future>(work: F) -> impl Future<Output = F::Output> {
        let requester = Self::current();
        async move {
            match requester {
                Some(requester) => requester.scope(work).await,
                None => work.await,
            }
        }
    }

    /// The request that the current task handles.
    pub fn current() -> Option<Arc<Self>> {
        CURRENT.try_with(Arc::clone).ok()
    }
}
