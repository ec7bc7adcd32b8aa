//! The store of files: a bucket instead of the data directory, its outage, and retention.

use std::fs;
use std::path::Path;

use reqwest::Method;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::client::Answer;
use crate::support::s3::S3Server;
use crate::support::{Client, Setup, TestServer, eventually};

/// Stores a file as a download of a session, which ends. Returns the artifact.
async fn download(server: &TestServer, name: &str, content: &[u8]) -> Value {
    let client = &server.client;
    let session = client.session_id().await;
    fs::write(server.programs(&session).join("downloads").join(name), content).unwrap();
    client.close(&session).await.ok();
    eventually("the download is stored", async || {
        let files = client.get(&format!("/v1/browser_sessions/{session}/artifacts")).await;
        let files = files.ok();
        files.as_array().unwrap().iter().find(|it| it["artifact_type"] == "download").cloned()
    })
    .await
}

fn path(artifact: &Value) -> String {
    format!("/v1/artifacts/{}/content", artifact["artifact_id"].as_str().unwrap())
}

async fn get_with(client: &Client, path: &str, header: &str, value: &str) -> Answer {
    client.send_with(Method::GET, path, None, &[(header, value)]).await.unwrap()
}

async fn ready(server: &TestServer, status: u16) {
    eventually("it is ready, or not", async || {
        (server.client.get("/readyz").await.status == status).then_some(())
    })
    .await;
}

