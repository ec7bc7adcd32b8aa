//! Files that a person gives to a page of a real browser, and the path of an upload for a driver.

use reqwest::Method;
use serde_json::{Value, json};

use super::Site;
use super::adoption::Page;
use crate::support::channel::Channel;
use crate::support::client::id_of;
use crate::support::{Client, Setup, eventually};

/// A page that writes into `taken` what it gets by which way.
const PAGE: &str = "
    document.body.innerHTML = `
        <div id=zone style='position:absolute;left:0;top:0;width:200px;height:60px'>zone</div>
        <label style='position:absolute;left:0;top:80px;width:200px;height:40px'>label
            <input id=hidden type=file multiple hidden></label>
        <input id=own type=file style='position:absolute;left:0;top:140px'>
        <button id=ask onclick='own.click()'
            style='position:absolute;left:0;top:200px;width:200px;height:40px'>ask</button>`;
    window.taken = [];
    const note = async (way, files) => {
        for (const file of files) taken.push(`${way} ${file.name} ${await file.text()}`);
    };
    zone.ondragover = (event) => event.preventDefault();
    zone.ondrop = (event) => { event.preventDefault(); note('zone', event.dataTransfer.files); };
    for (const input of [own, hidden]) input.onchange = () => note(input.id, input.files);
    outerHeight - innerHeight";

async fn upload(client: &Client, id: &str, name: &str) -> Value {
    let path = format!("/v1/browser_sessions/{id}/files?name={name}");
    client.send(Method::POST, &path, Some(json!(name))).await.ok()
}

