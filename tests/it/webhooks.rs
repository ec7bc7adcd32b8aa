//! Webhooks: delivery at least once, with a signature.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::receiver::{Receiver, Reply};
use crate::support::server::KEY;
use crate::support::{Client, Setup, TestServer, eventually, on_both_databases};

/// A server that delivers to loopback addresses, and retries at once.
fn setup() -> Setup {
    Setup::fakes()
        .set("webhooks.allowed_hosts", "127.0.0.1")
        .set("webhooks.first_wait_milliseconds", "50")
        .set("webhooks.run_first_wait_milliseconds", "50")
        .set("webhooks.timeout_seconds", "2")
}

/// A run that waits until it is canceled, with the workflow's own webhook if there is one.
async fn run(client: &Client, session: &str, body: Value, of_workflow: Option<&str>) -> String {
    let workflow = client
        .post(
            "/v1/workflows",
            json!({"json_definition": {
                "title": "Wait – 待つ", "webhook_callback_url": of_workflow,
                "workflow_definition": {"parameters": [], "blocks": [
                    {"block_type": "wait", "label": "wait", "wait_sec": 600},
                ]},
            }}),
        )
        .await
        .ok();
    let mut body = body;
    body["workflow_id"] = workflow["workflow_permanent_id"].clone();
    body["browser_session_id"] = json!(session);
    let run = client.post("/v1/run/workflows", body).await.ok();
    run["run_id"].as_str().unwrap().to_owned()
}

async fn cancel(client: &Client, run: &str) {
    client.post(&format!("/v1/runs/{run}/cancel"), json!({})).await.ok();
}

/// Waits until the latest message of a list has this status, and returns it.
async fn message(client: &Client, path: &str, status: &str) -> Value {
    eventually(&format!("a message is {status}"), async || {
        let messages = client.get(path).await.ok();
        Some(messages[0].clone()).filter(|message| message["status"] == status)
    })
    .await
}

