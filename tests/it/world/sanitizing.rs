//! Sanitizing: the traces of an occupant in a real browser that the next occupant finds.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use greenroom::domain::sealing::{SecretLocation, Vault, is_sealed};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::adoption::Page;
use crate::support::client::{Lease, id_of};
use crate::support::{Client, Setup, TestServer, eventually};

/// A word that an occupant stores in every place.
pub(super) const MARK: &str = "ann7f3acafe";

/// A site with a service worker, and with a cached page that shows the number of its requests.
pub(super) async fn site() -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let serving = tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let asked = Arc::clone(&asked);
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
                let path = text.split(' ').nth(1).unwrap_or_default();
                let (kind, body) = match path {
                    "/sw.js" => ("text/javascript", "self.onfetch = () => {};".to_owned()),
                    "/cached" => ("text/plain", asked.fetch_add(1, Ordering::SeqCst).to_string()),
                    _page => (
                        "text/html",
                        "<!doctype html><title>page</title><link rel=icon href='data:,'>\
                         <form action=/sent><input name=who autocomplete=on><button>ok</button></form>"
                            .to_owned(),
                    ),
                };
                let cache = if path == "/cached" { "max-age=9999" } else { "no-store" };
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\
                     cache-control: {cache}\r\nconnection: close\r\n\r\n{body}"
                );
                let _ = socket.write_all(answer.as_bytes()).await;
            });
        }
    });
    (url, serving)
}

/// Stores data in every place that a page can use.
pub(super) const LEAVE: &str = "(async () => {
    document.cookie = 'login=MARK; max-age=9999'; document.cookie = 'passing=MARK';
    localStorage.who = 'MARK'; sessionStorage.who = 'MARK';
    await new Promise((done, failed) => {
        const open = indexedDB.open('MARK', 1);
        open.onupgradeneeded = () => open.result.createObjectStore('s').put('MARK', 'who');
        open.onsuccess = () => { open.result.close(); done(); };
        open.onerror = failed;
    });
    const cache = await caches.open('MARK');
    await cache.put('/MARK', new Response('MARK'));
    await navigator.serviceWorker.register('/sw.js');
    await navigator.serviceWorker.ready;
    await navigator.clipboard.writeText('MARK');
    return 'left';
})()";

/// The data that a page finds, one line for each place.
pub(super) const PROBE: &str = "(async () => ({
    cookie: document.cookie,
    local_storage: { ...localStorage },
    session_storage: { ...sessionStorage },
    indexed_db: (await indexedDB.databases()).map(it => it.name),
    cache_storage: await caches.keys(),
    service_workers: (await navigator.serviceWorker.getRegistrations()).length,
    geolocation: (await navigator.permissions.query({ name: 'geolocation' })).state,
    http_cache: await (await fetch('/cached')).text(),
    history: history.length > 2,
}))()";

/// Gives a page the focus, which the clipboard requires.
async fn to_front(page: &mut Page) {
    page.call("Page.bringToFront", json!({})).await;
    page.call("Emulation.setFocusEmulationEnabled", json!({ "enabled": true })).await;
}

/// The further data that a driver finds.
async fn clipboard(page: &mut Page, origin: &str) -> Value {
    let wanted = ["clipboardReadWrite", "clipboardSanitizedWrite"];
    let grant = json!({ "origin": origin, "permissions": wanted });
    page.browser_call("Browser.grantPermissions", grant).await;
    to_front(page).await;
    let read = "navigator.clipboard.readText().catch(cause => String(cause))";
    let text = page.evaluate(read).await;
    page.browser_call("Browser.resetPermissions", json!({})).await;
    text
}

/// The files below `folder` with `mark` in their names or their content.
pub(super) fn with_mark(folder: &Path, mark: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            with_mark(&path, mark, found);
            continue;
        }
        let content = std::fs::read(&path).unwrap_or_default();
        let is_in = |bytes: &[u8]| bytes.windows(mark.len()).any(|some| some == mark.as_bytes());
        let wide: Vec<u8> = mark.bytes().flat_map(|byte| [byte, 0]).collect();
        let is_wide = content.windows(wide.len()).any(|some| some == wide);
        if is_in(&content) || is_wide || path.to_string_lossy().contains(mark) {
            found.push(path);
        }
    }
}

