//! Common automation libraries with a session's `browser_address`.

use std::path::PathBuf;

use serde_json::{Value, json};
use tokio::process::Command;

use super::{Site, installed, root, run};
use crate::support::client::{Lease, id_of};
use crate::support::{Client, Setup};

pub fn client_script(name: &str) -> PathBuf {
    root().join("tests/clients").join(name)
}

/// Runs a client's script in a session: it begins, drives and releases.
pub async fn drive(client: &Client, id: &str, script: &str, arguments: &[&str]) -> Value {
    let begun = client.begin(id, script, 120).await.ok();
    let address = begun["browser_address"].as_str().unwrap();
    let mut command = if script.ends_with(".py") {
        Command::new(installed(".venv/bin/python"))
    } else {
        installed("web/node_modules/playwright-core");
        Command::new("node")
    };
    command.arg(client_script(script)).arg(address).arg(client.key()).args(arguments);
    let printed = run(&mut command).await;
    client.release(id, &Lease::of(&begun)).await.ok();
    serde_json::from_str(&printed).unwrap_or_else(|_| panic!("no JSON: {printed}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn playwright_drives_a_session_and_logins_survive_between_two_runs() {
    let site = Site::start().await;
    let server = Setup::real().start().await;
    let client = &server.client;
    let id = client.session_id().await;

    let first = drive(client, &id, "playwright_sign_in.py", &[&site.url]).await;
    assert_eq!(first["who"], "Signed in as Ann");
    let kept = drive(client, &id, "playwright_read.py", &[&site.url]).await;
    assert_eq!(kept["who"], "Signed in as Ann");
    assert_eq!(kept["cookie"], first["cookie"]);
    assert_eq!(kept["storage"], first["storage"]);
    assert!(kept["storage"].as_object().is_some_and(|items| !items.is_empty()), "{kept:#}");

    // The same session through another library.
    let node = drive(client, &id, "playwright.mjs", &[&site.url]).await;
    assert_eq!(node["who"], "Signed in as Ann");
    assert_eq!(node["products"], 3);

    // Another session is unaffected.
    let other = client.session_id().await;
    let fresh = drive(client, &other, "playwright_read.py", &[&site.url]).await;
    assert_eq!((&fresh["cookie"], &fresh["storage"]), (&json!(""), &json!({})));
    assert_eq!(client.look(&id).await["status"], "running", "closing the client left it alone");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_devtools_client_without_the_key_is_refused() {
    let server = Setup::real().start().await;
    let session = server.client.session().await;
    let id = id_of(&session);
    let address = session["browser_address"].as_str().unwrap();
    for url in [address.to_owned(), format!("{address}?apikey=wrong")] {
        let refused = tokio_tungstenite::connect_async(url).await.unwrap_err();
        let tokio_tungstenite::tungstenite::Error::Http(answer) = refused else {
            panic!("{refused}")
        };
        assert_eq!(answer.status(), 403);
    }
    let other = server.another_organization().await;
    let url = format!("{address}?apikey={}", other.key());
    let refused = tokio_tungstenite::connect_async(url).await.unwrap_err();
    assert!(refused.to_string().contains("404"), "{refused}");
    server.client.close(&id).await.ok();
    server.stop().await;
}
