//! Downloads of real browsers, by drivers, people and blocks: they are listed, served and stored.

use serde_json::{Value, json};

use super::Site;
use super::adoption::Page;
use super::blocks::{ended, setup, start, store};
use crate::support::client::id_of;
use crate::support::{Client, eventually};

/// Makes the page download files of these names, one after the other.
fn download(names: &[&str]) -> String {
    format!(
        "{names:?}.forEach((name, place) => setTimeout(() => {{ \
           const a = document.createElement('a'); a.download = name; \
           a.href = 'data:text/csv,' + name; a.click(); }}, place * 250)); 1"
    )
}

/// The names of the files of a session or a run. Asserts that each URL works without a key.
async fn names(client: &Client, of: &Value) -> Vec<String> {
    let stranger = Client::new(&client.base, None);
    let mut names = Vec::new();
    for file in of["downloaded_files"].as_array().unwrap() {
        let path = file["url"].as_str().unwrap().strip_prefix(&client.base).unwrap();
        let content = stranger.get(path).await;
        assert_eq!(content.status, 200, "{file:#}");
        assert_eq!(json!(content.bytes.len()), file["file_size"], "{file:#}");
        let checksum = greenroom::domain::checksum::Checksum::of(&content.bytes);
        assert_eq!(json!(checksum), file["checksum"], "{file:#}");
        assert_eq!(content.headers["content-type"], "text/csv");
        names.push(file["filename"].as_str().unwrap().to_owned());
    }
    names.sort_unstable();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_driver_or_a_person_downloads_is_listed_and_outlives_the_session() {
    let site = Site::start().await;
    let server = setup().start().await;
    let client = &server.client;
    let url = site.page("click.html");
    let id = id_of(&client.session_of(json!({ "start_url": url })).await);
    let mut page = Page::of(client, &id).await;
    page.loaded(&url).await;
    let long = format!("{}.csv", "x".repeat(230));
    assert_eq!(page.evaluate(&download(&["a b.csv", "..%2fc.csv", &long])).await, 1);
    let session = eventually("three files are listed", async || {
        let session = client.look(&id).await;
        (session["downloaded_files"].as_array().unwrap().len() == 3).then_some(session)
    })
    .await;
    let listed = names(client, &session).await;
    assert_eq!(listed.iter().filter(|name| name.ends_with(".csv")).count(), 3, "{listed:?}");
    assert!(listed.contains(&"a b.csv".to_owned()), "{listed:?}");

    // A ticket can read the session, without links that would outlive the ticket.
    let viewers = format!("/v1/browser_sessions/{id}/viewers");
    let ticket = client.post(&viewers, json!({ "role": "control" })).await.ok();
    let stranger = Client::new(&client.base, None);
    let ticket = ticket["ticket"].as_str().unwrap();
    let path = format!("/v1/browser_sessions/{id}?ticket={ticket}");
    let seen = stranger.get(&path).await.ok();
    assert_eq!(seen["downloaded_files"], json!([]));
    assert!(!seen.to_string().contains("signature="), "{seen:#}");

    let events = client.events(&format!("/v1/browser_sessions/{id}/events")).await;
    let told = events.to_string().matches("session.download").count();
    assert!(told >= 3, "{events:#}");

    let folder = server.programs(&id);
    assert!(folder.join("downloads").exists());
    client.close(&id).await.ok();
    assert!(!folder.exists(), "the files are artifacts: nothing stays beside them");
    assert_eq!(names(client, &client.look(&id).await).await, listed);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_blocks_of_a_run_download_is_listed_with_the_run_and_once() {
    let site = Site::start().await;
    let server = setup().start().await;
    let client = &server.client;
    let press = |name: &str| {
        format!(
            "document.body.innerHTML = `<button id=b onclick=\"{}\">x</button>`",
            download(&[name]).replace('"', "'")
        )
    };
    let three = format!(
        "document.body.innerHTML = `<button id=b onclick=\"{}\">x</button>`",
        download(&["1.csv", "2.csv", "3.csv"]).replace('"', "'")
    );
    let code = "async with page.expect_download() as coming:\n    await page.click('#b')\n\
                coming = await coming.value\nawait coming.save_as(str(coming.suggested_filename))\n\
                import os\nreturn os.path.getsize('code.csv')";
    let blocks = json!([
        { "block_type": "goto_url", "label": "open", "url": site.page("click.html") },
        { "block_type": "script", "label": "s1", "script": press("click.csv") },
        { "block_type": "click", "label": "c", "selector": "#b" },
        { "block_type": "script", "label": "s2", "script": press("code.csv") },
        { "block_type": "code", "label": "p", "code": code },
        { "block_type": "script", "label": "s3", "script": three },
        { "block_type": "file_download", "label": "d", "selector": "#b" },
    ]);
    let workflow = store(client, json!({ "blocks": blocks })).await;
    let run = start(client, &workflow, json!({})).await;
    let run = ended(client, &run).await;
    assert_eq!(run["status"], "completed", "{run:#}");
    let expected = ["1.csv", "2.csv", "3.csv", "click.csv", "code.csv"];
    assert_eq!(names(client, &run).await, expected);
    let block = &run["output"]["d_output"];
    assert_eq!(block["downloaded_files"].as_array().unwrap().len(), 3, "{block:#}");
    let session = client.look(run["browser_session_id"].as_str().unwrap()).await;
    assert_eq!(names(client, &session).await, expected);
    server.stop().await;
}
