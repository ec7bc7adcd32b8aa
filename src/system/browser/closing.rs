//! The end of a browser.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tokio::time::timeout;

use super::profile::exit_was_orderly;
use crate::system::cdp::Connection;
use crate::system::cdp::Devtools;
use crate::system::process::{Exit, Process};

/// Closes a browser with `Browser.close`, so that logins are kept. If it has not ended after
/// `grace`, it is ended by signals. Resolves when its processes are gone, or with `false` when even
/// the kernel could not end them.
pub async fn close(process: &Process, devtools: &Devtools, grace: Duration) -> bool {
    if process.has_exited() {
        return process.stop(grace).await;
    }
    let ended = async {
        ask(devtools).await;
        process.gone_within(grace).await
    };
    if timeout(grace, ended).await.unwrap_or(false) {
        return true;
    }
    tracing::warn!("the browser did not close on request; it is ended by signals");
    process.stop(grace).await
}

/// Asks a browser to close itself. Closing continues after this has resolved. The caller sets a deadline.
pub async fn ask(devtools: &Devtools) {
    match Connection::open(devtools).await {
        // The browser may end before it answers.
        Ok(connection) => drop(connection.call(None, "Browser.close", json!({})).await),
        Err(cause) => tracing::warn!(error = %cause, "the browser cannot be asked to close"),
    }
}

/// True if a browser that the server did not close has closed in order: a person quit it, or a
/// driver sent `Browser.close`.
pub fn closed_in_order(exit: Exit, profile: &Path) -> bool {
    match exit {
        Exit::Status(status) => status == 0,
        // Another server received its exit status; the profile has recorded the end.
        Exit::Unknown => exit_was_orderly(profile),
        Exit::Signal(_) => false,
    }
}
