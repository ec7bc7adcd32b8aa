//! The zygotes: the processes from which a browser forks its others.
//!
//! A browser survives the end of a zygote and starts no other. With the browser's own sandbox, a zygote is
//! the first process of the pages' namespace, and all pages end with it. The browser then answers for them
//! and shows nothing. Therefore the end of a zygote counts as the end of the browser.

use std::future::pending;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _, select_all};
use tokio::time::sleep;

use crate::system::process::{Member, Process};

/// The name of zygotes in Chromium's command lines.
pub(super) const ROLE: &str = "zygote";

/// The number of zygotes: one for sandboxed processes, one for the others.
const ALL: usize = 2;

/// The longest time that a browser may be without a process for its pages.
const FIRST_PAGE: Duration = Duration::from_secs(2);

/// The longest time that a browser outlives its zygotes when it closes in order.
const CLOSES: Duration = Duration::from_millis(500);

/// The zygotes of one browser.
pub(super) struct Zygotes {
    ended: BoxFuture<'static, ()>,
}

impl Zygotes {
    /// The zygotes that a browser has started itself. A fork of a zygote has the same name for a
    /// moment, and may end.
    pub(super) fn of(browser: &Process) -> Self {
        let zygotes = browser.children().into_iter().filter(|child| child.role == ROLE);
        let mut ends: Vec<_> = zygotes.map(ended).collect();
        if ends.len() < ALL {
            ends.push(found_without_pages(browser.clone()).boxed());
        }
        Self { ended: select_all(ends).then(|_first| sleep(CLOSES)).boxed() }
    }

    /// Resolves when one of them has ended, and the browser has had the time to end with it.
    pub(super) async fn ended(&mut self) {
        (&mut self.ended).await;
        self.ended = pending().boxed();
    }
}

fn ended(zygote: Member) -> BoxFuture<'static, ()> {
    async move { zygote.ended().await }.boxed()
}

/// Resolves if a zygote ended before it was watched. A browser may lack zygotes for another reason,
/// such as an argument, and then has processes for its pages all the same.
async fn found_without_pages(browser: Process) {
    sleep(FIRST_PAGE).await;
    let members = browser.members();
    if members.is_empty() || members.iter().any(|member| member.role == "renderer") {
        pending().await
    }
}
