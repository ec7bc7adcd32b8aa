//! The egress program of a session: holder of its network namespace, proxy for all traffic of its
//! programs, and relay of DevTools.
//!
//! ```text
//!  session's network namespace                     machine's network namespace
//!  Chromium, code blocks                           server, targets
//!     |  127.0.0.1:3128  ----------> proxy ----------> targets, by policy, direct or by upstream
//!     |  127.0.0.1:3129  ----------> gateway --------> server, one prefix of paths
//!  DevTools port  <----------------- door <----------- inside.sock
//!                                    control <-------- control.sock
//! ```
//!
//! Each session has one process. It outlives the server, and is restarted at the same addresses
//! when it dies. Its whole state is in one directory of the server, see [`files`]:
//!
//! | file | written by | holds |
//! |---|---|---|
//! | `key` | server | the secret of the sockets |
//! | `policy.json` | server | the policy, replaced whole; see [`policy`] |
//! | `server` | server | the server's address |
//! | `port` | this | the proxy's port without a namespace, which the next process reuses |
//! | `egress.json` | this | addresses and namespaces, once everything listens; see [`launch::Ready`] |
//! | `status.json` | this | bytes, connections, refusals; see [`status::Status`] |
//! | `inside.sock`, `control.sock` | this | see [`door`], [`control`] |
//!
//! Invariants:
//! 1. Without a policy, every target is refused.
//! 2. A connection is made to a checked address, never to a name.
//! 3. A connection that a new policy denies is closed when the policy is read.
//! 4. Passwords are only in the policy file, sealed, and in requests to the upstream. The
//!    program gets the key with its environment.

pub mod addresses;
pub mod check;
pub mod connect;
pub mod connections;
pub mod control;
pub mod copy;
pub mod door;
pub mod exchange;
pub mod files;
pub mod forward;
pub mod framing;
pub mod gateway;
pub mod head;
pub mod launch;
pub mod limits;
pub mod names;
pub mod namespace;
pub mod peer;
pub mod policy;
pub mod policy_file;
pub mod proxy;
pub mod refusal;
pub mod reply;
pub mod rule;
pub mod socks;
pub mod status;
pub mod stream;
pub mod target;
pub mod upstream;
pub mod usage;

use std::path::Path;
use std::sync::Arc;

use addresses::OwnAddresses;
use connections::Connections;
use limits::Limits;
use names::Names;
use policy::Policy;
use policy_file::PolicyFile;
use upstream::Tls;
use usage::Usage;

use crate::domain::sealing::Vault;

/// The shared state of a process.
#[derive(Debug)]
pub struct Shared {
    /// The policy file and its parsed content.
    pub policy: PolicyFile,
    /// The addresses of this machine.
    pub own: OwnAddresses,
    /// The resolver with its cache.
    pub names: Names,
    /// The counters that the status shows.
    pub usage: Arc<Usage>,
    /// The open connections to targets.
    pub connections: Arc<Connections>,
    /// The TLS client for `https` upstreams.
    pub tls: Tls,
    /// The limits on times and numbers.
    pub limits: Limits,
}

impl Shared {
    /// The state of a process whose directory is `directory`.
    pub fn new(directory: &Path, limits: Limits, vault: Option<Vault>) -> Arc<Self> {
        Arc::new(Self {
            policy: PolicyFile::new(directory.join(files::POLICY), vault),
            own: OwnAddresses::default(),
            names: Names::default(),
            usage: Arc::new(Usage::resume(&directory.join(files::STATUS))),
            connections: Arc::default(),
            tls: Tls::default(),
            limits,
        })
    }

    /// Returns the policy in force. If it is new, connections that it denies are closed.
    pub fn reload(&self) -> Option<Arc<Policy>> {
        let current = self.policy.current();
        if current.changed {
            self.connections.recheck(current.policy.as_deref(), &self.own);
            self.usage.touch();
        }
        current.policy
    }
}
