//! Client certificates of a session, in real browsers.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::process::Signal;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use super::adoption::Page;
use super::policies::error_of;
use super::settings::crash;
use super::tls::{AUTHORITY, TlsSite};
use crate::support::client::id_of;
use crate::support::{Setup, TestServer, eventually};

const ISSUER: &str = include_str!("../../tls/client-authority.pem");
const ANN: &str = include_str!("../../tls/ann.pem");
const ANN_KEY: &str = include_str!("../../tls/ann.key");
const ANN_P12: &[u8] = include_bytes!("../../tls/ann.p12");
const BOB: &str = include_str!("../../tls/bob.pem");
const BOB_KEY: &str = include_str!("../../tls/bob.key");

fn der(pem: &str) -> Vec<u8> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
}

/// The owner of a client certificate.
fn owner(certificate: Option<&[u8]>) -> &'static str {
    match certificate {
        None => "nobody",
        Some(it) if it == der(ANN) => "Ann",
        Some(it) if it == der(BOB) => "Bob",
        Some(_) => "a stranger",
    }
}

/// Sites for Ann and for Bob, one that asks for certificates of others, and one that asks for those
/// of the same issuer, which no setting names.
struct Sites {
    anns: TlsSite,
    bobs: TlsSite,
    elsewhere: TlsSite,
    unnamed: TlsSite,
}

impl Sites {
    async fn start() -> Self {
        Self {
            anns: TlsSite::start(Some(ISSUER), true, owner).await,
            bobs: TlsSite::start(Some(ISSUER), true, owner).await,
            elsewhere: TlsSite::start(Some(AUTHORITY), false, owner).await,
            unnamed: TlsSite::start(Some(ISSUER), true, owner).await,
        }
    }

    fn settings(&self) -> Value {
        json!({ "ca_certificates": [AUTHORITY], "client_certificates": [
            { "origin": self.anns.url, "pfx_base64": STANDARD.encode(ANN_P12), "passphrase": "pass" },
            { "origin": self.bobs.url, "cert_pem": BOB, "key_pem": BOB_KEY },
        ]})
    }
}

/// Asserts that each site gets the certificate that is meant for it.
async fn holds(server: &TestServer, id: &str, sites: &Sites, when: &str) {
    let mut page = Page::of(&server.client, id).await;
    for (site, title) in [(&sites.anns, "Ann"), (&sites.bobs, "Bob"), (&sites.elsewhere, "nobody")]
    {
        assert_eq!(error_of(&mut page, &site.url).await, Value::Null, "{title} {when}");
        page.loaded(&site.url).await;
        assert_eq!(page.evaluate("document.title").await, title, "{when}");
    }
}

/// The files below a folder that contain one of these texts.
fn with_one_of(folder: &Path, texts: &[String], found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        match fs::symlink_metadata(&path) {
            Ok(it) if it.is_dir() => with_one_of(&path, texts, found),
            Ok(it) if it.is_file() => {
                let bytes = fs::read(&path).unwrap_or_default();
                let content = String::from_utf8_lossy(&bytes);
                if texts.iter().any(|text| content.contains(text.as_str())) {
                    found.push(path.display().to_string());
                }
            }
            Ok(_) | Err(_) => {} // It went away meanwhile.
        }
    }
}

/// Lines of the keys and of the file, as the server was given them.
fn secrets() -> Vec<String> {
    let file = STANDARD.encode(ANN_P12);
    let lines = [ANN_KEY, BOB_KEY].map(|key| key.lines().nth(1).unwrap().to_owned());
    lines.into_iter().chain([file[40..104].to_owned()]).collect()
}