on_both_databases! {
    async fn the_end_of_a_run_is_told_as_the_compatible_api_does_and_signed_with_its_key(database) {
        let receiver = Receiver::start().await;
        receiver.will([Reply::Status(503), Reply::Late(Duration::from_millis(300), 204)]);
        let server = setup().on(database).start().await;
        let client = &server.client;
        let session = client.session_id().await;
        let body = json!({"webhook_url": format!(" {}/run?a=b ", receiver.url)});
        let run = run(client, &session, body, Some("https://not.example/")).await;
        cancel(client, &run).await;

        let received = receiver.once(2).await;
        let last = &received[1];
        assert_eq!(last.path, "/run?a=b");
        assert_eq!(last.headers["content-type"], "application/json");
        assert!(last.headers["x-skyvern-timestamp"].parse::<i64>().is_ok());
        assert!(last.is_signed_with(KEY).await);
        assert!(!last.is_signed_with("another key").await);
        assert_eq!(received[0].body, last.body, "the repeated message is the same");
        assert!(last.body.contains("Wait – 待つ") && !last.body.contains("\": "), "{}", last.body);
        let told = last.json();
        for (name, value) in [
            ("workflow_run_id", json!(run)),
            ("run_id", json!(run)),
            ("run_type", json!("workflow_run")),
            ("status", json!("canceled")),
            ("browser_session_id", json!(session)),
            ("credits_used", json!(0)),
        ] {
            assert_eq!(told[name], value, "{name}: {told:#}");
        }
        assert!(told["parameters"].is_object() && told["run_request"].is_object(), "{told:#}");

        let log = format!("/v1/runs/{run}/webhook_messages");
        let message = message(client, &log, "delivered").await;
        let codes = |message: &Value| {
            let deliveries = message["deliveries"].as_array().unwrap().clone();
            deliveries.iter().map(|it| it["status_code"].clone()).collect::<Vec<_>>()
        };
        assert_eq!(codes(&message), [json!(503), json!(204)]);
        let kept = message["deliveries"][0]["response_body"].as_str().unwrap();
        assert_eq!(kept.len(), 1_024);
        let shown = client.get(&format!("/v1/workflows/runs/{run}")).await.ok();
        assert_eq!(shown["webhook_failure_reason"], json!(null));
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_could_not_be_told_says_why_and_is_told_again_when_asked() {
    let receiver = Receiver::start().await;
    receiver.will([Reply::Redirect("http://169.254.169.254/latest".to_owned())]);
    let server = setup().start().await;
    let client = &server.client;
    let session = client.session_id().await;
    let run = run(client, &session, json!({}), Some(&receiver.url)).await;
    client
        .post(&format!("/v1/runs/{run}/retry_webhook"), json!({}))
        .await
        .problem(400, "run_not_ended");
    cancel(client, &run).await;
    let log = format!("/v1/runs/{run}/webhook_messages");
    let failed = message(client, &log, "failed").await;
    assert_eq!(failed["attempts"], 1, "{failed:#}");
    let shown = client.get(&format!("/v1/workflows/runs/{run}")).await.ok();
    let why = shown["webhook_failure_reason"].as_str().unwrap();
    assert!(why.contains("302") && why.contains("redirects"), "{why}");

    let retry = format!("/v1/runs/{run}/retry_webhook");
    let told = client.post(&retry, json!({})).await.ok();
    assert_eq!((&told["status_code"], &told["error"]), (&json!(200), &json!(null)), "{told:#}");
    assert_eq!(told["default_webhook_url"], json!(receiver.url));
    let received = receiver.received();
    assert_eq!(told["payload"], json!(received[1].body));
    assert_eq!(told["headers"]["x-skyvern-signature"], received[1].headers["x-skyvern-signature"]);
    let shown = client.get(&format!("/v1/workflows/runs/{run}")).await.ok();
    assert_eq!(shown["webhook_failure_reason"], json!(null));

    // Private addresses receive no webhooks, unless the operator has named them.
    for url in ["http://localhost:9/", "http://10.0.0.1/", "http://[::1]/"] {
        let refused = client.post(&retry, json!({"webhook_url": url})).await.ok();
        assert_eq!(refused["status_code"], json!(null));
        assert!(refused["error"].as_str().unwrap().contains("not a public"), "{refused:#}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_told_in_order_and_signed_with_both_secrets_while_one_is_replaced() {
    let receiver = Receiver::start().await;
    let server = setup().start().await;
    let client = &server.client;
    let kinds = json!(["session.started", "occupancy.begun", "session.ended"]);
    let body = json!({"url": format!("{}/in", receiver.url), "kinds": kinds});
    let made = client.post("/v1/webhooks", body).await.ok();
    let path = format!("/v1/webhooks/{}", made["webhook_id"].as_str().unwrap());
    let first = made["secret"].as_str().unwrap().to_owned();
    assert!(first.starts_with("whsec_"), "{first}");
    assert_eq!(client.get(&path).await.ok()["secret"], json!(null));

    let session = client.session_id().await;
    let started = receiver.once(1).await.remove(0);
    assert!(started.is_signed_with(&first).await);
    let told = started.json();
    assert_eq!((&told["type"], &told["data"]["kind"]), (&json!("session.started"), &told["type"]));
    assert_eq!(told["data"]["browser_session_id"], json!(session));

    let rotate = format!("{path}/rotate_secret");
    let second = client.post(&rotate, json!({"overlap_seconds": 600})).await.ok();
    assert!(second["former_secret_until"].is_string(), "{second:#}");
    let second = second["secret"].as_str().unwrap().to_owned();
    client.begin(&session, "ann", 60).await.ok();
    let begun = receiver.once(2).await.remove(1);
    assert!(begun.is_signed_with(&first).await && begun.is_signed_with(&second).await);

    let third = client.post(&rotate, json!({"overlap_seconds": 0})).await.ok();
    let third = third["secret"].as_str().unwrap().to_owned();
    client.close(&session).await.ok();
    let ended = receiver.once(3).await.remove(2);
    assert_eq!(ended.json()["type"], "session.ended");
    assert!(!ended.is_signed_with(&second).await && ended.is_signed_with(&third).await);
    let secrets = [&first, &second, &third];
    assert!(secrets.iter().all(|secret| !server.log().contains(secret.as_str())));

    // A delivered message can be delivered again.
    let message = message(client, &format!("{path}/messages"), "delivered").await;
    let id = message["message_id"].as_str().unwrap();
    assert_eq!(ended.headers["webhook-id"], id);
    client.post(&format!("/v1/webhook_messages/{id}/replay"), json!({})).await.ok();
    let again = receiver.once(4).await.remove(3);
    assert_eq!(again.body, ended.body);
    let shown = client.get(&format!("/v1/webhook_messages/{id}")).await.ok();
    assert_eq!(shown["payload"], json!(ended.body));

    let stranger = server.another_organization().await;
    stranger.get(&path).await.problem(404, "webhook_unknown");
    stranger
        .get(&format!("/v1/webhook_messages/{id}"))
        .await
        .problem(404, "webhook_message_unknown");
    assert_eq!(client.send(Method::DELETE, &path, None).await.status, 204);
    client.get(&path).await.problem(404, "webhook_unknown");
    client.get(&format!("{path}/messages")).await.problem(404, "webhook_unknown");
    let replay = format!("/v1/webhook_messages/{id}/replay");
    client.post(&replay, json!({})).await.problem(410, "webhook_removed");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_holds_up_no_other_and_a_paused_webhook_waits() {
    let (hangs, answers) = (Receiver::start().await, Receiver::start().await);
    hangs.will([Reply::Hang, Reply::Hang]);
    let server = setup().start().await;
    let client = &server.client;
    let kinds = json!(["session.created", "session.ended"]);
    let mut paths = Vec::new();
    for receiver in [&hangs, &answers] {
        let body = json!({"url": receiver.url, "kinds": kinds});
        let made = client.post("/v1/webhooks", body).await.ok();
        paths.push(format!("/v1/webhooks/{}", made["webhook_id"].as_str().unwrap()));
    }
    let session = client.session_id().await;
    assert_eq!(answers.once(1).await[0].json()["type"], "session.created");
    hangs.once(1).await;
    let pause = async |paused: bool| {
        let body = Some(json!({ "paused": paused }));
        client.send(Method::PATCH, &paths[0], body).await.ok()
    };
    assert_eq!(pause(true).await["paused"], true);
    client.close(&session).await.ok();
    assert_eq!(answers.once(2).await[1].json()["type"], "session.ended");
    let log = format!("{}/messages", paths[0]);
    let late = eventually("it is late", async || {
        let messages = client.get(&log).await.ok();
        Some(messages[0].clone()).filter(|message| message["error"].is_string())
    })
    .await;
    assert_eq!(late["deliveries"][0]["error"], "it did not answer in time", "{late:#}");
    pause(false).await;
    let told = message(client, &log, "delivered").await;
    // Events during the pause are not delivered.
    assert_eq!(told["kind"], "session.created", "{told:#}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_told_when_the_server_was_killed_the_next_one_tells() {
    let receiver = Receiver::start().await;
    receiver.will([Reply::Status(500)]);
    let setup = setup().set("webhooks.run_first_wait_milliseconds", "2000");
    let mut server = setup.start().await;
    let session = server.client.session_id().await;
    let body = json!({"webhook_url": receiver.url});
    let run = run(&server.client, &session, body, None).await;
    // The server is killed during the run; the next server ends the run and delivers the message.
    TestServer::kill(server.pid());
    server.ended().await;
    server.serve().await;
    let first = receiver.once(1).await.remove(0);
    assert_eq!(first.json()["errors"][0]["error_code"], "supervisor_restarted");
    // It is killed again between two attempts.
    let log = format!("/v1/runs/{run}/webhook_messages");
    eventually("the first attempt is on record", async || {
        let message = server.client.get(&log).await.ok()[0].clone();
        (message["deliveries"][0]["status_code"] == 500).then_some(())
    })
    .await;
    TestServer::kill(server.pid());
    server.ended().await;
    server.serve().await;
    let second = receiver.once(2).await.remove(1);
    assert_eq!(second.body, first.body);
    assert!(second.is_signed_with(KEY).await);
    message(&server.client, &log, "delivered").await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_cannot_be_is_refused_with_the_field_that_is_at_fault() {
    let server = setup().set("webhooks.max_webhooks", "1").start().await;
    let client = &server.client;
    let refused = async |body| client.post("/v1/webhooks", body).await.wrong_fields();
    for url in ["", "ftp://a.example/", "http://10.0.0.1/", "http://u:p@a.example/"] {
        let wrong = refused(json!({ "url": url })).await;
        assert!(wrong.contains_key("body.url"), "{url}: {wrong:?}");
    }
    let wrong = refused(json!({"url": "https://a.example/", "kinds": ["session.endet"]})).await;
    assert!(wrong["body.kinds.0"].contains("did you mean `session.ended`?"), "{wrong:?}");
    client.post("/v1/webhooks", json!({"url": "https://a.example/"})).await.ok();
    let more = client.post("/v1/webhooks", json!({"url": "https://a.example/"})).await;
    more.problem(429, "too_many_webhooks");
    server.stop().await;
}
