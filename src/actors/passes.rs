//! Passes: the secrets with which a program that executes a block reaches the browser and answers.
//! A pass is valid while its block is under way, and so never longer than its run occupies the
//! session.
//!
//! Passes are kept in memory by the hash of their secret. Checks read them here, without a mailbox.
//! The program that holds a pass is not trusted with an API key.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use dashmap::DashMap;
use tokio_util::sync::CancellationToken;

use super::secrets::Secrets;
use crate::domain::ids::{BlockRunId, OrganizationId, RunId, SessionId};

/// The scope of a pass.
#[derive(Debug, Clone)]
pub struct PassScope {
    /// The organization of the run.
    pub organization: OrganizationId,
    /// The session that the run occupies.
    pub session: SessionId,
    /// The run that executes the block.
    pub run: RunId,
    /// The block that the program executes.
    pub block: BlockRunId,
    /// The folder of the program's own files, if it runs on this machine.
    pub folder: PathBuf,
    /// A token that is canceled when the block ends, for whatever reason.
    pub over: CancellationToken,
}

/// A pass, which is valid until it is dropped.
pub(super) struct Pass {
    secret: String,
    scope: PassScope,
    passes: Passes,
}

impl Pass {
    /// The secret, only for the program that executes the block.
    pub(super) fn reveal(&self) -> &str {
        &self.secret
    }
}

impl fmt::Debug for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pass").field("scope", &self.scope).finish_non_exhaustive()
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.passes.good.remove(&Secrets::hash(&self.secret));
        self.scope.over.cancel();
    }
}

/// The passes that are valid on this node.
#[derive(Debug, Clone, Default)]
pub struct Passes {
    good: Arc<DashMap<[u8; 32], PassScope>>,
}

impl Passes {
    /// The scope of the pass with this secret, while it is valid.
    pub fn scope(&self, secret: &str) -> Option<PassScope> {
        self.good.get(&Secrets::hash(secret)).map(|scope| scope.clone())
    }

    pub(super) fn issue(&self, scope: PassScope) -> Pass {
        let secret = Secrets::fresh_text("ep_");
        self.good.insert(Secrets::hash(&secret), scope.clone());
        Pass { secret, scope, passes: self.clone() }
    }
}

/// The addresses at which programs that execute blocks reach this server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// The base of links from elsewhere, without a slash at the end.
    pub public: String,
    /// The base of links from this machine.
    pub local: String,
    /// The socket address on which the server listens.
    pub address: SocketAddr,
}

impl Reach {
    /// The DevTools URL of the session, for a program on this machine.
    pub(super) fn local_devtools(&self, session: SessionId, pass: &Pass) -> String {
        devtools(&self.local, session, pass)
    }

    /// The DevTools URL of the session, for a program in a network where the server is at `server`.
    pub(super) fn inner_devtools(
        &self,
        server: SocketAddr,
        session: SessionId,
        pass: &Pass,
    ) -> String {
        devtools(&format!("http://{server}"), session, pass)
    }

    /// The DevTools URL of the session, for a program anywhere.
    pub(super) fn public_devtools(&self, session: SessionId, pass: &Pass) -> String {
        devtools(&self.public, session, pass)
    }

    /// The URL to which a program that executes a block reports its progress.
    pub(super) fn callback(&self, pass: &Pass) -> String {
        format!("{}/v1/agent/callbacks?pass={}", self.public, pass.reveal())
    }
}

/// The DevTools URL below `base`, with `ws` in place of `http`.
fn devtools(base: &str, session: SessionId, pass: &Pass) -> String {
    let base =
        base.strip_prefix("http").map_or_else(|| base.to_owned(), |rest| format!("ws{rest}"));
    format!("{base}/v1/browser_sessions/{session}/cdp?pass={}", pass.reveal())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_is_good_until_it_is_dropped_and_then_says_so() {
        let passes = Passes::default();
        let over = CancellationToken::new();
        let scope = PassScope {
            organization: 1.into(),
            session: 2.into(),
            run: 3.into(),
            block: 4.into(),
            folder: "/s/scratch/code".into(),
            over: over.clone(),
        };
        let pass = passes.issue(scope);
        let reach = Reach {
            public: "https://g.example".into(),
            local: "http://127.0.0.1:1".into(),
            address: "127.0.0.1:1".parse().unwrap(),
        };
        let address = reach.public_devtools(2.into(), &pass);
        assert!(address.starts_with("wss://g.example/v1/browser_sessions/pbs_2/cdp?pass=ep_"));
        let secret = pass.reveal().to_owned();
        assert_eq!(passes.scope(&secret).map(|scope| scope.run), Some(3.into()));
        assert!(passes.scope("ep_guess").is_none());
        assert!(!format!("{pass:?}").contains(&secret));

        drop(pass);
        assert!(passes.scope(&secret).is_none());
        assert!(over.is_cancelled());
    }
}
