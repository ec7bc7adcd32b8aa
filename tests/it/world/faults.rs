//! Crashes of real programs.

use serde_json::json;

use crate::explain::a_stopped_browser_is_named;
use crate::support::client::id_of;
use crate::support::viewer::Viewer;
use crate::support::{Setup, TestServer, left};

#[tokio::test(flavor = "multi_thread")]
async fn without_recoveries_a_killed_chromium_or_display_fails_its_session_and_leaves_nothing() {
    let server = Setup::real().set("sessions.max_recoveries", "0").start().await;
    let client = &server.client;
    for (program, code) in [("/chromium", "chromium_died"), ("/Xvfb", "xvfb_died")] {
        let id = client.session_id().await;
        let mut viewer = Viewer::of(client, &id).await;
        viewer.look().await;
        client.begin(&id, "ann", 60).await.ok();
        TestServer::kill(server.program(&id, program));
        let session = client.once(&id, "failed").await;
        assert_eq!(session["failure"]["code"], code, "{session:#}");
        assert_eq!(session["failure"]["exit"], "signal 9 (SIGKILL)");
        viewer.closed().await;
        server.nothing_runs_of(&id).await;
        assert_eq!(left::display_files(&server.displays), Vec::<std::path::PathBuf>::new());
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_in_every_state_are_gone_when_the_server_is_told_to_stop() {
    let server = Setup::real().start().await;
    let client = &server.client;
    let watched = client.session_id().await;
    let mut viewer = Viewer::of(client, &watched).await;
    viewer.look().await;
    let held = client.session_id().await;
    client.begin(&held, "ann", 600).await.ok();
    let starting = client.ask_for_session(json!({"wait_seconds": 0})).await.ok();
    assert!(!id_of(&starting).is_empty());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_explanation_of_a_session_whose_chromium_is_stopped_names_it() {
    let server = Setup::real().start().await;
    let id = server.client.session_id().await;
    a_stopped_browser_is_named(&server, &id).await;
    server.stop().await;
}
