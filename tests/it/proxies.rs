//! A proxy between a client and the server: links, and pages below a path.

use reqwest::Method;
use reqwest::redirect::Policy;
use serde_json::json;

use crate::support::Setup;
use crate::support::client::id_of;

/// The headers of a proxy at `https://b.example/green`.
const FORWARDED: [(&str, &str); 3] = [
    ("x-forwarded-proto", "https"),
    ("x-forwarded-host", "b.example"),
    ("x-forwarded-prefix", "/green/"),
];

/// The addresses of a session's view and of its DevTools that a server with these settings returns to a
/// client behind a proxy.
async fn links(settings: &[(&str, &str)]) -> (String, String) {
    let setup = settings.iter().fold(Setup::fakes(), |setup, (key, value)| setup.set(key, *value));
    let server = setup.start().await;
    let session = server.client.session_of(json!({})).await;
    let id = id_of(&session);
    let path = format!("/v1/browser_sessions/{id}");
    let answer = server.client.send_with(Method::GET, &path, None, &FORWARDED).await;
    let shown = answer.unwrap().ok();
    let text = |key: &str| shown[key].as_str().unwrap().replace(&id, "ID");
    let links = (text("app_url"), text("browser_address").replace(&server.client.base[4..], ""));
    server.stop().await;
    links
}

#[tokio::test]
async fn links_follow_a_trusted_proxy_and_nobody_else() {
    let outside = (
        "https://b.example/green/view/ID".to_owned(),
        "wss://b.example/green/v1/browser_sessions/ID/cdp".to_owned(),
    );
    assert_eq!(links(&[("http.trusted_proxies", "127.0.0.1")]).await, outside);

    let (view, devtools) = links(&[("http.trusted_proxies", "192.0.2.0/24")]).await;
    assert!(view.starts_with("http://127.0.0.1:"), "{view}");
    assert_eq!(devtools, "ws/v1/browser_sessions/ID/cdp");

    let public =
        [("http.trusted_proxies", "127.0.0.1"), ("http.public_url", "https://a.example/room")];
    assert_eq!(links(&public).await.0, "https://a.example/room/view/ID");
}

#[tokio::test]
async fn pages_name_what_they_load_relative_to_themselves() {
    let server = Setup::fakes().start().await;
    for page in ["/console", "/wall", "/docs", "/view/pbs_1"] {
        let html = server.client.get(page).await.text();
        for attribute in ["src=\"/", "href=\"/"] {
            assert!(!html.contains(attribute), "{page} has {attribute}");
        }
        assert!(html.contains("assets/"), "{page}: {html}");
    }
    let http = reqwest::Client::builder().no_proxy().redirect(Policy::none()).build().unwrap();
    for (page, moved) in [
        ("/wall/", "../wall"),
        ("/docs/", "../docs"),
        ("/console/", "../console"),
        ("/view/pbs_1/", "../pbs_1"),
        ("/view/pbs_1//?a=b", "../../pbs_1?a=b"),
    ] {
        let answer = http.get(format!("{}{page}", server.client.base)).send().await.unwrap();
        assert_eq!(answer.status(), 308, "{page}");
        assert_eq!(answer.headers()["location"], moved, "{page}");
    }
    server.stop().await;
}