async fn certificates_hold(setup: Setup) {
    let sites = Sites::start().await;
    let mut server = setup.start().await;
    let asked = json!({ "start_url": sites.anns.url, "settings": sites.settings(),
        "generate_browser_profile": true });
    let session = server.client.session_of(asked).await;
    let shown = session["settings"]["client_certificates"].clone();
    let origin = sites.bobs.url.trim_end_matches('/');
    assert_eq!(shown[1], json!({ "origin": origin, "cert_pem": BOB }));
    let id = id_of(&session);
    let mut page = Page::of(&server.client, &id).await;
    page.loaded(&sites.anns.url).await;
    assert_eq!(page.evaluate("document.title").await, "Ann", "the start page");
    drop(page);
    holds(&server, &id, &sites, "from the start").await;
    crash(&server, &id).await;
    holds(&server, &id, &sites, "after a crash").await;

    server.signal(Signal::KILL);
    server.ended().await;
    server.serve().await;
    server.client.once(&id, "running").await;
    holds(&server, &id, &sites, "under the next server").await;
    crash(&server, &id).await;
    holds(&server, &id, &sites, "after a crash under the next server").await;

    // A page of another origin gets none of the same issuer: Chromium asks a person.
    let mut page = Page::of(&server.client, &id).await;
    page.evaluate(&format!("void (location.href = '{}')", sites.unnamed.url)).await;
    eventually("the other origin is asked", async || (sites.unnamed.begun() > 0).then_some(()))
        .await;
    assert_eq!(sites.unnamed.established(), Vec::<Option<Vec<u8>>>::new());
    drop(page);

    // The files for the tools are gone, and the database is in the browser's home alone.
    let programs = server.programs(&id);
    assert!(programs.join("home/.pki/nssdb/key4.db").exists());
    for file in ["client.p12", "client.password"] {
        assert!(!programs.join("keys").join(file).exists(), "{file}");
    }
    let mut found = Vec::new();
    for folder in ["d", "p"] {
        with_one_of(&server.directory.join(folder), &secrets(), &mut found);
    }
    assert_eq!(found, Vec::<String>::new());
    assert!(!secrets().iter().any(|secret| server.log().contains(secret)));

    let profile = session["browser_profile_id"].as_str().unwrap().to_owned();
    server.client.close(&id).await.ok();
    assert!(!programs.exists(), "the programs' directory stays");

    // The next session of the profile has no certificate.
    let asked =
        json!({ "browser_profile_id": profile, "settings": { "ca_certificates": [AUTHORITY] } });
    let next = id_of(&server.client.session_of(asked).await);
    let keys = server.programs(&next).join("home/.pki/nssdb/key4.db");
    assert!(!keys.exists() || fs::metadata(&keys).unwrap().len() > 0);
    let before = sites.anns.established().len();
    let mut page = Page::of(&server.client, &next).await;
    let mut error = error_of(&mut page, &sites.anns.url).await;
    for _ in 0..9 {
        // The site has closed the connection before the browser read why.
        if error != "net::ERR_SOCKET_NOT_CONNECTED" {
            break;
        }
        error = error_of(&mut page, &sites.anns.url).await;
    }
    assert_eq!(error, "net::ERR_BAD_SSL_CLIENT_AUTH_CERT");
    assert_eq!(sites.anns.established().len(), before);
    drop(page);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_origin_gets_its_certificate_after_a_crash_and_under_the_next_server() {
    certificates_hold(Setup::real()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_origin_gets_its_certificate_for_an_ordinary_user() {
    certificates_hold(Setup::real().ordinary()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sanitized_session_keeps_its_certificates() {
    let sites = Sites::start().await;
    let server = Setup::real().start().await;
    let id = id_of(&server.client.session_of(json!({ "settings": sites.settings() })).await);
    holds(&server, &id, &sites, "from the start").await;
    server.client.post(&format!("/v1/browser_sessions/{id}/sanitize"), json!({})).await.ok();
    server.client.once(&id, "running").await;
    holds(&server, &id, &sites, "for the next occupant").await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_tools_a_session_with_certificates_does_not_start() {
    let setup = Setup::real().set("desktop.path", "/nonexistent");
    let server = setup.set("desktop.xvfb", "/usr/bin/Xvfb").start().await;
    let settings = json!({ "client_certificates": [
        { "origin": "https://a.example", "cert_pem": BOB, "key_pem": BOB_KEY },
    ]});
    let failed = server.client.ask_for_session(json!({ "settings": settings })).await;
    let failed = failed.problem(424, "client_certificates_unavailable");
    assert!(failed.to_string().contains("libnss3-tools"), "{failed:#}");
    server.stop().await;
}
