//! What a driver that came by its lease loses with it, and what stays.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use super::automation::{client_script, drive};
use super::{Site, installed};
use crate::support::client::Lease;
use crate::support::{PATIENCE, Setup};

#[tokio::test(flavor = "multi_thread")]
async fn playwright_is_cut_off_when_its_lease_ends_and_the_browser_stays_as_it_was() {
    let site = Site::start().await;
    let server = Setup::real().start().await;
    let client = &server.client;
    let id = client.session_id().await;
    let begun = client.begin(&id, "ann", 60).await.ok();

    let mut command = Command::new(installed(".venv/bin/python"));
    command.arg(client_script("playwright_hold.py"));
    command.args([begun["browser_address"].as_str().unwrap(), &site.url]);
    let mut driver =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
    let mut said = async || -> Value {
        let line = timeout(PATIENCE, lines.next_line()).await.expect("it says nothing").unwrap();
        serde_json::from_str(&line.expect("it has ended")).unwrap()
    };
    assert_eq!(said().await, json!({"typed": "lamp"}));

    client.release(&id, &Lease::of(&begun)).await.ok();
    let cut = said().await;
    assert_eq!(cut["connected"], false, "{cut}");
    assert!(driver.wait().await.unwrap().success());

    // The page that it left is there for the next one.
    let next = drive(client, &id, "playwright_typed.py", &[]).await;
    assert_eq!(next, json!({"url": site.page("products.html"), "typed": "lamp"}));
    server.stop().await;
}
