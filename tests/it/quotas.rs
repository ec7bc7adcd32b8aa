//! Quotas of organizations: refusals at each limit, freed places, and the figures in the API.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use greenroom::db::Db;
use greenroom::db::store::Store as _;
use greenroom::domain::ids::Mint;
use greenroom::domain::run::ArtifactRecord;
use reqwest::Method;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::support::client::{Answer, Lease, id_of};
use crate::support::{Client, PATIENCE, Setup, TestServer, eventually, on_both_databases};

/// The id of the first organization.
async fn own_id(server: &TestServer) -> String {
    let all = server.operator().get("/admin/organizations").await.ok();
    all[0]["organization_id"].as_str().unwrap().to_owned()
}

async fn patch(server: &TestServer, id: &str, quotas: Value) -> Answer {
    let path = format!("/admin/organizations/{id}");
    server.operator().send(Method::PATCH, &path, Some(json!({ "quotas": quotas }))).await
}

/// Sets limits of the first organization.
async fn limit(server: &TestServer, quotas: Value) {
    patch(server, &own_id(server).await, quotas).await.ok();
}

/// A quota, as the API returns it.
async fn quota(client: &Client, name: &str) -> Value {
    client.get("/v1/quotas").await.ok()[name].clone()
}

async fn used(client: &Client, name: &str) -> u64 {
    quota(client, name).await["used"].as_u64().unwrap()
}

/// Waits until a quota is unused: the server notices that a client has left with its connection.
async fn free(client: &Client, name: &str) {
    eventually(&format!("{name} is free"), async || (used(client, name).await == 0).then_some(()))
        .await;
}

fn header(answer: &Answer, name: &str) -> String {
    answer.headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned()
}

/// Asserts that a request was refused for a quota, with all headers and fields that a client needs.
#[track_caller]
fn refused(answer: Answer, name: &str, limit: u64) -> Value {
    let headers = ["resource", "limit", "remaining", "reset"]
        .map(|what| header(&answer, &format!("x-ratelimit-{what}")));
    let retry_after: i64 = header(&answer, "retry-after").parse().expect("Retry-After");
    let body = answer.problem(429, "quota_exceeded");
    assert_eq!(headers[..3], [name.to_owned(), limit.to_string(), "0".to_owned()], "{body:#}");
    let now = chrono::Utc::now().timestamp();
    let reset = headers[3].parse::<i64>().unwrap();
    assert!((now..now + 86_402).contains(&reset), "{reset} at {now}");
    assert!((1..=86_400).contains(&retry_after), "{retry_after}");
    assert_eq!((&body["quota"]["name"], &body["quota"]["limit"]), (&json!(name), &json!(limit)));
    let detail = body["detail"].as_str().unwrap();
    for part in [format!("`{name}`"), format!("of {limit} "), "operator".to_owned()] {
        assert!(detail.contains(&part), "{detail}");
    }
    assert_eq!(body["retryable"], true);
    body
}

/// A socket of the organization, or the response to its handshake.
async fn dial(
    client: &Client,
    path: &str,
) -> Result<WebSocketStream<MaybeTlsStream<TcpStream>>, Box<Answer>> {
    let separator = if path.contains('?') { '&' } else { '?' };
    let url = client.socket_url(&format!("{path}{separator}apikey={}", client.key()));
    match connect_async(url).await {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(answer)) => {
            let (parts, body) = answer.into_parts();
            let bytes = body.unwrap_or_default();
            let status = parts.status.as_u16();
            Err(Box::new(Answer { status, headers: parts.headers, bytes }))
        }
        Err(other) => panic!("{other}"),
    }
}