/// The files of the browser and the server's memory of it. Logs and films belong to the organization.
fn files_with_mark(server: &TestServer, id: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    with_mark(&server.programs(id), MARK, &mut found);
    let memory = server.directory.join(format!("d/sessions/{id}/memory.json"));
    if opened_memory(server, id, &memory).contains(MARK) {
        found.push(memory);
    }
    found
}

/// The server's memory of a browser: cookies and tabs, which are sealed on disk.
fn opened_memory(server: &TestServer, id: &str, memory: &Path) -> String {
    let Ok(sealed) = std::fs::read_to_string(memory) else { return String::new() };
    assert!(is_sealed(&sealed), "{sealed}");
    let secret: [u8; 32] =
        std::fs::read(server.directory.join("d/secret")).unwrap().try_into().unwrap();
    Vault::new(secret).open(SecretLocation { kind: "memory.json", of: id }, &sealed).unwrap()
}

async fn sanitize(client: &Client, id: &str, body: Value) -> crate::support::client::Answer {
    client.post(&format!("/v1/browser_sessions/{id}/sanitize"), body).await
}

/// Opens the site in the first tab.
pub(super) async fn opened(client: &Client, id: &str, url: &str) -> Page {
    let mut page = Page::of(client, id).await;
    page.call("Page.navigate", json!({ "url": url })).await;
    page.loaded(url).await;
    page
}

/// The data that the next occupant finds in the browser, from a page and over DevTools.
async fn probe(client: &Client, id: &str, url: &str) -> Value {
    let mut page = opened(client, id, url).await;
    let mut found = page.evaluate(PROBE).await;
    found["clipboard"] = clipboard(&mut page, url.trim_end_matches('/')).await;
    let cookies = page.browser_call("Storage.getCookies", json!({})).await;
    found["all_cookies"] = json!(cookies["cookies"].as_array().map(Vec::len));
    let targets = page.browser_call("Target.getTargets", json!({})).await;
    let targets = targets["targetInfos"].as_array().unwrap().iter();
    found["tabs"] = json!(targets.filter(|target| target["type"] == "page").count());
    found
}

