//! The live view: admission, and the effect of a viewer's input.

use serde_json::json;
use tokio::time::Instant;

use super::Site;
use crate::support::client::id_of;
use crate::support::viewer::{Viewer, refusal, stream_url};
use crate::support::{PATIENCE, Setup, TestServer, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_viewers_click_reaches_the_page_and_the_picture_follows() {
    click_and_see("x11vnc").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_it_is_where_the_display_itself_serves_vnc_and_it_comes_back_when_it_dies() {
    click_and_see("tigervnc").await;
    let server = Setup::real().set("desktop.vnc_server", "tigervnc").start().await;
    let client = &server.client;
    let before = client.session().await;
    let id = id_of(&before);
    TestServer::kill(server.program(&id, "Xtigervnc"));
    let after = eventually("it recovers", async || {
        let session = client.look(&id).await;
        (session["version"] != before["version"] && session["status"] == "running")
            .then_some(session)
    })
    .await;
    for field in ["display_number", "vnc_port"] {
        assert_eq!(after[field], before[field], "{field}");
    }
    let mut viewer = Viewer::of(client, &id).await;
    viewer.look().await;
    client.close(&id).await.ok();
    viewer.closed().await;
    server.nothing_runs_of(&id).await;
    server.stop().await;
}

/// Tests a viewer's click with a VNC server of this kind.
async fn click_and_see(vnc_server: &str) {
    let site = Site::start().await;
    let server = Setup::real().set("desktop.vnc_server", vnc_server).start().await;
    let url = site.page("click.html");
    let body = json!({"width": 640, "height": 480, "start_url": url});
    let id = id_of(&server.client.session_of(body).await);
    let mut viewer = Viewer::of(&server.client, &id).await;
    assert_eq!((viewer.width, viewer.height), (640, 480));
    viewer.sees([0x10, 0x18, 0x28]).await;

    viewer.click(400, 300).await;
    let deadline = Instant::now() + PATIENCE;
    while viewer.pixel(390, 290) != [255, 0, 0] {
        assert!(Instant::now() < deadline, "{:?}", viewer.pixel(390, 290));
        viewer.look().await;
    }
    let square = viewer.count([255, 0, 0]);
    assert!((5_000..=6_400).contains(&square), "a square of 80 pixels has {square}");
    drop(viewer);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_see_nothing() {
    let server = Setup::real().start().await;
    let client = &server.client;
    let id = client.session_id().await;
    let other = server.another_organization().await;
    // The compatible API accepts a socket and closes it; 1000 would mean a regular end.
    let refused = |code: u16| matches!(code, 400..500 | 1002..=1013 | 4000..5000);
    for (url, why) in [
        (stream_url(client, &id, "wrong"), "a wrong key"),
        (stream_url(client, &id, other.key()), "another organization's key"),
        (client.socket_url(&format!("/v1/stream/vnc/browser_session/{id}")), "no key"),
        (stream_url(client, "pbs_1", client.key()), "an unknown session"),
    ] {
        let code = refusal(&url).await;
        assert!(refused(code), "{why}: {code}");
    }
    // The VNC server listens on loopback only, and requires its password.
    client.close(&id).await.ok();
    let code = refusal(&stream_url(client, &id, client.key())).await;
    assert!(refused(code), "a session that has ended: {code}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_screenshot_is_of_the_format_that_is_asked_for() {
    let server = Setup::real().start().await;
    let id = server.client.session_id().await;
    let path = format!("/v1/browser_sessions/{id}/screenshot");
    let get = async |path: &str, accept: &str| {
        let accept = [("accept", accept)];
        let method = reqwest::Method::GET;
        server.client.send_with(method, path, None, &accept).await.unwrap()
    };
    let png = get(&path, "*/*").await;
    assert_eq!(png.headers["content-type"], "image/png");
    assert_eq!(png.bytes[..4], *b"\x89PNG");
    for (path, accept) in [(path.clone(), "image/jpeg"), (format!("{path}?format=jpeg"), "*/*")] {
        let jpeg = get(&path, accept).await;
        assert_eq!(jpeg.headers["content-type"], "image/jpeg", "{path}");
        assert_eq!(jpeg.bytes[..3], [0xff, 0xd8, 0xff]);
    }
    let wrong = get(&format!("{path}?format=gif"), "*/*").await;
    assert_eq!(wrong.wrong_fields().into_keys().collect::<Vec<_>>(), ["query.format"]);
    server.stop().await;
}
