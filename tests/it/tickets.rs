//! Tickets to drive: their rights, number of uses, creators, and the resources that end with them.

use std::fs;
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::support::client::{Answer, Client, Lease};
use crate::support::driver::Driver;
use crate::support::viewer::{Viewer, refusal};
use crate::support::{Setup, TestServer, eventually};

/// The time within which everything that was opened with a ticket must end.
const AT_ONCE: Duration = Duration::from_secs(1);

fn viewers(id: &str) -> String {
    format!("/v1/browser_sessions/{id}/viewers")
}

async fn ticket(client: &Client, id: &str, body: Value) -> Value {
    client.post(&viewers(id), body).await.ok()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("no {name}: {value}"))
}

/// A request with a ticket in place of a key.
async fn with_ticket(
    server: &TestServer,
    method: Method,
    path: &str,
    ticket: &Value,
    body: Option<Value>,
) -> Answer {
    let headers = [("x-greenroom-ticket", text(ticket, "ticket"))];
    server.stranger().send_with(method, path, body, &headers).await.unwrap()
}

async fn begin(server: &TestServer, id: &str, ticket: &Value, wait: u64) -> Answer {
    let path = format!("/v1/browser_sessions/{id}/begin");
    let body = json!({ "runnable_id": "program", "ttl_seconds": 600, "wait_seconds": wait });
    with_ticket(server, Method::POST, &path, ticket, Some(body)).await
}

