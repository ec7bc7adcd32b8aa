//! The end of a driver's lease: lost and remaining state; and the driver's rights while a person has control.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use super::automation::{client_script, drive};
use super::{Site, installed};
use crate::support::channel::Channel;
use crate::support::client::{Lease, id_of};
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

    // The next driver finds the page of the former.
    let next = drive(client, &id, "playwright_typed.py", &[]).await;
    assert_eq!(next, json!({"url": site.page("products.html"), "typed": "lamp"}));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_playwright_does_while_a_person_has_control_waits_is_refused_or_shared() {
    let site = Site::start().await;
    let server = Setup::real().start().await;
    let client = &server.client;
    for rule in ["hold", "refuse", "share"] {
        let id = id_of(&client.session_of(json!({ "on_takeover": rule })).await);
        let begun = client.begin(&id, "ann", 60).await.ok();
        let mut command = Command::new(installed(".venv/bin/python"));
        command.arg(client_script("playwright_click.py"));
        command.args([begun["browser_address"].as_str().unwrap(), &site.url]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut driver = command.spawn().unwrap();
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let mut said = async || -> Value {
            let line = timeout(PATIENCE, lines.next_line()).await.expect("it says nothing");
            serde_json::from_str(&line.unwrap().expect("it has ended")).unwrap()
        };
        assert_eq!(said().await, json!({ "ready": true }));

        let mut channel = Channel::of(client, &id, "tab").await;
        channel.take_control().await;
        driver.stdin.take().unwrap().write_all(b"click\n").await.unwrap();
        match rule {
            "hold" => {
                // Reading continues; the click waits for the end of the person's control.
                assert_eq!(said().await, json!({ "waits": true, "clicks": 0 }));
                channel.say(json!({ "kind": "cede-control" })).await;
                assert_eq!(said().await, json!({ "clicks": 1 }));
            }
            "refuse" => {
                assert_eq!(said().await, json!({ "waits": false, "clicks": 0 }));
                let error = said().await["error"].to_string();
                assert!(error.contains("a person has control of this session"), "{error}");
            }
            _share => {
                assert_eq!(said().await, json!({ "waits": false, "clicks": 1 }));
                assert_eq!(said().await, json!({ "clicks": 1 }));
            }
        }
        assert!(driver.wait().await.unwrap().success());
        client.release(&id, &Lease::of(&begun)).await.ok();
    }
    server.stop().await;
}