on_both_databases! {
    async fn of_twenty_creates_at_once_at_a_limit_of_three_three_are_made(database) {
        let mut server = Setup::fakes().on(database).start().await;
        let other = server.another_organization().await;
        limit(&server, json!({ "sessions": 3 })).await;
        let client = server.client.clone();
        let ask = || client.ask_for_session(json!({ "width": 640, "height": 480 }));
        let mut made = Vec::new();
        for answer in join_all((0..20).map(|_| ask())).await {
            match answer.status {
                200 => {
                    assert_eq!(header(&answer, "x-ratelimit-resource"), "sessions");
                    assert_eq!(header(&answer, "x-ratelimit-limit"), "3");
                    made.push(id_of(&answer.json()));
                }
                _ => drop(refused(answer, "sessions", 3)),
            }
        }
        assert_eq!((made.len(), client.list().await.len()), (3, 3));
        assert_eq!(quota(&client, "sessions").await, json!({ "limit": 3, "used": 3, "resets_at": null }));
        // Another organization has its own limits, and does not see these.
        let theirs = other.session_id().await;
        assert_eq!(quota(&other, "sessions").await, json!({ "limit": null, "used": 1, "resets_at": null }));

        // The place is free when the response to the close has arrived.
        client.close(&made[0]).await.ok();
        made[0] = client.session_id().await;
        refused(ask().await, "sessions", 3);

        server.signal(Signal::KILL);
        server.ended().await;
        server.serve().await;
        let client = server.client.clone();
        for id in &made {
            client.once(id, "running").await;
        }
        let ask = || client.ask_for_session(json!({ "width": 640, "height": 480 }));
        refused(ask().await, "sessions", 3);
        // A lower limit ends no live session.
        limit(&server, json!({ "sessions": 0 })).await;
        refused(ask().await, "sessions", 0);
        assert_eq!(client.list().await.len(), 3);
        limit(&server, json!({ "sessions": null })).await;
        assert_eq!(ask().await.headers.get("x-ratelimit-limit"), None);
        server.client.with_key(Some(other.key())).close(&theirs).await.ok();
        server.stop().await;
    }
}

