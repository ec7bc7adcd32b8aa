//! Streams without VNC, viewers without control, and a person who takes control during a run.

use std::cell::Cell;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::Site;
use crate::support::channel::Channel;
use crate::support::client::{Client, id_of};
use crate::support::viewer::{Viewer, refusal, screenshot_share, screenshot_shows};
use crate::support::{PATIENCE, Setup, TestServer, eventually};

const DARK: [u8; 3] = [0x10, 0x18, 0x28];
const RED: [u8; 3] = [0xff, 0, 0];
/// The interval in which keys are pressed until the page has taken them.
const PRESS_EVERY: std::time::Duration = std::time::Duration::from_secs(5);

/// A session of 800 x 600 with a page of the sample site.
async fn showing(client: &Client, site: &Site, page: &str) -> String {
    let body = json!({ "width": 800, "height": 600, "start_url": site.page(page) });
    id_of(&client.session_of(body).await)
}

/// A picture of the stream.
fn jpeg(frame: &Value) -> Vec<u8> {
    STANDARD.decode(frame["screenshot"].as_str().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_screencast_shows_the_page_and_input_over_devtools_takes_control() {
    let site = Site::start().await;
    let server = Setup::real().start().await;
    let client = &server.client;
    let id = showing(client, &site, "click.html").await;
    screenshot_shows(client, &id, DARK).await;

    let key = client.key();
    let of_page = format!("/v1/stream/browser_sessions/{id}?apikey={key}");
    let by_vnc = client.socket_url(&of_page);
    assert_eq!(refusal(&by_vnc).await, 4001, "a client that can use VNC is informed");
    let mut cast = Channel::open(client, &format!("{of_page}&force_cdp=true")).await;
    let word = cast.next().await.unwrap();
    assert_eq!(word, json!({ "browser_session_id": id, "status": "running" }));
    let frame = cast.hears(|frame| frame["screenshot"].is_string()).await;
    assert_eq!((&frame["browser_session_id"], &frame["format"]), (&json!(id), &json!("jpeg")));
    assert_eq!(frame["url"], site.page("click.html"));
    assert_eq!(jpeg(&frame)[..3], [0xff, 0xd8, 0xff]);
    let (width, height) = (&frame["viewport_width"], &frame["viewport_height"]);
    assert!(width.as_u64().is_some_and(|it| (600..=800).contains(&it)), "{width}");
    assert!(height.as_u64().is_some_and(|it| (300..600).contains(&it)), "{height}");

    let input = |who: &str| format!("/v1/stream/cdp_input/browser_session/{id}?{who}");
    let mut driver = Channel::open(client, &input(&format!("apikey={key}&client_id=tab"))).await;
    assert_eq!(driver.next().await, Ok(json!({ "kind": "ready" })));
    let click = |kind: &str, x: u16| {
        let event = format!("mouse{kind}");
        json!({
            "type": "mouseEvent", "eventType": event, "x": x, "y": 100, "button": "left",
            "clickCount": 1, "modifiers": 0,
        })
    };
    // Without control it is ignored silently; the next answer proves that it was read.
    for event in [click("Pressed", 100), click("Released", 100)] {
        driver.say(event).await;
    }
    driver.say(json!({ "kind": "take-control" })).await;
    for event in [click("Pressed", 300), click("Released", 300)] {
        driver.say(event).await;
    }
    let square = 80.0 * 80.0 / (800.0 * 600.0);
    eventually("one square", async || {
        let red = screenshot_share(client, &id, RED).await;
        (red > square * 0.9 && red < square * 1.1).then_some(())
    })
    .await;
    assert_eq!(client.look(&id).await["control"]["by"], "user");
    assert!(screenshot_share(client, &id, [0, 0xff, 0]).await < square / 2.0, "a second click");

    driver.say(json!({ "type": "navigateEvent", "url": "file:///etc/passwd" })).await;
    let refused = json!({ "kind": "navigate-error", "reason": "invalid_url" });
    assert_eq!(driver.next().await, Ok(refused));
    driver.say(json!({ "type": "navigateEvent", "url": site.page("colour.html?c=0000ff") })).await;
    screenshot_shows(client, &id, [0, 0, 0xff]).await;
    cast.hears(|frame| frame["url"] == site.page("colour.html?c=0000ff")).await;

    // Another page of the same person does not share its control.
    let mut other = Channel::open(client, &input(&format!("apikey={key}&client_id=other"))).await;
    other.hears(|message| message["kind"] == "ready").await;
    other.say(json!({ "kind": "take-control" })).await;
    let refused = other.next().await.unwrap();
    assert_eq!(refused["failed_kind"], "take-control", "{refused}");

    for (who, code) in [("apikey=wrong&client_id=tab", 1002), (&format!("apikey={key}"), 1002)] {
        assert_eq!(refusal(&client.socket_url(&input(who))).await, code, "{who}");
    }
    client.close(&id).await.ok();
    let last = cast.hears(|frame| frame["status"] != "running").await;
    assert_eq!(last["status"], "completed");
    assert_eq!(cast.closed().await, 1000);
    assert_eq!(driver.closed().await, 1000);
    let ended = client.socket_url(&input(&format!("apikey={key}&client_id=tab")));
    assert_eq!(refusal(&ended).await, 4404, "a session that has ended");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn viewers_come_back_when_the_vnc_server_is_killed() {
    let site = Site::start().await;
    let server = Setup::real().start().await;
    let client = &server.client;
    let id = showing(client, &site, "colour.html?c=0000ff").await;
    let mut before = Viewer::of(client, &id).await;
    before.sees([0, 0, 0xff]).await;
    TestServer::kill(server.program(&id, "x11vnc"));
    assert_eq!(before.closed().await, 1000, "the VNC server is gone, and the session is not");
    let mut after = Viewer::of(client, &id).await;
    after.sees([0, 0, 0xff]).await;
    assert_eq!(client.look(&id).await["status"], "running");
    let query = format!("/admin/messages?session={id}&kind=recovered");
    let recovered = server.operator().get(&query).await.ok()["messages"].clone();
    assert_eq!(recovered.as_array().unwrap().len(), 1, "{recovered:#}");
    assert_eq!(recovered[0]["summary"]["what"], "mended");
    assert!(recovered[0]["summary"]["cause"].as_str().unwrap().starts_with("vnc ended"));
    server.stop().await;
}

/// Messages with keys, clicks, QEMU's keys and a clipboard.
fn attack() -> Vec<u8> {
    let mut bytes = Vec::new();
    for down in [1, 0] {
        bytes.extend([&[4, down, 0, 0][..], &0x61_u32.to_be_bytes()].concat());
        bytes.extend(
            [&[255, 0, 0, down][..], &0x61_u32.to_be_bytes(), &30_u32.to_be_bytes()].concat(),
        );
        bytes.extend([5, down, 1, 0x90, 1, 0x2c]);
    }
    bytes.extend([&[6, 0, 0, 0][..], &5_u32.to_be_bytes(), b"pwned"].concat());
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_watch_only_viewer_sends_reaches_the_page_however_it_is_cut() {
    let site = Site::start().await;
    let server = Setup::real().start().await;
    let client = &server.client;
    let id = showing(client, &site, "touched.html").await;
    screenshot_shows(client, &id, DARK).await;
    let invite = json!({ "role": "watch", "label": "Guest" });
    let path = format!("/v1/browser_sessions/{id}/viewers");
    let ticket = client.post(&path, invite).await.ok()["ticket"].as_str().unwrap().to_owned();

    // As a page that can request control, and as a page that cannot.
    for query in [format!("ticket={ticket}&client_id=guest"), format!("ticket={ticket}")] {
        let url = client.socket_url(&format!("/v1/stream/vnc/browser_session/{id}?{query}"));
        let mut guest = Viewer::at(&url).await;
        guest.sees(DARK).await;
        guest.send(&attack().repeat(20)).await;
        for byte in attack() {
            guest.send(&[byte]).await;
        }
        for pair in attack().chunks(7) {
            guest.send(pair).await;
        }
        // All of it was read: the picture that is requested after it arrives.
        guest.look().await;
        guest.sees(DARK).await;
    }
    let channel =
        format!("/v1/stream/messages/browser_session/{id}?ticket={ticket}&client_id=guest");
    let mut guest = Channel::open(client, &channel).await;
    for message in [
        json!({ "kind": "take-control" }),
        json!({ "kind": "clipboard-paste", "text": "pwned" }),
        json!({ "kind": "navigate", "url": site.page("colour.html?c=ff0000") }),
        json!({ "kind": "reload" }),
    ] {
        guest.say(message.clone()).await;
        let refused = guest.hears(|said| said["kind"] == "error").await;
        assert_eq!(refused["failed_kind"], message["kind"]);
    }
    let input =
        format!("/v1/stream/cdp_input/browser_session/{id}?ticket={ticket}&client_id=guest");
    let mut guest = Channel::open(client, &input).await;
    guest.hears(|message| message["kind"] == "ready").await;
    for event in [
        json!({ "kind": "take-control" }),
        json!({ "type": "keyEvent", "eventType": "keyDown", "key": "a", "code": "KeyA", "text": "a" }),
        json!({ "type": "mouseEvent", "eventType": "mousePressed", "x": 9, "y": 9, "button": "left" }),
        json!({ "type": "reloadEvent" }),
        json!({ "kind": "take-control" }),
    ] {
        guest.say(event).await;
    }
    for _ in 0..2 {
        assert_eq!(guest.next().await.unwrap()["failed_kind"], "take-control");
    }
    assert_eq!(client.look(&id).await["control"]["by"], "agent");
    assert!(screenshot_share(client, &id, RED).await < 0.01, "something has reached the page");

    // The page would have reported keys: a single key of a viewer in control is enough.
    let mut owner = Viewer::of(client, &id).await;
    owner.press(0x61).await;
    screenshot_shows(client, &id, RED).await;
    server.stop().await;
}

/// Requests the selection until it is `text`: the browser handles key presses one by one.
async fn selects(channel: &mut Channel, viewer: &mut Viewer, text: &str) {
    let answers =
        |said: &Value| said["kind"] == "copied-text" || said["failed_kind"] == "clipboard-copy";
    let selecting = async {
        loop {
            viewer.press_with_control('a').await;
            channel.say(json!({ "kind": "clipboard-copy" })).await;
            if channel.hears(answers).await["text"] == text {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, selecting).await.expect("the text is selected");
}

#[tokio::test(flavor = "multi_thread")]
async fn text_in_any_script_is_copied_and_pasted_once() {
    let site = Site::start().await;
    let server = Setup::real().start().await;
    let client = &server.client;
    let id = showing(client, &site, "write.html").await;
    let mut channel = Channel::of(client, &id, "tab").await;
    channel.take_control().await;
    channel.hears(|said| said["tabs"][0]["title"] == "Write now").await;
    let text = "Grüße 世界";
    channel.say(json!({ "kind": "clipboard-paste", "text": text })).await;
    let mut viewer = Viewer::of_page(client, &id, "tab").await;
    selects(&mut channel, &mut viewer, text).await;
    // A viewer without control does not receive copied text.
    let mut listener = Channel::of(client, &id, "guest").await;
    viewer.press_with_control('c').await;
    // The page also receives its own text, in any order.
    let (told, done) = (Cell::new(false), Cell::new(false));
    channel
        .hears(|said| {
            told.set(told.get() || said["text"] == text);
            done.set(done.get() || said["tabs"][0]["title"] == "Copied");
            told.get() && done.get()
        })
        .await;

    // It replaces the selection once, without the text that the browser has copied.
    viewer.press_with_control('v').await;
    channel.hears(|said| said["kind"] == "ask-for-clipboard").await;
    channel.say(json!({ "kind": "ask-for-clipboard-response", "text": "пароль" })).await;
    selects(&mut channel, &mut viewer, "пароль").await;

    // Without a text of the page, the browser pastes the text that was copied in it.
    viewer.press_with_control('v').await;
    channel.hears(|said| said["kind"] == "ask-for-clipboard").await;
    channel.say(json!({ "kind": "ask-for-clipboard-response", "text": "" })).await;
    selects(&mut channel, &mut viewer, text).await;

    // Also of the next browser.
    TestServer::kill(server.program(&id, "chromium"));
    let copying = async {
        loop {
            viewer.press(0x78).await;
            viewer.press_with_control('a').await;
            viewer.press_with_control('c').await;
            viewer.look().await;
        }
    };
    tokio::select! {
        () = copying => {}
        said = channel.hears(|said| said["kind"] == "copied-text") => assert_eq!(said["text"], "x"),
    }
    listener.say(json!({ "kind": "ping" })).await;
    let said = listener.hears(|said| matches!(said["kind"].as_str(), Some("copied-text" | "pong")));
    assert_eq!(said.await["kind"], "pong");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vnc_server_tells_what_is_copied_to_nobody_unless_it_is_to_tell_everybody() {
    let site = Site::start().await;
    // x11vnc reads the clipboard only after 15 s with a viewer, and not under load.
    let setup = |tells| {
        Setup::real()
            .set("desktop.vnc_server", "tigervnc")
            .set("desktop.vnc_sends_clipboard", tells)
    };
    let servers = ["false", "true"].map(setup);
    let mut watched = Vec::new();
    for setup in servers {
        let server = setup.start().await;
        let id = showing(&server.client, &site, "write.html").await;
        let watcher = Viewer::of(&server.client, &id).await;
        let mut typist = Viewer::of(&server.client, &id).await;
        // Keys that are pressed before the page takes them are lost, and too many at once hang a browser.
        let mut page = Channel::of(&server.client, &id, "listener").await;
        page.hears(|said| said["tabs"][0]["title"] == "Write now").await;
        let copies = page.hears(|said| said["tabs"][0]["title"] == "Copied");
        tokio::pin!(copies);
        // A busy page may lose keys, so they are pressed again until the page has copied.
        loop {
            typist.press(0x61).await;
            typist.press_with_control('a').await;
            typist.press_with_control('c').await;
            if tokio::time::timeout(PRESS_EVERY, &mut copies).await.is_ok() {
                break;
            }
        }
        watched.push((server, watcher));
    }
    let [(_, deaf), (_, hearing)] = &mut watched[..] else { panic!("two servers") };
    let copied = async {
        while hearing.cut_texts == 0 {
            hearing.look().await;
        }
    };
    tokio::time::timeout(PATIENCE, copied).await.expect("a text that was copied");
    // The text of this one was copied earlier.
    deaf.look().await;
    assert_eq!(deaf.cut_texts, 0);
    for (server, _watcher) in watched {
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_click_that_waits_for_its_element_leaves_it_alone_while_a_person_has_control() {
    let site = Site::start().await;
    let server = Setup::real().start().await;
    let client = &server.client;
    let id = showing(client, &site, "index.html").await;
    let blocks = json!([
        { "block_type": "goto_url", "label": "open", "url": site.page("slow.html?ms=4000") },
        { "block_type": "click", "label": "late", "selector": "#ready", "timeout_seconds": 60 },
    ]);
    let workflow = client.workflow(blocks).await;
    let run = client.run(&workflow, json!({ "browser_session_id": id })).await;

    let mut channel = Channel::of(client, &id, "tab").await;
    channel.hears(|said| said["run"]["block"]["label"] == "late").await;
    channel.take_control().await;
    // The element appears while the person has control.
    channel.hears(|said| said["run"]["block"]["block_type"] == "takeover").await;

    channel.say(json!({ "kind": "cede-control" })).await;
    client.run_once(&run, "completed").await;
    let timeline = client.get(&format!("/v1/runs/{run}/timeline")).await.ok();
    assert!(timeline.to_string().contains("\"within\":\"late\""), "{timeline:#}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_that_is_over_while_a_person_has_control_begins_anew() {
    let site = Site::start().await;
    let server = Setup::real().set("workflow.allow_private_targets", "true").start().await;
    let client = &server.client;
    let id = showing(client, &site, "index.html").await;
    let blocks = json!([
        { "block_type": "goto_url", "label": "open", "url": site.page("index.html") },
        { "block_type": "wait_for", "label": "there", "url": "products", "timeout_seconds": 5 },
    ]);
    let workflow = client.workflow(blocks).await;
    let run = client.run(&workflow, json!({ "browser_session_id": id })).await;
    let mut channel = Channel::of(client, &id, "tab").await;
    channel.hears(|said| said["run"]["block"]["label"] == "there").await;
    channel.say(json!({ "kind": "take-control" })).await;
    // Its time has passed.
    channel.hears(|said| said["run"]["block"]["block_type"] == "takeover").await;
    let products = site.page("products.html");
    channel.say(json!({ "kind": "navigate", "url": products.clone() })).await;
    channel.hears(|said| said["tabs"][0]["url"] == products).await;
    channel.say(json!({ "kind": "cede-control" })).await;
    client.run_once(&run, "completed").await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clocks_of_code_stand_still_while_a_person_has_control() {
    let site = Site::start().await;
    let server = super::blocks::setup().start().await;
    let client = &server.client;
    let id = showing(client, &site, "index.html").await;
    // It has 5 s for the click, and the button appears after 9 s.
    let code = r##"
await page.evaluate("""() => {
    document.title = 'Clicking';
    const seen = new MutationObserver(() => { document.title = 'Ready'; });
    seen.observe(document.querySelector('#stage'), { childList: true });
}""")
await page.click("#ready", timeout=5000)
return await page.inner_text("#ready")
"##;
    let blocks = json!([
        { "block_type": "goto_url", "label": "open", "url": site.page("slow.html?ms=9000") },
        { "block_type": "code", "label": "late", "code": code, "timeout_seconds": 7 },
    ]);
    let workflow = client.workflow(blocks).await;
    let run = client.run(&workflow, json!({ "browser_session_id": id })).await;

    let mut channel = Channel::of(client, &id, "tab").await;
    let titled = |title: &'static str| move |said: &Value| said["tabs"][0]["title"] == title;
    channel.hears(titled("Clicking")).await;
    channel.say(json!({ "kind": "take-control" })).await;
    channel.hears(|said| said["run"]["block"]["block_type"] == "takeover").await;
    channel.hears(titled("Ready")).await;
    channel.say(json!({ "kind": "cede-control" })).await;
    client.run_once(&run, "completed").await;
    let timeline = client.get(&format!("/v1/runs/{run}/timeline")).await.ok();
    assert!(timeline.to_string().contains("\"within\":\"late\""), "{timeline:#}");
    assert!(timeline.to_string().contains("On stage"), "{timeline:#}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn code_that_ends_while_a_person_has_control_leaves_a_takeover_that_is_complete() {
    let site = Site::start().await;
    let server = super::blocks::setup().start().await;
    let client = &server.client;
    let id = showing(client, &site, "index.html").await;
    let code = "await page.evaluate(\"document.title = 'Busy'\")\ntime.sleep(5)\nreturn 1";
    let blocks = json!([
        { "block_type": "code", "label": "busy", "code": code },
        { "block_type": "goto_url", "label": "after", "url": site.page("products.html") },
    ]);
    let workflow = client.workflow(blocks).await;
    let run = client.run(&workflow, json!({ "browser_session_id": id })).await;
    let mut channel = Channel::of(client, &id, "tab").await;
    channel.hears(|said| said["tabs"][0]["title"] == "Busy").await;
    channel.say(json!({ "kind": "take-control" })).await;
    let timeline = async || client.get(&format!("/v1/runs/{run}/timeline")).await.ok().to_string();
    eventually("the code has ended, and the next block waits", async || {
        let takeovers = timeline().await.matches("\"block_type\":\"takeover\"").count();
        (takeovers == 2).then_some(())
    })
    .await;
    channel.say(json!({ "kind": "cede-control" })).await;
    client.run_once(&run, "completed").await;
    let timeline = timeline().await;
    assert!(
        timeline.contains("\"before\":\"after\"") && !timeline.contains("\"failed\""),
        "{timeline}"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_takes_over_from_a_run_types_and_hands_back_and_it_completes() {
    let site = Site::start().await;
    let server = Setup::real().start().await;
    let client = &server.client;
    let id = showing(client, &site, "index.html").await;
    let definition = json!({
        "parameters": [],
        "blocks": [
            { "block_type": "goto_url", "label": "open", "url": site.page("login.html") },
            { "block_type": "fill", "label": "name", "selector": "#username", "value": "Ann" },
            { "block_type": "fill", "label": "password", "selector": "#password", "value": "?" },
            { "block_type": "wait", "label": "person", "wait_sec": 3 },
            { "block_type": "click", "label": "enter", "selector": "#sign-in" },
            { "block_type": "extract", "label": "who", "fields": { "who": "#who" } },
        ],
    });
    let workflow = json!({ "title": "Sign in together", "workflow_definition": definition });
    let body = json!({ "json_definition": workflow });
    let made = client.post("/v1/workflows", body).await.ok();
    let asked = json!({ "workflow_id": made["workflow_permanent_id"], "browser_session_id": id });
    let run = client.post("/v1/run/workflows", asked).await.ok();
    let run = run["run_id"].as_str().unwrap().to_owned();

    let mut channel = Channel::of(client, &id, "tab").await;
    channel.hears(|said| said["run"]["block"]["label"] == "person").await;
    channel.take_control().await;
    let mut viewer = Viewer::of_page(client, &id, "tab").await;
    // The wrong password is still in the field that has the focus.
    viewer.press(0xff08).await;
    for character in "curtain".bytes() {
        viewer.press(character.into()).await;
    }
    let held = channel.hears(|said| said["run"]["block"]["block_type"] == "takeover").await;
    assert_eq!(held["run"]["status"], "running", "{held}");
    assert_eq!(client.look(&id).await["control"]["by"], "user");

    channel.say(json!({ "kind": "cede-control" })).await;
    let ended = eventually("the run ends", async || {
        let run = client.get(&format!("/v1/runs/{run}")).await.ok();
        (!["created", "queued", "running", "paused"].contains(&run["status"].as_str()?))
            .then_some(run)
    })
    .await;
    assert_eq!(ended["status"], "completed", "{ended:#}");
    assert!(ended["output"].to_string().contains("Signed in as Ann"), "{:#}", ended["output"]);
    let timeline = client.get(&format!("/v1/runs/{run}/timeline")).await.ok();
    let blocks = timeline.as_array().unwrap().iter().map(|entry| &entry["block"]);
    let pause = blocks.filter(|block| block["block_type"] == "takeover").collect::<Vec<_>>();
    let [pause] = pause[..] else { panic!("{timeline:#}") };
    assert_eq!(pause["output"]["before"], "enter", "{pause:#}");
    assert!(pause["duration"].as_f64().is_some_and(|seconds| seconds > 0.0), "{pause:#}");
    server.stop().await;
}