async fn key(client: &Client, body: Value) -> (String, Client) {
    let made = client.post("/v1/api_keys", body).await.ok();
    (text(&made, "api_key_id").to_owned(), client.with_key(made["key"].as_str()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_to_drive_opens_devtools_and_the_occupancy_of_its_session_and_nothing_else() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let (id, other) = (client.session_id().await, client.session_id().await);
    let made = ticket(client, &id, json!({ "role": "drive", "label": "crawler" })).await;
    assert_eq!((&made["role"], &made["single_use"]), (&json!("drive"), &json!(false)));
    assert!(made.get("link").is_none() && made["used_at"].is_null(), "{made}");
    let address = text(&made, "cdp_url");
    let (mut one, mut two) = (Driver::at(address).await, Driver::at(address).await);
    one.asks().await;
    two.asks().await;

    // Discovery repeats a ticket of the query, and no ticket of a header.
    let path = format!("/v1/browser_sessions/{id}");
    let version = format!("{path}/cdp/json/version");
    let queried = format!("{version}?ticket={}", text(&made, "ticket"));
    let found = server.stranger().get(&queried).await.ok();
    assert_eq!(found["webSocketDebuggerUrl"], address);
    let found = with_ticket(&server, Method::GET, &version, &made, None).await.ok();
    assert_eq!(found["webSocketDebuggerUrl"].as_str(), address.split('?').next());

    let begun = begin(&server, &id, &made, 0).await.ok();
    let proof = Lease::of(&begun).proof();
    for what in ["heartbeat", "release"] {
        let path = format!("{path}/{what}");
        with_ticket(&server, Method::POST, &path, &made, Some(proof.clone())).await.ok();
    }
    let shown = with_ticket(&server, Method::GET, &path, &made, None).await.ok();
    assert_eq!((&shown["status"], &shown["egress"]), (&json!("running"), &Value::Null));

    for (method, path, body) in [
        (Method::POST, viewers(&id), Some(json!({ "role": "watch" }))),
        (Method::POST, viewers(&id), Some(json!({ "role": "drive" }))),
        (Method::POST, format!("{path}/rotate"), None),
        (Method::POST, format!("{path}/close"), Some(json!({}))),
        (Method::GET, format!("/v1/browser_sessions/{other}"), None),
        (Method::GET, "/v1/browser_sessions".to_owned(), None),
    ] {
        let answer = with_ticket(&server, method, &path, &made, body).await;
        answer.problem(403, "credentials_invalid");
    }
    let renew = format!("{path}/renew");
    let renewed = with_ticket(&server, Method::POST, &renew, &made, Some(json!({}))).await;
    renewed.problem(403, "watch_only");
    let elsewhere = address.replace(&id, &other);
    assert_eq!(Driver::refused(&elsewhere).await, (403, "credentials_invalid".to_owned()));
    let watching = ticket(client, &id, json!({ "role": "control" })).await;
    let by_viewer = address.replace(text(&made, "ticket"), text(&watching, "ticket"));
    assert_eq!(Driver::refused(&by_viewer).await, (403, "ticket_insufficient".to_owned()));

    let listed = client.get(&viewers(&id)).await.ok();
    let first = &listed["tickets"][0];
    assert_eq!((&first["role"], &first["label"]), (&json!("drive"), &json!("crawler")));
    assert!(first["used_at"].is_string() && first["expires_at"].is_string(), "{listed}");
    assert!(!listed.to_string().contains(text(&made, "ticket")));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_for_a_single_use_connects_once_or_begins_once() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let id = client.session_id().await;
    let single = json!({ "role": "drive", "single_use": true });
    let used = (403, "ticket_used".to_owned());
    let path = format!("/v1/browser_sessions/{id}");
    let version = format!("{path}/cdp/json/version");

    let made = ticket(client, &id, single.clone()).await;
    assert_eq!((&made["uses"], &made["single_use"]), (&json!("single"), &json!(true)));
    // Discovery of DevTools does not count as a use.
    with_ticket(&server, Method::GET, &version, &made, None).await.ok();
    let shown = with_ticket(&server, Method::GET, &path, &made, None).await;
    shown.problem(403, "ticket_insufficient");
    let mut driver = Driver::at(text(&made, "cdp_url")).await;
    assert_eq!(Driver::refused(text(&made, "cdp_url")).await, used);
    begin(&server, &id, &made, 0).await.problem(403, "ticket_used");
    with_ticket(&server, Method::GET, &version, &made, None).await.problem(403, "ticket_used");
    driver.asks().await;
    drop(driver);
    assert_eq!(Driver::refused(text(&made, "cdp_url")).await, used, "its driver has left");
    let listed = client.get(&viewers(&id)).await.ok();
    assert!(listed["tickets"][0]["used_at"].is_string(), "{listed}");

    let made = ticket(client, &id, json!({ "role": "drive", "uses": "single" })).await;
    let held = Lease::of(&client.begin(&id, "ann", 60).await.ok());
    // A failed begin does not count as a use.
    begin(&server, &id, &made, 0).await.problem(409, "session_occupied");
    client.release(&id, &held).await.ok();
    let begun = begin(&server, &id, &made, 0).await.ok();
    begin(&server, &id, &made, 0).await.problem(403, "ticket_used");
    assert_eq!(Driver::refused(text(&made, "cdp_url")).await, used);
    // A ticket can renew, drive and release the occupancy that it began.
    let proof = Lease::of(&begun).proof();
    let heartbeat = format!("{path}/heartbeat");
    with_ticket(&server, Method::POST, &heartbeat, &made, Some(proof.clone())).await.ok();
    for _ in 0..2 {
        Driver::at(text(&begun, "browser_address")).await.asks().await;
    }
    let release = format!("{path}/release");
    with_ticket(&server, Method::POST, &release, &made, Some(proof)).await.ok();

    let wrong = json!({ "role": "drive", "uses": "many", "single_use": true });
    let wrong = client.post(&viewers(&id), wrong).await.wrong_fields();
    assert_eq!(wrong.keys().collect::<Vec<_>>(), ["body.single_use"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_that_connect_at_once_with_a_ticket_for_a_single_use_one_wins() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let id = client.session_id().await;
    for _ in 0..10 {
        let made = ticket(client, &id, json!({ "role": "drive", "single_use": true })).await;
        let all = join_all((0..8).map(|_| Driver::dial(text(&made, "cdp_url")))).await;
        let refused: Vec<_> = all.iter().filter_map(|it| it.as_ref().err()).collect();
        assert_eq!(refused.len(), 7, "{refused:?}");
        assert!(refused.iter().all(|(status, code)| *status == 403 && code == "ticket_used"));
        for mut driver in all.into_iter().flatten() {
            driver.asks().await;
        }

        let made = ticket(client, &id, json!({ "role": "drive", "single_use": true })).await;
        let address = text(&made, "cdp_url");
        let (begun, driver) = tokio::join!(begin(&server, &id, &made, 0), Driver::dial(address));
        assert_ne!(begun.status == 200, driver.is_ok(), "{} {:?}", begun.text(), driver.err());
        if begun.status == 200 {
            client.release(&id, &Lease::of(&begun.ok())).await.ok();
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_key_makes_a_ticket_that_opens_more_than_itself() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let (own, other) = (client.session_id().await, client.session_id().await);
    let operator = server.operator();
    let organization = client.get("/v1/api_keys").await.ok()[0]["organization_id"].clone();
    let keys = format!("/admin/organizations/{}/api_keys", organization.as_str().unwrap());
    let made = operator.post(&keys, json!({ "label": "o", "role": "operator" })).await.ok();
    let operating = client.with_key(made["key"].as_str());
    let limited = |role: &str| json!({ "label": role, "role": role, "sessions": [own] });
    let (_, watch) = key(client, limited("watch")).await;
    let (_, drive) = key(client, limited("drive")).await;
    let (_, organization) = key(client, json!({ "label": "organization" })).await;

    // Creator: of its own session watch, control, drive; of another session the same.
    for (maker, name, expected) in [
        (&watch, "watch", [403, 403, 403, 403, 403, 403]),
        (&drive, "drive", [200, 403, 200, 404, 404, 404]),
        (&organization, "organization", [200, 200, 200, 200, 200, 200]),
        (&operating, "operator", [200, 200, 200, 200, 200, 200]),
    ] {
        let mut got = Vec::new();
        for id in [&own, &other] {
            for role in ["watch", "control", "drive"] {
                got.push(maker.post(&viewers(id), json!({ "role": role })).await.status);
            }
        }
        assert_eq!(got, expected, "{name}");
    }
    let control = drive.post(&viewers(&own), json!({ "role": "control" })).await;
    control.problem(403, "key_insufficient");

    // It can revoke the tickets that it created, and no others.
    let (theirs, ours) = (
        ticket(&drive, &own, json!({ "role": "drive" })).await,
        ticket(client, &own, json!({ "role": "drive" })).await,
    );
    let path = |made: &Value| format!("{}/{}", viewers(&own), text(made, "viewer_id"));
    let foreign = drive.send(Method::DELETE, &path(&ours), None).await;
    foreign.problem(404, "viewer_unknown");
    assert_eq!(drive.send(Method::DELETE, &path(&theirs), None).await.status, 204);
    assert_eq!(
        Driver::refused(text(&theirs, "cdp_url")).await,
        (403, "credentials_invalid".to_owned())
    );
    Driver::at(text(&ours, "cdp_url")).await.asks().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_ticket_opened_ends_with_it_at_once() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let id = client.session_id().await;
    let path = format!("/v1/browser_sessions/{id}");
    let by_key = client.socket_url(&format!("{path}/cdp?apikey={}", client.key()));
    let mut by_key = Driver::at(&by_key).await;
    for (way, word) in [
        ("revoke one", "ticket-revoked"),
        ("revoke all", "ticket-revoked"),
        ("rotate", "ticket-revoked"),
        ("end of the key", "ticket-revoked"),
        ("expiry", "ticket-expired"),
    ] {
        let (maker_id, maker) = key(client, json!({ "label": way, "role": "drive" })).await;
        let ttl = if way == "expiry" { 3 } else { 600 };
        let asked = json!({ "role": "drive", "ttl_seconds": ttl });
        let made = ticket(&maker, &id, asked).await;
        let mut driver = Driver::at(text(&made, "cdp_url")).await;
        let begun = begin(&server, &id, &made, 0).await.ok();
        let mut by_lease = Driver::at(text(&begun, "browser_address")).await;

        let since = Instant::now();
        match way {
            "revoke one" => {
                let one = format!("{path}/viewers/{}", text(&made, "viewer_id"));
                assert_eq!(client.send(Method::DELETE, &one, None).await.status, 204);
            }
            "revoke all" => {
                let revoked = client.send(Method::DELETE, &viewers(&id), None).await.ok();
                assert_eq!(revoked["revoked"], 1);
            }
            "rotate" => {
                let rotated = client.post(&format!("{path}/rotate"), json!({})).await.ok();
                assert_eq!(rotated["lease"], Value::Null, "it ends with its ticket: {rotated}");
                assert_eq!(rotated["ended"]["leases"], 1);
            }
            "end of the key" => {
                let key = format!("/v1/api_keys/{maker_id}");
                client.send(Method::DELETE, &key, None).await.ok();
            }
            _expiry => {}
        }
        let since = if way == "expiry" { since + Duration::from_secs(ttl) } else { since };
        let limit = since + AT_ONCE;
        let cut = timeout(limit - Instant::now(), async {
            let lost = by_lease.closed().await;
            assert!(["occupancy-lost", "key-revoked"].contains(&lost.as_str()), "{way}: {lost}");
            driver.closed().await
        });
        assert_eq!(cut.await.unwrap_or_else(|_| panic!("{way}: not at once")), word, "{way}");
        eventually("the session is vacant", async || {
            client.look(&id).await["occupancy"]["runnable_id"].is_null().then_some(())
        })
        .await;
        assert!(Instant::now() < limit, "{way}: vacant after {:?}", since.elapsed());
        let ended = (403, "credentials_invalid".to_owned());
        assert_eq!(Driver::refused(text(&made, "cdp_url")).await, ended, "{way}");
        let lost = Driver::refused(text(&begun, "browser_address")).await;
        assert_eq!(lost, (409, "occupancy_lost".to_owned()), "{way}");
        by_key.asks().await;
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_begin_that_waits_with_a_ticket_ends_with_it() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let id = client.session_id().await;
    let held = Lease::of(&client.begin(&id, "ann", 600).await.ok());
    let made = ticket(client, &id, json!({ "role": "drive", "single_use": true })).await;
    let revoke = async {
        eventually("it waits", async || {
            let session = client.look(&id).await;
            (session["occupancy"]["waiters"].as_array().unwrap().len() == 1).then_some(())
        })
        .await;
        // A waiting begin counts as the use, and another begin is refused meanwhile.
        let used = (403, "ticket_used".to_owned());
        assert_eq!(Driver::refused(text(&made, "cdp_url")).await, used);
        let one = format!("{}/{}", viewers(&id), text(&made, "viewer_id"));
        assert_eq!(client.send(Method::DELETE, &one, None).await.status, 204);
    };
    let (begun, ()) = tokio::join!(begin(&server, &id, &made, 600), revoke);
    begun.problem(403, "ticket_ended");
    client.heartbeat(&id, &held).await.ok();
    client.release(&id, &held).await.ok();
    assert!(client.look(&id).await["occupancy"]["runnable_id"].is_null());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tickets_outlive_a_stop_that_keeps_the_sessions_and_nothing_that_has_ended_comes_back() {
    let mut server = Setup::fakes().argument("--keep-sessions").start().await;
    let id = server.client.session_id().await;
    let (_, ann) = key(&server.client, json!({ "label": "ann" })).await;
    let many = ticket(&server.client, &id, json!({ "role": "watch", "label": "lobby" })).await;
    let single = ticket(&ann, &id, json!({ "role": "control", "uses": "single" })).await;
    let used = ticket(&ann, &id, json!({ "role": "drive", "uses": "single" })).await;
    let revoked = ticket(&server.client, &id, json!({ "role": "watch" })).await;
    let seen = |server: &TestServer, ticket: &Value, page: &str| {
        let path = format!(
            "/v1/stream/vnc/browser_session/{id}?ticket={}&client_id={page}",
            text(ticket, "ticket")
        );
        server.client.socket_url(&path)
    };
    Viewer::at(&seen(&server, &single, "first")).await;
    begin(&server, &id, &used, 0).await.ok();
    let path = format!("{}/{}", viewers(&id), text(&revoked, "viewer_id"));
    assert_eq!(server.client.send(Method::DELETE, &path, None).await.status, 204);
    let listed =
        async |server: &TestServer| server.client.get(&viewers(&id)).await.ok()["tickets"].clone();
    let before = listed(&server).await;

    server.signal(Signal::TERM);
    server.ended().await;
    let file = server.directory.join("d/tickets.json");
    let kept = fs::read_to_string(&file).unwrap();
    for secret in [&many, &single, &used] {
        assert!(!kept.contains(&text(secret, "ticket")[3..]), "the file has a secret");
    }
    server.serve().await;
    assert!(!file.exists(), "its tickets could come back");
    assert_eq!(listed(&server).await, before);
    Viewer::at(&seen(&server, &many, "any")).await;
    Viewer::at(&seen(&server, &single, "first")).await;
    assert_eq!(refusal(&seen(&server, &single, "second")).await, 1002);
    assert_eq!(refusal(&seen(&server, &revoked, "any")).await, 1002);
    begin(&server, &id, &used, 0).await.problem(403, "ticket_used");

    // A key that ended meanwhile ends its tickets; a file that is no such file ends them all.
    server.signal(Signal::TERM);
    server.ended().await;
    fs::write(&file, "{}").unwrap();
    server.serve().await;
    assert_eq!(refusal(&seen(&server, &many, "any")).await, 1002);
    assert!(!file.exists());

    // After a crash there is nothing to take over.
    let late = ticket(&server.client, &id, json!({ "role": "watch" })).await;
    TestServer::kill(server.pid());
    server.ended().await;
    server.serve().await;
    assert_eq!(refusal(&seen(&server, &late, "any")).await, 1002);
    server.client.close(&id).await.ok();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tickets_of_a_key_that_ends_with_the_server_are_not_taken_over() {
    let mut server = Setup::fakes().argument("--keep-sessions").start().await;
    let id = server.client.session_id().await;
    let (ann_id, ann) = key(&server.client, json!({ "label": "ann" })).await;
    let hers = ticket(&ann, &id, json!({ "role": "watch" })).await;
    server.signal(Signal::TERM);
    server.ended().await;
    let kept = server.directory.join("d/tickets.json");
    let text_of_file = fs::read(&kept).unwrap();
    server.serve().await;
    let path = format!("/v1/api_keys/{ann_id}");
    server.client.send(Method::DELETE, &path, None).await.ok();
    server.signal(Signal::TERM);
    server.ended().await;
    // As if the former server had been stopped before the key was revoked.
    fs::write(&kept, text_of_file).unwrap();
    server.serve().await;
    let path = format!("/v1/stream/vnc/browser_session/{id}?ticket={}", text(&hers, "ticket"));
    assert_eq!(refusal(&server.client.socket_url(&path)).await, 1002);
    assert_eq!(server.client.get(&viewers(&id)).await.ok()["tickets"], json!([]));
    server.client.close(&id).await.ok();
    server.stop().await;
}