on_both_databases! {
    async fn of_twenty_runs_at_once_at_a_limit_of_two_two_begin(database) {
        let server = Setup::fakes().on(database).start().await;
        let client = &server.client;
        limit(&server, json!({ "runs": 2 })).await;
        let blocks = json!([{ "block_type": "wait", "label": "w", "wait_sec": 600 }]);
        let workflow = client.workflow(blocks).await;
        let session = client.session_id().await;
        let request = json!({ "workflow_id": workflow, "browser_session_id": session });
        let start = || client.post("/v1/run/workflows", request.clone());
        let mut begun = Vec::new();
        for answer in join_all((0..20).map(|_| start())).await {
            match answer.status {
                200 => begun.push(answer.json()["run_id"].as_str().unwrap().to_owned()),
                _ => drop(refused(answer, "runs", 2)),
            }
        }
        assert_eq!((begun.len(), used(client, "runs").await), (2, 2));
        client.post(&format!("/v1/runs/{}/cancel", begun[0]), json!({})).await.ok();
        client.run_once(&begun[0], "canceled").await;
        start().await.ok();
        refused(start().await, "runs", 2);
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_were_closed_count_for_a_minute() {
    let server = Setup::fakes().set("quotas.creates_per_minute", "2").start().await;
    let client = &server.client;
    for left in ["1", "0"] {
        let made = client.ask_for_session(json!({})).await;
        assert_eq!(header(&made, "x-ratelimit-resource"), "creates_per_minute");
        assert_eq!(header(&made, "x-ratelimit-remaining"), left);
        client.close(&id_of(&made.ok())).await.ok();
    }
    let body = refused(client.ask_for_session(json!({})).await, "creates_per_minute", 2);
    let resets_at: chrono::DateTime<chrono::Utc> =
        body["quota"]["resets_at"].as_str().unwrap().parse().unwrap();
    assert!((resets_at - chrono::Utc::now()).num_seconds() <= 60, "{body:#}");
    assert_eq!(used(client, "sessions").await, 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_and_runs_that_wait_are_counted_together_and_leave_their_places() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    limit(&server, json!({ "waiters": 1 })).await;
    let id = client.session_id().await;
    let ann = Lease::of(&client.begin(&id, "ann", 60).await.ok());
    let begin = |who: &'static str| {
        let (client, path) = (client.clone(), format!("/v1/browser_sessions/{id}/begin"));
        let body = json!({ "runnable_id": who, "ttl_seconds": 60, "wait_seconds": 600 });
        async move { client.post(&path, body).await }
    };
    let waiting = |count: u64| async move {
        eventually("the waiters are counted", async || {
            (used(client, "waiters").await == count).then_some(())
        })
        .await;
    };
    let bob = tokio::spawn(begin("bob"));
    waiting(1).await;
    refused(begin("cyd").await, "waiters", 1);
    let blocks = json!([{ "block_type": "wait", "label": "w", "wait_sec": 1 }]);
    let workflow = client.workflow(blocks).await;
    let run = client.run(&workflow, json!({ "browser_session_id": id })).await;
    let failed = client.run_once(&run, "failed").await;
    assert!(failed["failure_reason"].as_str().unwrap().contains("`waiters`"), "{failed:#}");

    bob.abort(); // As after a crash.
    waiting(0).await;
    let dan = tokio::spawn(begin("dan"));
    waiting(1).await;
    client.release(&id, &ann).await.ok();
    let dan = Lease::of(&dan.await.unwrap().ok());
    assert_eq!(used(client, "waiters").await, 0);
    let eve = tokio::spawn(begin("eve"));
    waiting(1).await;
    client.close(&id).await.ok();
    assert_eq!(eve.await.unwrap().status, 410);
    assert_eq!((used(client, "waiters").await, dan.generation), (0, 2));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_beyond_a_limit_are_refused_before_the_upgrade_until_one_is_left() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let other = server.another_organization().await;
    let quotas = json!({ "viewers": 1, "devtools_connections": 1, "event_streams": 1 });
    limit(&server, quotas).await;
    let (id, theirs) = (client.session_id().await, other.session_id().await);
    for (path, name) in [
        (format!("/v1/stream/vnc/browser_session/{id}"), "viewers"),
        (format!("/v1/stream/browser_sessions/{id}?force_cdp=true"), "viewers"),
        (format!("/v1/browser_sessions/{id}/cdp"), "devtools_connections"),
        (format!("/v1/stream/messages/browser_session/{id}?client_id=page"), "event_streams"),
        (format!("/v1/stream/cdp_input/browser_session/{id}?client_id=page"), "event_streams"),
    ] {
        free(client, name).await;
        let socket = dial(client, &path).await.unwrap_or_else(|answer| panic!("{}", answer.text()));
        assert_eq!(used(client, name).await, 1, "{path}");
        refused(*dial(client, &path).await.expect_err("a refusal"), name, 1);
        // A foreign id and an unknown one differ in nothing at a limit either.
        let of = async |id_of: &str| {
            let refused = dial(client, &path.replace(&id, id_of)).await.expect_err("a refusal");
            (refused.status, refused.json()["code"].clone())
        };
        assert_eq!(of(&theirs).await, of("pbs_1").await, "{path}");
        assert_eq!(used(&other, name).await, 0);
        drop(socket);
    }
    for name in ["viewers", "devtools_connections", "event_streams"] {
        free(client, name).await;
    }
    let events = client.stream("/v1/events", None).await;
    refused(client.get("/v1/events").await, "event_streams", 1);
    drop(events);
    free(client, "event_streams").await;
    // Tickets and leases count for their organization.
    let invited = client
        .post(&format!("/v1/browser_sessions/{id}/viewers"), json!({ "role": "watch" }))
        .await
        .ok();
    let ticket = invited["ticket"].as_str().unwrap();
    let path = format!("/v1/stream/vnc/browser_session/{id}?ticket={ticket}");
    let (ticket, _) = connect_async(client.socket_url(&path)).await.unwrap();
    assert_eq!(used(client, "viewers").await, 1);
    drop(ticket);
    let begun = client.begin(&id, "ann", 60).await.ok();
    let (driver, _) = connect_async(begun["browser_address"].as_str().unwrap()).await.unwrap();
    assert_eq!(used(client, "devtools_connections").await, 1);
    drop(driver);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_at_once_are_limited_and_an_operator_can_always_raise_the_limit() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    assert_eq!(
        quota(client, "requests").await,
        json!({ "limit": 1000, "used": 1, "resets_at": null })
    );
    let waiting = {
        let client = client.clone();
        let path = "/v1/events?after=latest&wait_seconds=30";
        tokio::spawn(async move { client.events(path).await })
    };
    eventually("the poll is under way", async || {
        (quota(client, "requests").await["used"] == 2).then_some(())
    })
    .await;
    limit(&server, json!({ "requests": 1 })).await;
    refused(client.get("/v1/browser_sessions").await, "requests", 1);
    waiting.abort();
    eventually("the poll is over", async || {
        (client.get("/v1/browser_sessions").await.status == 200).then_some(())
    })
    .await;
    limit(&server, json!({ "requests": 0 })).await;
    refused(client.get("/v1/browser_sessions").await, "requests", 0);
    limit(&server, json!({ "requests": null })).await;
    client.get("/v1/browser_sessions").await.ok();
    server.stop().await;
}

/// Adds an artifact to the first organization by writing to the database.
async fn store(server: &TestServer, bytes: i64) {
    let settings = serde_json::from_value(json!({})).unwrap();
    let db = Db::open(&settings, &server.directory.join("d")).await.unwrap();
    let (mint, now) = (Mint::new(7), chrono::Utc::now());
    let id = mint.mint(now);
    let artifact = ArtifactRecord {
        id,
        organization: own_id(server).await.parse().unwrap(),
        session: None,
        run: None,
        block: None,
        artifact_type: "download".to_owned(),
        path: format!("x/{id}"),
        media_type: "text/plain".to_owned(),
        size: bytes,
        checksum: None,
        created_at: now,
        rotation: 0,
    };
    db.insert_artifact(artifact).await.unwrap();
    db.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_store_more_is_refused_when_the_storage_is_used_up() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    store(&server, (2 << 20) - 1).await;
    assert_eq!(used(client, "storage_mib").await, 2);
    let blocks = json!([{ "block_type": "wait", "label": "w", "wait_sec": 1 }]);
    let workflow = client.workflow(blocks).await;
    let session = client.session_of(json!({ "generate_browser_profile": true })).await;
    let id = session["browser_session_id"].as_str().unwrap();
    client.close(id).await.ok();
    limit(&server, json!({ "storage_mib": 1 })).await;
    let copy = json!({ "name": "Copy", "browser_session_id": id });
    refused(client.post("/v1/browser_profiles", copy).await, "storage_mib", 1);
    let request = json!({ "workflow_id": workflow });
    refused(client.post("/v1/run/workflows", request.clone()).await, "storage_mib", 1);
    limit(&server, json!({ "storage_mib": 3 })).await;
    client.post("/v1/run/workflows", request).await.ok();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_session_is_made_when_the_traffic_of_the_day_is_used_up() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let id = client.session_id().await;
    limit(&server, json!({ "egress_mib_per_day": 0 })).await;
    let body = refused(client.ask_for_session(json!({})).await, "egress_mib_per_day", 0);
    let resets_at = body["quota"]["resets_at"].as_str().unwrap();
    assert!(resets_at.contains("T00:00:00"), "{resets_at}");
    assert_eq!(client.look(&id).await["status"], "running");
    limit(&server, json!({ "egress_mib_per_day": null })).await;
    client.session_id().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organization_that_goes_on_asking_waits_and_no_other_does() {
    let server = Setup::fakes().set("quotas.refusal_delay_milliseconds", "4000").start().await;
    let client = &server.client;
    let other = server.another_organization().await;
    limit(&server, json!({ "sessions": 0 })).await;
    for _ in 0..10 {
        refused(client.ask_for_session(json!({})).await, "sessions", 0);
    }
    let began = Instant::now();
    refused(client.ask_for_session(json!({})).await, "sessions", 0);
    assert!(began.elapsed() >= Duration::from_secs(4));
    // Accepted requests are not delayed, nor are those of other organizations.
    let began = Instant::now();
    client.list().await;
    other.list().await;
    assert!(began.elapsed() < Duration::from_secs(4));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_quotas_that_is_at_fault_says_where_and_changes_nothing() {
    let server = Setup::fakes().start().await;
    let id = own_id(&server).await;
    patch(&server, &id, json!({ "sessions": 5 })).await.ok();
    for (quotas, field, part) in [
        (json!({ "sesions": 1 }), "body.quotas.sesions", "did you mean `sessions`?"),
        (json!({ "sessions": -1 }), "body.quotas.sessions", "0 to 1000000000"),
        (json!({ "sessions": 1.5 }), "body.quotas.sessions", "0 to 1000000000"),
        (json!({ "sessions": 1_000_000_001 }), "body.quotas.sessions", "0 to 1000000000"),
        (json!({ "sessions": 1e30 }), "body.quotas.sessions", "0 to 1000000000"),
        (json!({ "sessions": "5" }), "body.quotas.sessions", "0 to 1000000000"),
        (json!({ "viewers": 1, "runs": true }), "body.quotas.runs", "0 to 1000000000"),
        (json!([1]), "body.quotas", "expected"),
    ] {
        let wrong = patch(&server, &id, quotas.clone()).await.wrong_fields();
        let (named, message) = wrong.iter().next().unwrap();
        assert!(named == field && message.contains(part), "{quotas}: {wrong:?}");
    }
    let both = patch(&server, &id, json!({ "a": 1, "runs": -1 })).await.wrong_fields();
    assert_eq!(both.len(), 2, "{both:?}");
    patch(&server, "o_1", json!({})).await.problem(404, "organization_unknown");
    let shown = server.operator().get(&format!("/admin/organizations/{id}")).await.ok();
    assert_eq!(shown["quotas"]["sessions"]["limit"], 5);
    assert_eq!(shown["quotas"]["viewers"]["limit"], Value::Null);
    assert_eq!(shown["quotas"].as_object().unwrap().len(), 10);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_shows_quotas_and_changes_them() {
    let server = Setup::fakes().set("quotas.viewers", "7").start().await;
    let id = own_id(&server).await;
    let run = async |arguments: &[&str]| {
        let all = [&["organizations", "quotas", &id], arguments].concat();
        let output = server.greenroom(&all).await;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    };
    let (_, table, errors) = run(&["sessions=5", "viewers=9"]).await;
    assert!(table.starts_with("QUOTA"), "{table}{errors}");
    let cells = |name: &str, table: &str| {
        let row = table.lines().find(|line| line.starts_with(name)).unwrap();
        row.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(cells("sessions", &table), ["sessions", "5", "0", "-"]);
    assert_eq!(cells("viewers", &table), ["viewers", "9", "0", "-"]);
    let (_, table, _) = run(&["viewers=default"]).await;
    assert_eq!(cells("viewers", &table), ["viewers", "7", "0", "-"]);
    let (_, shown, _) = run(&["--json"]).await;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["sessions"], json!({ "limit": 5, "used": 0, "resets_at": null }));
    for (wrong, part) in [
        ("sesions=5", "did you mean `sessions`?"),
        ("sessions=-1", "0 to 1000000000"),
        ("sessions", "NAME=LIMIT"),
    ] {
        let (went_well, _, errors) = run(&[wrong]).await;
        assert!(!went_well && errors.contains(part), "{errors}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_of_one_organization_leave_room_for_those_of_another() {
    let setup = Setup::fakes().set("http.max_bodies_bytes", (1 << 20).to_string());
    let server = setup.set("http.max_body_bytes", (512 << 10).to_string()).start().await;
    let other = server.another_organization().await;
    // Bodies that stop after their start: each holds most of the share of its organization.
    let address = server.client.base.strip_prefix("http://").unwrap().to_owned();
    let head = format!(
        "POST /v1/workflows HTTP/1.1\r\nHost: {address}\r\nx-api-key: {}\r\n\
         Content-Length: 500000\r\n\r\n{}",
        server.client.key(),
        " ".repeat(400_000)
    );
    let body = Value::String(format!("{}{}", " ".repeat(400_000), json!({ "timeout": 1 })));
    let ask = |client: Client| {
        let body = body.clone();
        async move { client.post("/v1/browser_sessions", body).await }
    };
    let mut held = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    // Bodies that are sent at once may all be beyond the share, and be cut while they are sent.
    while ask(server.client.clone()).await.status != 429 {
        use tokio::io::AsyncWriteExt as _;
        let mut socket = TcpStream::connect(&address).await.unwrap();
        let _cut = socket.write_all(head.as_bytes()).await;
        held.push(socket);
        assert!(Instant::now() < deadline, "its own share is not taken");
    }
    // The whole body was read: its field is invalid.
    ask(other).await.problem(422, "invalid_request");
    drop(held);
    server.stop().await;
}
