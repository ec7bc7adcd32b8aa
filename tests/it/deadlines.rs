//! Sessions at the end of their lifetime.

use serde_json::json;

use crate::support::{Setup, on_both_databases};

on_both_databases! {
    async fn a_session_whose_lifetime_is_over_ends_as_timeout(database) {
        let setup = Setup::fakes().on(database).set("sessions.min_lifetime_seconds", "1");
        let server = setup.start().await;
        let session = server.client.session_of(json!({"timeout_seconds": 2})).await;
        let id = crate::support::client::id_of(&session);
        assert_eq!(session["next_deadline"]["kind"], "lifetime");
        assert_eq!(session["next_deadline"]["at"], session["expires_at"]);
        server.client.begin(&id, "ann", 60).await.ok();

        let ended = server.client.once(&id, "timeout").await;
        assert!(ended["completed_at"].as_str() >= session["expires_at"].as_str(), "{ended:#}");
        assert_eq!(ended["failure"], json!(null));
        assert_eq!(ended["occupancy"]["state"], "closed");
        server.nothing_runs_of(&id).await;
        server.client.begin(&id, "bob", 30).await.problem(410, "session_closed");
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_nobody_uses_ends_as_timeout_and_one_that_is_held_does_not() {
    let server = Setup::fakes().set("sessions.idle_seconds", "2").start().await;
    let idle = server.client.session().await;
    let held = server.client.session_id().await;
    server.client.begin(&held, "ann", 60).await.ok();
    let id = crate::support::client::id_of(&idle);
    assert_eq!(idle["next_deadline"]["kind"], "idle", "{idle:#}");
    server.client.once(&id, "timeout").await;
    assert_eq!(server.client.look(&held).await["status"], "running");
    server.stop().await;
}