/// The files that the page has read, when there are as many as expected.
async fn taken(page: &mut Page, count: usize) -> Value {
    let page = tokio::sync::Mutex::new(page);
    let script = format!("taken.length < {count} ? [] : taken.splice(0)");
    eventually("the page has the files", async || {
        let taken = page.lock().await.evaluate(&script).await;
        (taken != json!([])).then_some(taken)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_in_control_gives_files_to_a_page_and_a_driver_by_their_path() {
    let site = Site::start().await;
    let server = Setup::real().start().await;
    let client = &server.client;
    let url = site.page("click.html");
    let id = id_of(&client.session_of(json!({ "start_url": url })).await);
    let mut page = Page::of(client, &id).await;
    page.loaded(&url).await;
    let above = page.evaluate(PAGE).await.as_f64().unwrap();
    let first = upload(client, &id, "a.txt").await;
    upload(client, &id, "b.txt").await;

    // A driver gives an upload by its path, as `set_input_files` does.
    let found = "document.querySelector('#own')";
    let object = page.call("Runtime.evaluate", json!({ "expression": found })).await;
    let object = &object["result"]["objectId"];
    let set = json!({ "objectId": object, "files": [first["path"]] });
    page.call("DOM.setFileInputFiles", set).await;
    assert_eq!(taken(&mut page, 1).await, json!(["own a.txt a.txt"]));
    // No other file of the machine.
    let set = json!({ "objectId": object, "files": ["/etc/hostname"] });
    page.call("DOM.setFileInputFiles", set).await;
    assert_eq!(page.evaluate("taken.length").await, 0);

    let mut channel = Channel::of(client, &id, "tab").await;
    let give = |names: &[&str], y: f64| {
        let y = above + y;
        json!({ "kind": "give-files", "names": names, "x": 50, "y": y, "in": "display" })
    };
    channel.say(give(&["a.txt"], 30.0)).await;
    let refused = channel.hears(|said| said["kind"] == "error").await;
    assert_eq!(refused["failed_kind"], "give-files");
    channel.take_control().await;
    channel.say(give(&["../profile/Local State"], 30.0)).await;
    let unknown = channel.hears(|said| said["kind"] == "error").await;
    assert!(unknown["message"].as_str().unwrap().contains("uploads"), "{unknown}");
    for (names, y, way, expected) in [
        (vec!["a.txt", "b.txt"], 30.0, "page", json!(["zone a.txt a.txt", "zone b.txt b.txt"])),
        (
            vec!["a.txt", "b.txt"],
            100.0,
            "input",
            json!(["hidden a.txt a.txt", "hidden b.txt b.txt"]),
        ),
        (vec!["b.txt"], 150.0, "input", json!(["own b.txt b.txt"])),
    ] {
        channel.say(give(&names, y)).await;
        let given = channel.hears(|said| said["kind"] == "files-given").await;
        assert_eq!((&given["to"], &given["names"]), (&json!(way), &json!(names)));
        let count = expected.as_array().unwrap().len();
        assert_eq!(taken(&mut page, count).await, expected);
    }
    // Over an element that takes no files, the browser would open them.
    channel.say(give(&["a.txt"], 400.0)).await;
    channel.hears(|said| said["failed_kind"] == "give-files").await;
    assert_eq!(page.evaluate("location.href").await, url);

    // The page opens a file chooser by a click of the person.
    channel.say(json!({ "kind": "handle-file-choosers" })).await;
    let who = format!("apikey={}&client_id=tab", client.key());
    let path = format!("/v1/stream/cdp_input/browser_session/{id}?{who}");
    let mut input = Channel::open(client, &path).await;
    input.hears(|said| said["kind"] == "ready").await;
    channel.hears(|said| said["kind"] == "file-chooser" && said["open"] == false).await;
    for kind in ["mousePressed", "mouseReleased"] {
        let click = json!({
            "type": "mouseEvent", "eventType": kind, "x": 50, "y": 220, "button": "left",
            "clickCount": 1, "modifiers": 0,
        });
        input.say(click).await;
    }
    let chooser = channel.hears(|said| said["kind"] == "file-chooser").await;
    assert_eq!((&chooser["open"], &chooser["multiple"]), (&json!(true), &json!(false)));
    channel.say(json!({ "kind": "give-files", "names": ["a.txt", "b.txt"] })).await;
    channel.hears(|said| said["message"] == "the page asks for one file").await;
    channel.say(json!({ "kind": "give-files", "names": ["a.txt"] })).await;
    let given = channel.hears(|said| said["kind"] == "files-given").await;
    assert_eq!(given["to"], "chooser");
    assert_eq!(taken(&mut page, 1).await, json!(["own a.txt a.txt"]));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_is_reported_when_it_begins_and_listed_with_its_artifact() {
    let site = Site::start().await;
    let server = Setup::real().start().await;
    let client = &server.client;
    let url = site.page("click.html");
    let id = id_of(&client.session_of(json!({ "start_url": url })).await);
    let mut page = Page::of(client, &id).await;
    page.loaded(&url).await;
    page.evaluate(
        "const a = document.createElement('a'); a.download = 'a b.csv'; \
         a.href = URL.createObjectURL(new Blob(['1,2'])); a.click()",
    )
    .await;
    let path = format!("/v1/browser_sessions/{id}/files");
    let file = eventually("the download is stored", async || {
        let listed = client.get(&path).await.ok();
        listed[0]["artifact_id"].is_string().then(|| listed[0].clone())
    })
    .await;
    assert_eq!((&file["name"], &file["file_size"]), (&json!("a b.csv"), &json!(3)));
    let events = eventually("both events are stored", async || {
        let events = client.events(&format!("/v1/browser_sessions/{id}/events")).await;
        let events = events["events"].as_array().unwrap_or(&Vec::new()).clone();
        let of = |kind: &str| events.iter().find(|it| it["kind"] == kind).cloned();
        Some((of("session.download_started")?, of("session.download")?))
    })
    .await;
    let (started, ended) = events;
    assert_eq!(started["data"]["filename"], "a b.csv");
    assert_eq!(started["data"]["origin"], url.trim_end_matches("/click.html"));
    assert_eq!(started["data"]["file_size"], 3);
    assert_eq!(ended["data"]["artifact"], file["artifact_id"]);
    server.stop().await;
}
