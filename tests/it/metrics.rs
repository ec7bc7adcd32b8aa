//! `/metrics`: who may read it, what it counts, and that dashboards, alerts and documents name what exists.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::json;

use crate::support::client::Lease;
use crate::support::{Client, Setup, TestServer, eventually};

const KEY: &str = "metrics-key-of-the-tests";

async fn text(client: &Client) -> String {
    let answer = client.get("/metrics").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.text()
}

/// The value of a sample: its name and labels as they stand in the text.
fn value(text: &str, sample: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {sample} in:\n{text}")).parse().unwrap()
}

/// The names of families, as `# TYPE` has them.
fn families(text: &str) -> BTreeSet<String> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types.map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

async fn scraped() -> (TestServer, Client) {
    let server = Setup::fakes().set("keys.metrics", KEY).start().await;
    let scraper = server.client.with_key(Some(KEY));
    (server, scraper)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_key_opens_the_metrics_alone() {
    let (server, scraper) = scraped().await;
    text(&scraper).await;
    text(&server.operator()).await;
    scraper.get("/v1/runs").await.problem(403, "credentials_invalid");
    scraper.get("/admin/actors").await.problem(403, "credentials_invalid");
    server.client.get("/metrics").await.problem(403, "key_insufficient");
    let bearer = [("authorization", format!("Bearer {KEY}"))];
    let bearer = bearer.each_ref().map(|(name, value)| (*name, value.as_str()));
    let stranger = server.stranger();
    let answer = stranger.send_with(reqwest::Method::GET, "/metrics", None, &bearer).await.unwrap();
    assert_eq!(answer.status, 200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_messages_requests_and_runs_are_counted_without_ids() {
    let (server, scraper) = scraped().await;
    let client = &server.client;
    let id = client.session_id().await;
    let lease = Lease::of(&client.begin(&id, "ann", 60).await.ok());
    let path = format!("/v1/browser_sessions/{id}/begin");
    let body = json!({"runnable_id": "bob", "ttl_seconds": 60, "wait_seconds": 600});
    let waiter = client.clone();
    let waiting = tokio::spawn(async move { waiter.post(&path, body).await });
    eventually("a caller waits", async || {
        let text = text(&scraper).await;
        (value(&text, "greenroom_occupancy_waiters") > 0.0).then_some(())
    })
    .await;
    client.release(&id, &lease).await.ok();
    waiting.await.unwrap().ok();
    let blocks = json!([{ "block_type": "wait", "label": "w", "wait_sec": 1 }]);
    let workflow = client.workflow(blocks).await;
    let run = client.run(&workflow, json!({})).await;
    client.run_once(&run, "completed").await;
    client.get("/v1/runs/wr_1").await.problem(404, "run_unknown");
    // An id that is a word of its path.
    client.get("/v1/runs/v1").await.problem(404, "run_unknown");

    let text = text(&scraper).await;
    for (sample, least) in [
        ("greenroom_sessions{status=\"running\"}", 1.0),
        ("greenroom_sessions_held", 1.0),
        ("greenroom_occupancy_wait_seconds_count", 1.0),
        ("greenroom_occupancy_hold_seconds_count", 1.0),
        ("greenroom_start_seconds_count{stage=\"browser\"}", 1.0),
        ("greenroom_messages_total{kind=\"begin\",outcome=\"done\"}", 2.0),
        ("greenroom_message_wait_seconds_count{kind=\"begin\"}", 2.0),
        ("greenroom_message_handling_seconds_bucket{kind=\"begin\",le=\"+Inf\"}", 2.0),
        (
            "greenroom_http_requests_total{method=\"GET\",route=\"/v1/runs/{run}\",class=\"4xx\"}",
            2.0,
        ),
        ("greenroom_runs_total{status=\"completed\"}", 1.0),
        ("greenroom_blocks_total{status=\"completed\"}", 1.0),
        ("greenroom_database_batch_changes_count", 1.0),
        ("greenroom_database_commit_seconds_count", 1.0),
    ] {
        assert!(value(&text, sample) >= least, "{sample} in:\n{text}");
    }
    assert!((value(&text, "greenroom_webhooks_pending")).abs() < 0.5);
    let begins = "{method=\"POST\",route=\"/v1/browser_sessions/{id}/begin\"";
    let answered = value(&text, &format!("greenroom_http_requests_total{begins},class=\"2xx\"}}"));
    let timed = value(&text, &format!("greenroom_http_request_seconds_count{begins}}}"));
    assert!((answered - timed - 1.0).abs() < 0.5, "a request that waits in the queue has no time");
    for secret in [id.as_str(), run.as_str(), client.key(), KEY, lease.token.as_str()] {
        assert!(!text.contains(secret), "{secret} in:\n{text}");
    }
    assert!(!text.contains("pbs_") && !text.contains("wr_"), "{text}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_browser_is_counted_by_part_and_cause() {
    let (server, scraper) = scraped().await;
    let id = server.client.session_id().await;
    TestServer::kill(server.program(&id, "chromium"));
    eventually("the recovery is counted", async || {
        let text = text(&scraper).await;
        let sample = "greenroom_recoveries_total{part=\"chromium\",cause=\"died\"}";
        (value(&text, sample) > 0.0).then_some(())
    })
    .await;
    server.client.once(&id, "running").await;
    server.stop().await;
}

/// The words of a text that are names of metrics.
fn named(text: &str) -> BTreeSet<String> {
    let word = |c: char| !c.is_ascii_alphanumeric() && c != '_';
    let words = text.split(word).filter(|word| word.starts_with("greenroom_"));
    words.map(str::to_owned).collect()
}

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn dashboards_alerts_and_documents_name_the_metrics_that_there_are() {
    let (server, scraper) = scraped().await;
    let families = families(&text(&scraper).await);
    assert!(families.len() > 25, "{families:?}");
    for path in ["dist/grafana/greenroom.json", "dist/prometheus/alerts.yaml"] {
        let named = named(&read(path));
        assert!(named.len() > 8, "{path}: {named:?}");
        for name in named {
            let ends = ["_bucket", "_sum", "_count"].iter();
            let base =
                ends.filter_map(|end| name.strip_suffix(end)).find(|it| families.contains(*it));
            assert!(families.contains(&name) || base.is_some(), "{path} names {name}");
        }
    }
    let rows = read("docs/operation.md");
    let rows = rows.lines().filter_map(|line| line.strip_prefix("| `greenroom_"));
    let rows: BTreeSet<String> =
        rows.map(|row| format!("greenroom_{}", row.split('`').next().unwrap())).collect();
    assert_eq!(rows, families, "the table of docs/operation.md");
    server.stop().await;
}
