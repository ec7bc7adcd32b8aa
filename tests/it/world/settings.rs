//! Settings of a browser, as pages of a real one see them.

use reqwest::Method;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::adoption::Page;
use super::automation::drive;
use crate::support::client::id_of;
use crate::support::{Setup, TestServer, eventually};

const USER_AGENT: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like \
                          Gecko) Chrome/140.0.0.0 Safari/537.36";

/// The values that a page or a worker reads.
const SEEN: &str = "const seen = async () => ({
    language: navigator.language,
    intl: Intl.DateTimeFormat().resolvedOptions().locale,
    timezone: Intl.DateTimeFormat().resolvedOptions().timeZone,
    user_agent: navigator.userAgent,
    system: navigator.userAgentData.platform,
});";

/// The values that a page reads, in its first script and later.
const PAGE: &str = "<!doctype html><title>seen</title><link rel=icon href='data:,'><script>SEEN
    const look = () => ({
        intl: Intl.DateTimeFormat().resolvedOptions().locale,
        timezone: Intl.DateTimeFormat().resolvedOptions().timeZone,
        is_dark: matchMedia('(prefers-color-scheme: dark)').matches,
        factor: devicePixelRatio,
    });
    const first = look();
    const position = () => new Promise(done => navigator.geolocation.getCurrentPosition(
        ({ coords }) => done([coords.latitude, coords.longitude, coords.accuracy]),
        cause => done(cause.message)));
</script>";

/// A site that shows what it sees of a browser.
async fn site() -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = Vec::new();
                let mut piece = [0; 4096];
                while !request.windows(4).any(|four| four == b"\r\n\r\n") {
                    match socket.read(&mut piece).await {
                        Ok(0) | Err(_) => return,
                        Ok(size) => request.extend_from_slice(&piece[..size]),
                    }
                }
                let text = String::from_utf8_lossy(&request).into_owned();
                let header = |name: &str| {
                    let mut fields = text.lines().filter_map(|line| line.split_once(": "));
                    fields.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, it)| it)
                };
                let (kind, body) = match text.split(' ').nth(1).unwrap_or_default() {
                    "/worker.js" => {
                        ("text/javascript", format!("{SEEN} seen().then(it => postMessage(it));"))
                    }
                    "/headers" => {
                        let headers = json!({
                            "accept-language": header("accept-language"),
                            "user-agent": header("user-agent"),
                            "platform": header("sec-ch-ua-platform"),
                        });
                        ("application/json", headers.to_string())
                    }
                    _page => ("text/html", PAGE.replace("SEEN", SEEN)),
                };
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\
                     connection: close\r\n\r\n{body}"
                );
                let _ = socket.write_all(answer.as_bytes()).await;
            });
        }
    });
    (url, serving)
}

