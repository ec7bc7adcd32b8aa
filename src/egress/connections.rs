//! The open connections to targets, so that a new policy can close those that it denies.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::addresses::OwnAddresses;
use super::policy::Policy;
use super::target::Target;
use super::upstream::Upstream;

/// The table of a process's open connections.
#[derive(Debug, Default)]
pub struct Connections {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    open: HashMap<u64, Entry>,
}

#[derive(Debug)]
struct Entry {
    target: Target,
    /// The address of the target; none if an upstream resolved the name.
    address: Option<IpAddr>,
    upstream: Option<Upstream>,
    cut: Arc<Cut>,
}

/// The order to close a connection.
#[derive(Debug, Default)]
pub struct Cut {
    is_cut: AtomicBool,
    notify: Notify,
}

impl Cut {
    /// Resolves when the connection must be closed.
    pub async fn ordered(&self) {
        while !self.is_ordered() {
            self.notify.notified().await;
        }
    }

    /// True once the connection must be closed.
    pub fn is_ordered(&self) -> bool {
        self.is_cut.load(Ordering::Relaxed)
    }

    fn order(&self) {
        self.is_cut.store(true, Ordering::Relaxed);
        self.notify.notify_one();
    }
}

/// An entry in the table, removed when this is dropped.
#[derive(Debug)]
pub struct Registration {
    id: u64,
    connections: Arc<Connections>,
    /// The order to close this connection.
    pub cut: Arc<Cut>,
}

impl Connections {
    /// Adds an open connection to the table. `address` is none if an upstream resolved the name.
    pub fn register(
        self: &Arc<Self>,
        target: Target,
        address: Option<IpAddr>,
        upstream: Option<Upstream>,
    ) -> Registration {
        let cut = Arc::new(Cut::default());
        let mut table = self.table.lock();
        let id = table.next;
        table.next += 1;
        table.open.insert(id, Entry { target, address, upstream, cut: cut.clone() });
        Registration { id, connections: self.clone(), cut }
    }

    /// Closes the connections that the policy denies, and those of another upstream.
    pub fn recheck(&self, policy: Option<&Policy>, own: &OwnAddresses) {
        let table = self.table.lock();
        let mut count = 0;
        for entry in table.open.values() {
            let stays = policy.is_some_and(|policy| {
                let same = policy.keep_connections || policy.upstream == entry.upstream;
                same && policy.check(&entry.target, entry.address.as_slice(), own).is_ok()
            });
            if !stays {
                entry.cut.order();
                count += 1;
            }
        }
        if count > 0 {
            tracing::info!("the new egress policy closes {count} connections");
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.connections.table.lock().open.remove(&self.id);
    }
}
