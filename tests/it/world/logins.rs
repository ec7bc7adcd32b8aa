//! Logins of a session for sites that ask by HTTP authentication.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::adoption::Page;
use super::automation::drive;
use super::settings::crash;
use crate::support::client::id_of;
use crate::support::{Setup, eventually};

/// The path of a request, and the login that it gave.
type Given = (String, Option<String>);

/// A site that asks for one login, and what each request gave.
#[derive(Clone)]
struct Guarded {
    url: String,
    given: Arc<Mutex<Vec<Given>>>,
}

impl Guarded {
    async fn start(username: &str, password: &str) -> Self {
        let wanted = format!("Basic {}", STANDARD.encode(format!("{username}:{password}")));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let site = Self { url, given: Arc::default() };
        let given = Arc::clone(&site.given);
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let (given, wanted) = (Arc::clone(&given), wanted.clone());
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
                    let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
                    let mut fields = text.lines().filter_map(|line| line.split_once(": "));
                    let login = fields.find(|(name, _)| name.eq_ignore_ascii_case("authorization"));
                    let login = login.map(|(_, value)| value.to_owned());
                    let is_in = login.as_deref() == Some(&wanted);
                    given.lock().push((path, login));
                    let (status, ask) = match is_in {
                        true => ("200 OK", ""),
                        false => ("401 Unauthorized", "www-authenticate: Basic realm=\"site\"\r\n"),
                    };
                    let body = format!(
                        "<!doctype html><title>{status}</title><link rel=icon href='data:,'>"
                    );
                    let length = body.len();
                    let answer = format!(
                        "HTTP/1.1 {status}\r\n{ask}content-type: text/html\r\n\
                         content-length: {length}\r\nconnection: close\r\n\r\n{body}"
                    );
                    let _ = socket.write_all(answer.as_bytes()).await;
                });
            }
        });
        site
    }

    fn login(&self, password: &str) -> Value {
        json!([{ "origin": self.url, "username": "ann", "password": password }])
    }

    /// Takes the logins that requests for a path gave.
    fn given(&self, path: &str) -> Vec<Option<String>> {
        let given = std::mem::take(&mut *self.given.lock());
        given.into_iter().filter(|(at, _)| at == path).map(|(_, login)| login).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_opens_its_origin_in_all_tabs_and_after_a_crash_and_no_other_origin_gets_it() {
    let ours = Guarded::start("ann", "ann's").await;
    let theirs = Guarded::start("bob", "bob's").await;
    let server = Setup::real().start().await;
    let client = &server.client;
    let settings = json!({ "http_credentials": ours.login("ann's") });
    let session = client.session_of(json!({ "start_url": ours.url, "settings": settings })).await;
    let id = id_of(&session);
    let mut page = Page::of(client, &id).await;
    page.loaded(&ours.url).await;
    assert_eq!(page.evaluate("document.title").await, "200 OK", "the start page");
    drop(page);

    // A driver's own context, with its own routes and its own login for the other origin.
    let seen = drive(client, &id, "playwright_logins.py", &[&ours.url, &theirs.url]).await;
    assert_eq!(seen, json!({ "theirs": 200, "ours": 200, "routed": true }));
    let bobs = format!("Basic {}", STANDARD.encode("bob:bob's"));
    assert!(theirs.given("/").into_iter().flatten().all(|login| login == bobs));

    crash(&server, &id).await;
    let mut page = Page::of(client, &id).await;
    page.loaded(&ours.url).await;
    assert_eq!(page.evaluate("document.title").await, "200 OK", "the restored page");
    let tab =
        page.browser_call("Target.createTarget", json!({ "url": format!("{}tab", ours.url) }));
    tab.await;
    let is_tab = |target: &Value| target["url"].as_str().is_some_and(|url| url.ends_with("/tab"));
    let mut tab = Page::find(client, &id, is_tab).await.unwrap();
    tab.loaded(&format!("{}tab", ours.url)).await;
    assert_eq!(tab.evaluate("document.title").await, "200 OK", "a later tab");

    // The same host at another port asks a person, and is given nothing.
    theirs.given("/");
    tab.evaluate(&format!("void (location.href = '{}asks')", theirs.url)).await;
    eventually("the other origin is asked", async || {
        let given = theirs.given("/asks");
        (given == [None]).then_some(())
    })
    .await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_tried_once_and_a_changed_one_holds_at_once() {
    let site = Guarded::start("ann", "ann's").await;
    let server = Setup::real().start().await;
    let client = &server.client;
    let settings = json!({ "http_credentials": site.login("wrong") });
    let session = client.session_of(json!({ "start_url": site.url, "settings": settings })).await;
    let id = id_of(&session);
    let mut page = Page::of(client, &id).await;
    page.loaded(&site.url).await;
    assert_eq!(page.evaluate("document.title").await, "401 Unauthorized");
    let wrong = format!("Basic {}", STANDARD.encode("ann:wrong"));
    assert_eq!(site.given("/"), [None, Some(wrong)]);

    let path = format!("/v1/browser_sessions/{id}");
    let change = json!({ "settings": { "http_credentials": site.login("ann's") } });
    let changed = client.send(Method::PATCH, &path, Some(change)).await.ok();
    let origin = site.url.trim_end_matches('/');
    let shown = json!([{ "origin": origin, "username": "ann" }]);
    assert_eq!(changed["settings"]["http_credentials"], shown);
    page.call("Page.navigate", json!({ "url": format!("{}again", site.url) })).await;
    page.loaded(&format!("{}again", site.url)).await;
    assert_eq!(page.evaluate("document.title").await, "200 OK");
    server.stop().await;
}
