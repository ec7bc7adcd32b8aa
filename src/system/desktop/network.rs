//! The browser's network process, which has all cookies in its memory.
//!
//! A browser survives the end of that process and starts another, which knows only cookies on the
//! disk. Logins of the last half minute and all session cookies are lost. Therefore the end is
//! detected, and the cookies are restored.

use futures_util::future::BoxFuture;

use crate::domain::session::ProcessIdentity;
use crate::system::process::{Member, Process};

/// The name of the network process in Chromium's command lines.
const ROLE: &str = "network.mojom.NetworkService";

/// The network process of one browser.
pub(super) struct Network {
    browser: Process,
    found: Option<(Member, BoxFuture<'static, ()>)>,
}

impl Network {
    pub(super) fn of(browser: &Process) -> Self {
        let mut network = Self { browser: browser.clone(), found: None };
        network.find();
        network
    }

    /// Searches for the process, unless it is known.
    pub(super) fn find(&mut self) {
        if self.found.is_some() {
            return;
        }
        let member = self.browser.members().into_iter().find(|member| member.role == ROLE);
        self.found = member.map(|member| {
            let watched = member.clone();
            let ended: BoxFuture<'static, ()> = Box::pin(async move { watched.ended().await });
            (member, ended)
        });
    }

    /// The identity of the process; none as long as it is not known.
    pub(super) fn identity(&self) -> Option<&ProcessIdentity> {
        self.found.as_ref().map(|(member, _)| member.identity())
    }

    /// True if the process is alive, so that cookies read from it can be trusted.
    pub(super) fn is_alive(&self) -> bool {
        self.found.as_ref().is_some_and(|(member, _)| member.is_alive())
    }

    /// Resolves when the process has ended, and forgets it.
    pub(super) async fn ended(&mut self) {
        match &mut self.found {
            Some((_, ended)) => ended.await,
            None => std::future::pending().await,
        }
        self.found = None;
    }
}