/// Asserts the values that a driver's Playwright reads in each place.
async fn is_seen(server: &TestServer, id: &str, url: &str) {
    let read = drive(&server.client, id, "playwright_settings.py", &[url]).await;
    let expected = json!({
        "language": "de-DE", "intl": "de-DE", "timezone": "Asia/Tokyo", "user_agent": USER_AGENT,
        "system": "Windows",
    });
    for place in ["page", "worker", "popup", "own"] {
        assert_eq!(read[place], expected, "{place}");
    }
    for place in ["position", "popup_position", "own_position"] {
        assert_eq!(read[place], json!([52.5, 13.4, 10]), "{place}");
    }
    let headers = json!({
        "accept-language": "de-DE,de;q=0.9", "user-agent": USER_AGENT, "platform": "\"Windows\"",
    });
    assert_eq!(read["headers"], headers);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extension_runs_in_its_session_also_when_it_is_deleted_and_the_browser_crashes() {
    let (url, _serving) = site().await;
    let server = Setup::real().start().await;
    let client = &server.client;
    let manifest = json!({
        "manifest_version": 3, "name": "Probe", "version": "1", "permissions": [],
        "content_scripts": [{ "matches": ["http://*/*"], "js": ["content.js"] }],
    });
    let manifest = manifest.to_string();
    let files = [
        ("manifest.json", manifest.as_str()),
        ("content.js", "document.documentElement.dataset.probe = 'here';"),
    ];
    let added = client.upload_extension(&files).await.ok();
    let extension = added["extension_id"].as_str().unwrap();
    let asked = json!({ "start_url": url, "extensions": [extension] });
    let session = client.session_of(asked).await;
    assert_eq!(session["warning"], Value::Null);
    let id = id_of(&session);
    let read = "document.documentElement.dataset.probe";
    let mut page = Page::of(client, &id).await;
    page.loaded(&url).await;
    assert_eq!(page.evaluate(read).await, "here");
    drop(page);

    client.send(Method::DELETE, &format!("/v1/extensions/{extension}"), None).await.ok();
    crash(&server, &id).await;
    let mut page = Page::of(client, &id).await;
    page.loaded(&url).await;
    assert_eq!(page.evaluate(read).await, "here");
    server.stop().await;
}

/// Kills the browser, and resolves when another one runs.
pub(super) async fn crash(server: &TestServer, id: &str) {
    let killed = server.program(id, "/chromium");
    TestServer::kill(killed);
    eventually("another browser runs", async || {
        let programs = server.programs_of(id);
        let is_new =
            |(pid, arguments): &(i32, String)| *pid != killed && TestServer::is_browser(arguments);
        let is_back = server.client.look(id).await["status"] == "running";
        (programs.iter().any(is_new) && is_back).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_workers_and_popups_see_the_settings_also_after_a_crash_and_under_the_next_server() {
    let (url, _serving) = site().await;
    let mut server = Setup::real().start().await;
    let settings = json!({
        "locale": "de-DE", "timezone": "Asia/Tokyo", "user_agent": USER_AGENT,
        "geolocation": { "latitude": 52.5, "longitude": 13.4, "accuracy": 10.0 },
        "color_scheme": "dark", "device_scale_factor": 2.0,
    });
    let asked = json!({ "start_url": url, "settings": settings });
    let session = server.client.session_of(asked).await;
    assert_eq!(session["settings"], settings);
    let id = id_of(&session);
    let first = json!({
        "intl": "de-DE", "timezone": "Asia/Tokyo", "is_dark": true, "factor": 2,
    });
    let mut page = Page::of(&server.client, &id).await;
    page.loaded(&url).await;
    assert_eq!(page.evaluate("first").await, first, "the start page");
    drop(page);
    is_seen(&server, &id, &url).await;

    crash(&server, &id).await;
    let mut page = Page::of(&server.client, &id).await;
    page.loaded(&url).await;
    assert_eq!(page.evaluate("first").await, first, "the restored page");
    is_seen(&server, &id, &url).await;

    // A change reaches the page that is open.
    let change = json!({ "settings": { "timezone": "America/New_York", "color_scheme": null } });
    let path = format!("/v1/browser_sessions/{id}");
    let changed = server.client.send(Method::PATCH, &path, Some(change)).await.ok();
    assert_eq!(changed["settings"]["timezone"], "America/New_York");
    assert_eq!(changed["settings"].get("color_scheme"), None);
    let now = json!({
        "intl": "de-DE", "timezone": "America/New_York", "is_dark": false, "factor": 2,
    });
    assert_eq!(page.evaluate("look()").await, now, "the open page");
    drop(page);

    server.signal(Signal::KILL);
    server.ended().await;
    server.serve().await;
    server.client.once(&id, "running").await;
    let mut page = Page::of(&server.client, &id).await;
    {
        let page = tokio::sync::Mutex::new(&mut page);
        eventually("the next server sets the overrides again", async || {
            let read = page.lock().await.evaluate("look()").await;
            (read == now).then_some(())
        })
        .await;
    }
    page.call("Page.reload", json!({})).await;
    page.loaded(&url).await;
    assert_eq!(page.evaluate("first").await, now, "the reloaded page");
    server.stop().await;
}
