//! The egress program of a session: holder of its network namespace, proxy for everything that its
//! programs send, and relay of DevTools.
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
//! One process for each session. It outlives the server, and is started again at the same addresses
//! when it dies. Everything that it knows is in one directory of the server, see [`files`]:
//!
//! | file | written by | holds |
//! |---|---|---|
//! | `key` | server | the secret of the sockets |
//! | `policy.json` | server | the policy, replaced whole; see [`policy`] |
//! | `server` | server | the server's address |
//! | `port` | this | the proxy's port without a namespace, which the next process takes again |
//! | `egress.json` | this | addresses and namespaces, once everything listens; see [`launch::Ready`] |
//! | `status.json` | this | bytes, connections, refusals; see [`usage::Status`] |
//! | `inside.sock`, `control.sock` | this | see [`door`], [`control`] |
//!
//! Rules that hold:
//! 1. Without a policy nothing is reached.
//! 2. A connection is made to an address that was checked, never to a name.
//! 3. A connection that a new policy denies is closed when the policy is read.
//! 4. Passwords are in the policy file, sealed, and in requests to the upstream, nowhere else. The
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
pub mod names;
pub mod namespace;
pub mod peer;
pub mod policy;
pub mod policy_file;
pub mod proxy;
pub mod refusal;
pub mod rule;
pub mod socks;
pub mod stream;
pub mod target;
pub mod upstream;
pub mod usage;

use std::path::Path;
use std::sync::Arc;

use addresses::OwnAddresses;
use connections::Connections;
use names::Names;
use policy::Policy;
use policy_file::PolicyFile;
use proxy::Limits;
use upstream::Tls;
use usage::Usage;

use crate::domain::sealing::Vault;

/// The state of a process.
#[derive(Debug)]
pub struct Shared {
    /// The policy file and what was read from it.
    pub policy: PolicyFile,
    /// The addresses of this machine.
    pub own: OwnAddresses,
    /// The resolver.
    pub names: Names,
    /// The counters that the status shows.
    pub usage: Arc<Usage>,
    /// The open connections to targets.
    pub connections: Arc<Connections>,
    /// The TLS client for `https` upstreams.
    pub tls: Tls,
    /// The bounds of time and number.
    pub limits: Limits,
}

impl Shared {
    /// The state of a process that works in a directory.
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

    /// Returns the policy in force. When it is a new one, connections that it denies are cut.
    pub fn reload(&self) -> Option<Arc<Policy>> {
        let current = self.policy.current();
        if current.changed {
            self.connections.recheck(current.policy.as_deref(), &self.own);
            self.usage.touch();
        }
        current.policy
    }
}