/// The number of files below a directory.
fn files_in(directory: &Path) -> usize {
    let entries = fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
    entries.map(|entry| if entry.path().is_dir() { files_in(&entry.path()) } else { 1 }).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_kept_in_a_bucket_through_its_outage_and_a_kill_of_the_server() {
    let folder = std::env::temp_dir().join(format!("gr-s3-{}", std::process::id()));
    let mut s3 = S3Server::start(&folder).await;
    let mut server = s3.settings(Setup::fakes()).start().await;
    ready(&server, 200).await;
    let file = download(&server, "table #1", b"0123456789").await;
    let organization = file["organization_id"].as_str().unwrap();
    assert_eq!(s3.count(&format!("artifacts/{organization}")), 1);
    assert_eq!(files_in(&server.directory.join("d/artifacts")), 0);
    assert_eq!(files_in(&server.directory.join("d/outbox")), 0);

    let whole = server.client.get(&path(&file)).await;
    assert_eq!((whole.status, whole.bytes.as_slice()), (200, b"0123456789".as_slice()));
    let tag = whole.headers["etag"].to_str().unwrap().to_owned();
    let part = get_with(&server.client, &path(&file), "range", "bytes=2-4").await;
    assert_eq!((part.status, part.bytes.as_slice()), (206, b"234".as_slice()));
    assert_eq!(part.headers["content-range"], "bytes 2-4/10");
    let known = get_with(&server.client, &path(&file), "if-none-match", &tag).await;
    assert_eq!((known.status, known.bytes.len()), (304, 0));
    let beyond = get_with(&server.client, &path(&file), "range", "bytes=10-").await;
    assert_eq!(
        (beyond.status, &beyond.headers["content-range"]),
        (416, &"bytes */10".parse().unwrap())
    );

    // Without the store, sessions go on, and their files wait on this machine.
    s3.kill().await;
    let away = server.client.get(&path(&file)).await.problem(503, "storage_unavailable");
    assert_eq!(away["retryable"], true);
    ready(&server, 503).await;
    let waiting = download(&server, "waiting", b"abc").await;
    assert_eq!(server.client.get(&path(&waiting)).await.bytes, b"abc");
    assert_eq!(files_in(&server.directory.join("d/outbox")), 1);
    let doctor = server.greenroom(&["doctor", "--json"]).await;
    let doctor: Value = serde_json::from_slice(&doctor.stdout).unwrap();
    let storage = doctor["checks"].as_array().unwrap().iter().find(|it| it["name"] == "storage");
    assert_eq!(storage.unwrap()["state"], "missing", "{doctor:#}");

    // A server that starts meanwhile takes over sessions all the same.
    let session = server.client.session_id().await;
    server.signal(Signal::KILL);
    server.ended().await;
    server.serve().await;
    server.client.once(&session, "running").await;
    assert_eq!(server.client.get("/readyz").await.status, 503);
    assert_eq!(server.client.get(&path(&waiting)).await.bytes, b"abc");

    s3.serve().await;
    ready(&server, 200).await;
    eventually("the outbox is empty", async || {
        (files_in(&server.directory.join("d/outbox")) == 0).then_some(())
    })
    .await;
    for (artifact, content) in [(&file, b"0123456789".as_slice()), (&waiting, b"abc")] {
        assert_eq!(server.client.get(&path(artifact)).await.bytes, content);
    }
    let leaks = server.operator().get("/admin/leaks").await.ok();
    assert_eq!(leaks["leaks"], json!([]), "{leaks:#}");

    // An object that is gone is lost for good.
    s3.remove(&format!("artifacts/{organization}"));
    server.client.get(&path(&file)).await.problem(410, "artifact_lost");
    server.stop().await;
    drop(s3);
    fs::remove_dir_all(folder).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_of_profiles_are_removed_by_size_but_for_those_in_use() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let state = |byte: u8| {
        // Without a pattern, so that it is hardly compressed.
        let mut bytes = vec![0; 400_000];
        blake3::Hasher::new().update(&[byte]).finalize_xof().fill(&mut bytes);
        let text: String = bytes.iter().map(|byte| char::from(b'0' + byte % 64)).collect();
        let items = json!([{ "name": "a", "value": text }]);
        json!({ "cookies": [], "origins": [{ "origin": "https://a.example", "localStorage": items }] })
    };
    let asked = json!({ "name": "Shop", "storage_state": state(1) });
    let profile = client.post("/v1/browser_profiles", asked).await.ok();
    let of_profile =
        format!("/v1/browser_profiles/{}", profile["browser_profile_id"].as_str().unwrap());
    // The stand-in of a browser takes no origin, so that its session starts from a version without one.
    let plain = json!({ "cookies": [], "origins": [] });
    let put = async |state: Value| {
        let path = format!("{of_profile}/storage_state?replace=true");
        client.send(Method::PUT, &path, Some(state)).await.ok()["version"].as_i64().unwrap()
    };
    assert_eq!(put(plain).await, 2);
    let copy = json!({ "browser_profile_id": profile["browser_profile_id"], "browser_profile_access": "copy" });
    let session = client.session_of(copy).await;
    assert_eq!(session["browser_profile_version"], 2);
    for version in 3..=6 {
        assert_eq!(put(state(u8::try_from(version).unwrap())).await, version);
    }
    let back = json!({ "version": 4 });
    client.post(&format!("{of_profile}/rollback"), back).await.ok();
    let operator = server.operator();
    let organizations = operator.get("/admin/organizations").await.ok();
    let id = organizations[0]["organization_id"].as_str().unwrap();
    let limits = json!({ "retention": { "profile_versions_max_mib": 1 } });
    operator.send(Method::PATCH, &format!("/admin/organizations/{id}"), Some(limits)).await.ok();
    let numbers = async || {
        let versions = client.get(&format!("{of_profile}/versions")).await.ok();
        let versions = versions.as_array().unwrap().clone();
        versions.iter().map(|it| it["version"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    // Five of about 300 kB each. Sessions start from 4, and one has started from 2.
    eventually("the oldest versions are removed", async || {
        (numbers().await == [6, 5, 4, 2]).then_some(())
    })
    .await;
    // The rows go before the archives.
    eventually("the archives of four and the description are left", async || {
        (files_in(&server.directory.join("d/profiles")) == 4 + 1).then_some(())
    })
    .await;
    eventually("the log says so", async || {
        server.log().contains("retention: 2 versions of profiles").then_some(())
    })
    .await;
    client.get(&format!("{of_profile}/storage_state?version=5")).await.ok();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_opened_now_is_not_reported_as_lost() {
    let server = Setup::fakes().start().await;
    let artifact = download(&server, "table", b"0123456789").await;
    let organization = artifact["organization_id"].as_str().unwrap();
    let folder = server.directory.join("d/artifacts").join(organization);
    let found = fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    // A link to itself is in place of the folder of the file, and then nothing.
    let moved = server.directory.join("moved");
    fs::rename(&found, &moved).unwrap();
    std::os::unix::fs::symlink(&found, &found).unwrap();
    let away = server.client.get(&path(&artifact)).await.problem(503, "storage_unavailable");
    assert_eq!(away["retryable"], true);
    fs::remove_file(&found).unwrap();
    server.client.get(&path(&artifact)).await.problem(410, "artifact_lost");
    fs::rename(&moved, &found).unwrap();
    assert_eq!(server.client.get(&path(&artifact)).await.bytes, b"0123456789");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_limits_what_is_kept_and_the_oldest_goes_at_once() {
    let server = Setup::fakes().start().await;
    let (older, newer) = (
        download(&server, "older", &[1; 700_000]).await,
        download(&server, "newer", &[2; 700_000]).await,
    );
    let operator = server.operator();
    let organizations = operator.get("/admin/organizations").await.ok();
    let id = organizations[0]["organization_id"].as_str().unwrap();
    let at = format!("/admin/organizations/{id}");
    let change = async |body: Value| {
        operator.send(Method::PATCH, &at, Some(json!({ "retention": body }))).await
    };
    let wrong = change(json!({ "artifacts_days": 0, "days": 1, "recordings_max_mib": "x" })).await;
    let wrong = wrong.wrong_fields();
    assert_eq!(
        wrong.keys().collect::<Vec<_>>(),
        [
            "body.retention.artifacts_days",
            "body.retention.days",
            "body.retention.recordings_max_mib"
        ]
    );
    let changed = change(json!({ "artifacts_max_mib": 1, "recordings_days": 3 })).await.ok();
    let expected = json!({
        "artifacts_days": null,
        "artifacts_max_mib": 1,
        "recordings_days": 3,
        "recordings_max_mib": null,
        "profile_versions_days": null,
        "profile_versions_max_mib": null,
    });
    assert_eq!(changed["retention"], expected);
    eventually("the older file is removed", async || {
        (server.client.get(&path(&older)).await.status == 404).then_some(())
    })
    .await;
    assert_eq!(server.client.get(&path(&newer)).await.bytes.len(), 700_000);
    assert_eq!(files_in(&server.directory.join("d/artifacts")), 1);
    assert!(server.log().contains("retention: 1 artifacts (700000 bytes)"), "{}", server.log());
    let changed = change(json!({ "artifacts_max_mib": null })).await.ok();
    assert_eq!(changed["retention"]["artifacts_max_mib"], Value::Null);
    server.stop().await;
}
