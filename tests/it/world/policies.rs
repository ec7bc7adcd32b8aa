//! Authorities and policies of a session's browser, in real ones.

use std::sync::Arc;

use rustix::process::Signal;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::adoption::Page;
use super::settings::crash;
use crate::support::client::id_of;
use crate::support::{Setup, TestServer};

const AUTHORITY: &str = include_str!("../../tls/authority.pem");
const SITE: &[u8] = include_bytes!("../../tls/site.pem");
const KEY: &[u8] = include_bytes!("../../tls/site.key");

/// A site whose certificate is of a private authority.
async fn private_site() -> String {
    let certificate = CertificateDer::from_pem_slice(SITE).unwrap();
    let key = PrivateKeyDer::from_pem_slice(KEY).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut socket) = acceptor.accept(socket).await else { return };
                let mut request = Vec::new();
                let mut piece = [0; 4096];
                while !request.windows(4).any(|four| four == b"\r\n\r\n") {
                    match socket.read(&mut piece).await {
                        Ok(0) | Err(_) => return,
                        Ok(size) => request.extend_from_slice(&piece[..size]),
                    }
                }
                let body = "<!doctype html><title>private</title><link rel=icon href='data:,'>";
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {length}\r\n\
                     connection: close\r\n\r\n{body}"
                );
                let _ = socket.write_all(answer.as_bytes()).await;
                let _ = socket.shutdown().await;
            });
        }
    });
    url
}

/// The error of a navigation; null if there is none.
async fn error_of(page: &mut Page, url: &str) -> Value {
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
    let site = private_site().await;
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
