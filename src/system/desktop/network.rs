//! The browser's network process, which has all cookies in its memory.
//!
//! A browser survives its end and starts another, which knows only what was written to the disk:
//! logins of the last half minute are gone, and those of the session altogether. So its end is
//! noticed, and the cookies are put back.

use futures_util::future::BoxFuture;

use crate::domain::session::ProcessIdentity;
use crate::system::process::{Member, Process};

/// What Chromium calls it.
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

    /// Looks for it, unless it is known.
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

    /// Which one it is; none while that is not known.
    pub(super) fn identity(&self) -> Option<&ProcessIdentity> {
        self.found.as_ref().map(|(member, _)| member.identity())
    }

    /// Whether what it says can be believed. One that has ended is not asked: another one is.
    pub(super) fn is_alive(&self) -> bool {
        self.found.as_ref().is_some_and(|(member, _)| member.is_alive())
    }

    /// Resolves when it has ended; it is not known any more then.
    pub(super) async fn ended(&mut self) {
        match &mut self.found {
            Some((_, ended)) => ended.await,
            None => std::future::pending().await,
        }
        self.found = None;
    }
}
