//! Sessions: creation, reads, lists, close.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::client::id_of;
use crate::support::{Setup, on_both_databases};

on_both_databases! {
    async fn a_session_is_made_shown_listed_closed_and_remembered(database) {
        let server = Setup::fakes().on(database).start().await;
        let client = &server.client;
        let asked = json!({
            "width": 800, "height": 600, "timeout": 30, "start_url": "http://127.0.0.1:9/",
        });
        let session = client.session_of(asked).await;
        let id = id_of(&session);

        let display = session["display_number"].as_u64().unwrap();
        assert!(server.displays.contains(&u16::try_from(display).unwrap()), "{session:#}");
        insta::with_settings!({sort_maps => true}, { insta::assert_json_snapshot!(session, {
            ".browser_session_id" => "[id]",
            ".organization_id" => "[id]",
            ".node_id" => "[id]",
            ".app_url" => "[url]",
            ".events_url" => "[url]",
            ".browser_address" => "[url]",
            ".created_at" => "[time]",
            ".started_at" => "[time]",
            ".modified_at" => "[time]",
            ".expires_at" => "[time]",
            ".next_deadline.at" => "[time]",
            ".display_number" => "[number]",
            ".vnc_port" => "[number]",
            ".version" => "[number]",
        }, @r#"
        {
          "app_url": "[url]",
          "browser_address": "[url]",
          "browser_profile_access": null,
          "browser_profile_id": null,
          "browser_profile_version": null,
          "browser_session_id": "[id]",
          "browser_type": null,
          "closing": false,
          "completed_at": null,
          "control": {
            "by": "agent",
            "expires_at": null,
            "label": null,
            "since": null
          },
          "created_at": "[time]",
          "deleted_at": null,
          "display_number": "[number]",
          "download_path": null,
          "downloaded_files": [],
          "egress": {
            "allow": [],
            "deny": [],
            "organization": {
              "allow": [],
              "deny": []
            },
            "refused": [],
            "upstream": null,
            "upstream_error": null
          },
          "events_url": "[url]",
          "expires_at": "[time]",
          "extensions": null,
          "failure": null,
          "generate_browser_profile": false,
          "height": 600,
          "idle_expires_at": null,
          "isolation": {
            "files": "none",
            "network": "none",
            "sandbox": false
          },
          "modified_at": "[time]",
          "name": null,
          "next_deadline": {
            "at": "[time]",
            "kind": "lifetime"
          },
          "node_id": "[id]",
          "occupancy": {
            "expires_at": null,
            "generation": 0,
            "heartbeat_at": null,
            "runnable_id": null,
            "runnable_type": null,
            "since": null,
            "state": "vacant",
            "waiters": []
          },
          "on_takeover": "hold",
          "organization_id": "[id]",
          "proxy_location": null,
          "recordings": [],
          "runnable_id": null,
          "runnable_type": null,
          "sanitize_on_release": false,
          "settings": {},
          "start": "cold",
          "start_url": "http://127.0.0.1:9/",
          "started_at": "[time]",
          "status": "running",
          "stream_transport": "vnc",
          "tags": [],
          "timeout": 30,
          "timeout_seconds": 1800,
          "usage": null,
          "version": "[number]",
          "viewers": 0,
          "vnc_port": "[number]",
          "vnc_streaming_supported": true,
          "warning": null,
          "width": 800
        }
        "#); });
        assert_eq!(session["app_url"], format!("{}/view/{id}", client.base));
        let cdp = client.socket_url(&format!("/v1/browser_sessions/{id}/cdp"));
        assert_eq!(session["browser_address"], cdp);

        assert_eq!(client.look(&id).await, session);
        assert_eq!(client.list().await, std::slice::from_ref(&session));
        let programs = server.programs_of(&id);
        assert!(programs.len() >= 2, "{programs:?}");

        let closed = client.close(&id).await.ok();
        assert_eq!(closed, json!({"message": "Browser session closed"}));
        assert_eq!(server.programs_of(&id), [], "they are gone when it is answered");
        let after = client.look(&id).await;
        assert_eq!(after["status"], "completed");
        assert_eq!(after["browser_address"], Value::Null);
        assert!(after["completed_at"].is_string(), "{after:#}");
        assert_eq!(client.list().await, Vec::<Value>::new());
        let history = client.get("/v1/browser_sessions/history").await.ok();
        assert_eq!(history, json!([after]));

        // Only the close can be repeated.
        client.close(&id).await.ok();
        client.begin(&id, "ann", 30).await.problem(410, "session_closed");
        let screenshot = client.get(&format!("/v1/browser_sessions/{id}/screenshot")).await;
        screenshot.problem(410, "session_closed");
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_body_makes_a_session_of_the_usual_size() {
    let server = Setup::fakes().start().await;
    let made = server.client.send(Method::POST, "/v1/browser_sessions", None).await.ok();
    assert_eq!((&made["width"], &made["height"]), (&json!(1920), &json!(1080)));
    assert_eq!(made["timeout"], 60);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_answers_with_a_trailing_slash_too() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let made =
        client.post("/v1/browser_sessions/", json!({"width": 640, "height": 480})).await.ok();
    let id = id_of(&made);
    assert_eq!(client.get("/v1/browser_sessions/").await.ok(), json!([made]));
    assert_eq!(client.get("/v1/browser_sessions/history/").await.ok(), json!([made]));
    assert_eq!(client.get(&format!("/v1/browser_sessions/{id}/")).await.ok(), made);
    client.post(&format!("/v1/browser_sessions/{id}/close/"), json!({})).await.ok();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_has_the_running_first_and_then_the_newest_in_pages() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(client.session_id().await);
    }
    for id in &ids[1..] {
        client.close(id).await.ok();
    }
    let mut seen = Vec::new();
    for page in 1..=3 {
        let path = format!("/v1/browser_sessions/history?page={page}&page_size=2");
        let page = client.get(&path).await.ok();
        seen.extend(page.as_array().unwrap().iter().map(id_of));
    }
    let expected: Vec<_> = [0, 3, 2, 1].map(|at: usize| ids[at].clone()).to_vec();
    assert_eq!(seen, expected);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_made_at_once_share_nothing() {
    let server = Setup::fakes().start().await;
    let make = || server.client.session();
    let (a, b, c, d) = tokio::join!(make(), make(), make(), make());
    for field in ["browser_session_id", "display_number", "vnc_port"] {
        let values: BTreeSet<_> = [&a, &b, &c, &d].map(|it| it[field].to_string()).into();
        assert_eq!(values.len(), 4, "{field}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_followed_tells_of_its_next_change() {
    let server = Setup::fakes().start().await;
    let id = server.client.session_id().await;
    let version = server.client.look(&id).await["version"].clone();
    let path = format!("/v1/browser_sessions/{id}?after={version}");
    let (followed, begun) =
        tokio::join!(server.client.get(&path), server.client.begin(&id, "ann", 30));
    begun.ok();
    let followed = followed.ok();
    assert!(followed["version"].as_u64() > version.as_u64(), "{followed:#}");
    assert_eq!(followed["runnable_id"], "ann");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_beyond_the_longest_is_capped_with_a_warning() {
    let server = Setup::fakes().start().await;
    let session = server.client.session_of(json!({"timeout": 1000})).await;
    assert_eq!(session["timeout"], 240);
    assert_eq!(session["warning"], "the timeout was capped to 240 minutes, the longest allowed");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_sessions_are_made_than_the_limit_allows() {
    let server = Setup::fakes().set("sessions.max_sessions", "1").start().await;
    let first = server.client.session_id().await;
    let refused = server.client.ask_for_session(json!({})).await;
    assert!(refused.headers.contains_key("retry-after"));
    let refused = refused.problem(429, "too_many_sessions");
    assert_eq!(refused["detail"], "1 sessions live on this node, which is its limit");
    server.client.close(&first).await.ok();
    server.client.session().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_ffmpeg_nothing_is_recorded_and_that_is_said() {
    let server = Setup::fakes().set("recording.ffmpeg", "no-such-ffmpeg").start().await;
    let client = &server.client;
    let id = client.session_id().await;
    let path = format!("/v1/browser_sessions/{id}/recordings");
    let refused = client.post(&path, json!({})).await.problem(424, "ffmpeg_missing");
    assert!(refused["detail"].as_str().unwrap().contains("scripts/setup"), "{refused:#}");
    let refused = client.ask_for_session(json!({"record": {"format": "mp4"}})).await;
    refused.problem(424, "ffmpeg_missing");
    let wrong = client.ask_for_session(json!({"record": {"format": "zip"}})).await;
    assert_eq!(wrong.wrong_fields().into_keys().collect::<Vec<_>>(), ["body.record.format"]);
    assert_eq!(client.get(&path).await.ok(), json!([]));
    client.post(&format!("{path}/a_1/stop"), json!({})).await.problem(404, "recording_unknown");
    client.get("/v1/browser_sessions/pbs_1/recordings").await.problem(404, "session_unknown");
    client.post(&path, json!({"frame_rate": 0})).await.wrong_fields();
    server.stop().await;
}
