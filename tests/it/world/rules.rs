//! Restrictions of drivers, with real clients and the real browser.

use std::collections::BTreeSet;
use std::fs;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::process::Command;

use super::Site;
use super::adoption::Page;
use super::automation::drive;
use crate::support::client::id_of;
use crate::support::viewer::Viewer;
use crate::support::{Setup, eventually};

/// The table of the proxy.
const TABLE: &str = include_str!("../../../src/live/devtools/commands.txt");

#[tokio::test(flavor = "multi_thread")]
async fn playwright_has_files_and_pages_and_nothing_of_the_machine() {
    let site = Site::start().await;
    let server = Setup::real().start().await;
    let client = &server.client;
    let id = client.session_id().await;
    let result = drive(client, &id, "playwright_rules.mjs", &[&site.url]).await;
    for (key, expected) in [
        ("saved", "Row 7, seat 12\n"),
        ("name", "ticket.txt"),
        ("buffer", "plan.txt 5 hello"),
        ("large", "large.bin 2097152 xxxxx"),
        ("context", "Order · Footlights"),
    ] {
        assert_eq!(result[key], expected, "{key}: {result:#}");
    }
    assert!(result["path"].as_str().unwrap().ends_with("15 Row 7"), "{result:#}");
    for (key, setting) in [
        ("host", "DOM.setFileInputFiles"),
        ("goto", "Page.navigate"),
        ("source", "Page.navigate"),
        ("settings", "Page.navigate"),
        ("sandbox", "Page.navigate"),
        ("newtab", "Target.createTarget"),
        ("unlisted", "Nobody.knows"),
        ("tab", "Target.createTarget"),
        ("proxy", "Target.createBrowserContext"),
        ("info", "SystemInfo.getInfo"),
    ] {
        let said = result[key].as_str().unwrap();
        let names = format!("isolation.devtools_allow = [\"{setting}\"]");
        assert!(said.contains(&names), "{key}: {said}");
    }
    assert_ne!(result["forwarded"], "passed", "{result:#}");
    let listed = eventually("both downloads are listed", async || {
        let session = client.look(&id).await;
        let files = session["downloaded_files"].as_array().unwrap().clone();
        (files.len() == 2).then_some(files)
    })
    .await;
    let names: BTreeSet<_> = listed.iter().map(|file| file["filename"].as_str().unwrap()).collect();
    assert_eq!(names, BTreeSet::from(["programme.csv", "ticket.txt"]));
    client.close(&id).await.ok();
    server.stop().await;
}

/// From the browser's page for new tabs, a script could open the settings.
#[tokio::test(flavor = "multi_thread")]
async fn a_tab_that_a_person_opens_is_blank() {
    let site = Site::start().await;
    let server = Setup::real().start().await;
    let client = &server.client;
    let url = site.page("login.html");
    let id = id_of(&client.session_of(json!({ "start_url": url.clone() })).await);
    Page::of(client, &id).await.loaded(&url).await;
    let mut viewer = Viewer::of(client, &id).await;
    viewer.press_with_control('t').await;
    let is_new = |target: &Value| {
        target["type"] == "page" && target["url"].as_str().is_some_and(|it| it.contains("newtab"))
    };
    let mut page =
        eventually("the tab is open", async || Page::find(client, &id, is_new).await).await;
    page.loaded("about:blank").await;
    client.close(&id).await.ok();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_the_installed_chromium_is_in_the_table() {
    let profile = std::env::temp_dir().join(format!("commands-{}", std::process::id()));
    fs::create_dir_all(&profile).unwrap();
    let mut chromium = Command::new("chromium");
    chromium
        .args(["--headless", "--no-sandbox", "--remote-debugging-port=0", "about:blank"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let mut chromium = chromium.spawn().unwrap();
    let port = eventually("DevTools listens", async || {
        let text = fs::read_to_string(profile.join("DevToolsActivePort")).ok()?;
        text.lines().next()?.parse::<u16>().ok()
    })
    .await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let protocol = http.get(format!("http://127.0.0.1:{port}/json/protocol")).send().await.unwrap();
    let protocol: Value = serde_json::from_slice(&protocol.bytes().await.unwrap()).unwrap();
    chromium.kill().await.unwrap();
    // Its other processes end a moment later, and write until then.
    eventually("the profile is removed", async || fs::remove_dir_all(&profile).ok()).await;

    let listed: BTreeSet<&str> = TABLE.lines().filter_map(|line| line.split(' ').next()).collect();
    let mut unlisted = Vec::new();
    for domain in protocol["domains"].as_array().unwrap() {
        for command in domain["commands"].as_array().into_iter().flatten() {
            let [domain, command] =
                [&domain["domain"], &command["name"]].map(|it| it.as_str().unwrap());
            let name = format!("{domain}.{command}");
            if !listed.contains(name.as_str()) {
                unlisted.push(name);
            }
        }
    }
    assert!(unlisted.is_empty(), "decide about these in commands.txt: {unlisted:?}");
}