async fn leave_everything(client: &Client, server: &TestServer, id: &str, url: &str) -> Value {
    let origin = url.trim_end_matches('/');
    let mut page = opened(client, id, url).await;
    let granted = ["geolocation", "clipboardReadWrite", "clipboardSanitizedWrite"];
    let grant = json!({ "origin": origin, "permissions": granted });
    page.browser_call("Browser.grantPermissions", grant).await;
    to_front(&mut page).await;
    assert_eq!(page.evaluate(&LEAVE.replace("MARK", MARK)).await, "left");
    let found = page.evaluate(PROBE).await;
    let second = json!({ "url": format!("{url}{MARK}-second") });
    page.browser_call("Target.createTarget", second).await;
    let download = format!(
        "const a = document.createElement('a'); a.download = '{MARK}.csv'; \
         a.href = 'data:text/csv,{MARK}'; a.click(); 1"
    );
    assert_eq!(page.evaluate(&download).await, 1);
    // Typed like a person's input and submitted, which autofill records.
    to_front(&mut page).await;
    page.evaluate("document.querySelector('input').focus(); 1").await;
    page.call("Input.insertText", json!({ "text": MARK })).await;
    assert_eq!(page.evaluate("document.querySelector('button').click(); 1").await, 1);
    page.loaded(&format!("{url}sent?who={MARK}")).await;
    eventually("the download is stored, and the history is written", async || {
        let files = client.look(id).await["downloaded_files"].clone();
        let is_stored = files.as_array().is_some_and(|files| !files.is_empty());
        let marked = files_with_mark(server, id);
        let history = marked.iter().any(|path| path.to_string_lossy().contains("History"));
        (is_stored && history && marked.iter().any(|path| path.ends_with("memory.json")))
            .then_some(())
    })
    .await;
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_occupant_finds_nothing_of_the_former_one() {
    let (origin, serving) = site().await;
    let url = format!("{origin}/");
    let server = Setup::real().start().await;
    let client = &server.client;
    let id = id_of(&client.session_of(json!({ "sanitize_on_release": false })).await);
    let lease = Lease::of(&client.begin(&id, "ann", 600).await.ok());
    let left = leave_everything(client, &server, &id, &url).await;
    println!("ann leaves: {left:#}");
    println!("in files: {:#?}", files_with_mark(&server, &id));
    assert_eq!(left["geolocation"], "granted");
    assert_eq!((&left["service_workers"], &left["http_cache"]), (&json!(1), &json!("0")));

    sanitize(client, &id, json!({})).await.problem(409, "session_occupied");
    let half = json!({ "generation": lease.generation });
    assert_eq!(sanitize(client, &id, half).await.status, 403, "it proves nothing");
    let half = json!({ "lease_token": lease.token });
    let faults = sanitize(client, &id, half).await.wrong_fields();
    assert!(faults.contains_key("body.generation"), "{faults:?}");
    client.release(&id, &lease).await.ok();
    let answer = sanitize(client, &id, json!({})).await.ok();
    println!("the answer: {answer:#}");
    assert!(answer["cleared"]["cookies"].as_u64().unwrap() >= 2, "{answer:#}");
    assert_eq!(answer["cleared"]["tabs"], 2, "{answer:#}");
    assert_eq!(answer["cleared"]["downloads"], 1, "{answer:#}");
    assert_eq!(files_with_mark(&server, &id), Vec::<PathBuf>::new());

    let expected = |asked: &str| {
        json!({
            "cookie": "", "local_storage": {}, "session_storage": {}, "indexed_db": [],
            "cache_storage": [], "service_workers": 0, "geolocation": "prompt",
            "http_cache": asked, "history": false, "clipboard": "", "all_cookies": 0, "tabs": 1,
        })
    };
    let lease = Lease::of(&client.begin(&id, "bob", 600).await.ok());
    let found = probe(client, &id, &url).await;
    println!("bob finds: {found:#}");
    assert_eq!(found, expected("1"));

    // The recovery of a crashed browser restores none of it.
    let killed = server.program(&id, "/chromium");
    TestServer::kill(killed);
    eventually("another browser runs", async || {
        let programs = server.programs_of(&id);
        let is_new =
            |(pid, arguments): &(i32, String)| *pid != killed && TestServer::is_browser(arguments);
        let is_back = client.look(&id).await["status"] == "running";
        (programs.iter().any(is_new) && is_back).then_some(())
    })
    .await;
    let found = probe(client, &id, &url).await;
    let asked = found["http_cache"].as_str().unwrap().to_owned();
    assert_eq!(found["history"], false, "{found:#}");
    assert_eq!(found, expected(&asked));
    assert_eq!(files_with_mark(&server, &id), Vec::<PathBuf>::new());

    let path = format!("/v1/browser_sessions/{id}/events?limit=100");
    let events = eventually("the event is stored", async || {
        let headers = [("accept", "application/json")];
        let page = client.send_with(Method::GET, &path, None, &headers).await.unwrap().ok();
        let events = page["events"].as_array().unwrap().clone();
        let is_it = |event: &Value| event["kind"] == "session.sanitized";
        events.into_iter().find(is_it)
    })
    .await;
    assert_eq!(events["data"]["cleared"], answer["cleared"]);

    // From here without a request, before the next occupant begins.
    let change = json!({ "sanitize_on_release": true });
    let path = format!("/v1/browser_sessions/{id}");
    let changed = client.send(Method::PATCH, &path, Some(change)).await.ok();
    assert_eq!(changed["sanitize_on_release"], true);
    let mut page = opened(client, &id, &url).await;
    let cookie = format!("document.cookie = 'login={MARK}; max-age=9999'; 1");
    assert_eq!(page.evaluate(&cookie).await, 1);
    client.release(&id, &lease).await.ok();
    let waits = json!({ "runnable_id": "cy", "ttl_seconds": 60, "wait_seconds": 30 });
    let begun = client.post(&format!("/v1/browser_sessions/{id}/begin"), waits).await.ok();
    let mut page = opened(client, &id, &url).await;
    assert_eq!(page.evaluate("document.cookie").await, "");
    client.release(&id, &Lease::of(&begun)).await.ok();
    client.close(&id).await.ok();
    server.stop().await;
    serving.abort();
}
