//! Authorities and policies of a session's browser, in real ones.

use rustix::process::Signal;
use serde_json::{Value, json};

use super::adoption::Page;
use super::settings::crash;
use super::tls::{AUTHORITY, TlsSite};
use crate::support::client::id_of;
use crate::support::{Setup, TestServer};

/// The error of a navigation; null if there is none.
pub async fn error_of(page: &mut Page, url: &str) -> Value {
    page.call("Page.navigate", json!({ "url": url })).await["errorText"].clone()
}

/// Asserts that a session trusts the site, and that its policy blocks an address.
async fn holds(server: &TestServer, id: &str, site: &str, when: &str) {
    let mut page = Page::of(&server.client, id).await;
    let blocked = error_of(&mut page, "http://127.0.0.1:9/").await;
    assert_eq!(blocked, "net::ERR_BLOCKED_BY_ADMINISTRATOR", "{when}");
    assert_eq!(error_of(&mut page, site).await, Value::Null, "{when}");
    page.loaded(site).await;
    assert_eq!(page.evaluate("document.title").await, "private", "{when}");
}

async fn authority_and_policies_hold(setup: Setup) {
    let site = TlsSite::start(None, false, |_| "private").await.url;
    let mut server = setup.start().await;
    let settings = json!({
        "ca_certificates": [AUTHORITY], "policies": { "URLBlocklist": ["127.0.0.1:9"] },
    });
    let asked = json!({ "start_url": site, "settings": settings });
    let session = server.client.session_of(asked).await;
    assert_eq!(session["settings"], settings);
    let id = id_of(&session);
    holds(&server, &id, &site, "from the start").await;
    crash(&server, &id).await;
    holds(&server, &id, &site, "after a crash").await;

    server.signal(Signal::KILL);
    server.ended().await;
    server.serve().await;
    server.client.once(&id, "running").await;
    holds(&server, &id, &site, "under the next server").await;

    // Another session has neither.
    let other = server.client.session_id().await;
    let mut page = Page::of(&server.client, &other).await;
    let error = error_of(&mut page, &site).await;
    assert_eq!(error, "net::ERR_CERT_AUTHORITY_INVALID");
    let error = error_of(&mut page, "http://127.0.0.1:9/").await;
    assert_ne!(error, "net::ERR_BLOCKED_BY_ADMINISTRATOR");
    drop(page);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn authorities_and_policies_hold_after_a_crash_and_under_the_next_server() {
    authority_and_policies_hold(Setup::real()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn authorities_and_policies_hold_for_an_ordinary_user() {
    authority_and_policies_hold(Setup::real().ordinary()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_namespace_a_session_with_policies_does_not_start() {
    let server = Setup::real().set("isolation.network", "proxy").start().await;
    let settings = json!({ "policies": { "PrintingEnabled": false } });
    let failed = server.client.ask_for_session(json!({ "settings": settings })).await;
    let failed = failed.problem(424, "policies_unavailable");
    assert!(failed.to_string().contains("isolation.network"), "{failed:#}");
    server.stop().await;
}
