//! Traces: a collector gets the spans of a request, a bad collector and a bad client do no harm.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use prost::Message as _;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::client::{Answer, Lease};
use crate::support::receiver::{Received, Receiver, Reply};
use crate::support::server::KEY;
use crate::support::{Client, OPERATOR, Setup, eventually};

const COLLECTOR_KEY: &str = "key-for-the-collector";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// A span, as the collector has received it.
#[derive(Debug, Clone)]
pub struct Span {
    pub trace: String,
    pub id: String,
    pub parent: String,
    pub name: String,
    pub kind: i32,
    pub status: i32,
    pub nanos: (u64, u64),
    pub attributes: BTreeMap<String, String>,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |attribute: &KeyValue| match attribute.value.clone().unwrap().value.unwrap() {
        Any::StringValue(text) => text,
        Any::IntValue(number) => number.to_string(),
        other @ (Any::BoolValue(_)
        | Any::DoubleValue(_)
        | Any::ArrayValue(_)
        | Any::KvlistValue(_)
        | Any::BytesValue(_)
        | Any::StringValueStrindex(_)) => format!("{other:?}"),
    };
    attributes.iter().map(|attribute| (attribute.key.clone(), text(attribute))).collect()
}

fn requests(received: &[Received]) -> Vec<ExportTraceServiceRequest> {
    let bodies = received.iter().map(|it| it.bytes.as_slice());
    bodies.map(|body| ExportTraceServiceRequest::decode(body).unwrap()).collect()
}

/// Every span that the collector has received.
pub fn spans(collector: &Receiver) -> Vec<Span> {
    let requests = requests(&collector.received());
    let scopes = requests.iter().flat_map(|it| &it.resource_spans).flat_map(|it| &it.scope_spans);
    let spans = scopes.flat_map(|scope| &scope.spans);
    spans
        .map(|span| Span {
            trace: hex(&span.trace_id),
            id: hex(&span.span_id),
            parent: hex(&span.parent_span_id),
            name: span.name.clone(),
            kind: span.kind,
            status: span.status.as_ref().map_or(0, |status| status.code),
            nanos: (span.start_time_unix_nano, span.end_time_unix_nano),
            attributes: texts(&span.attributes),
        })
        .collect()
}

/// The first span with this name in a trace, when it has come.
pub async fn span(collector: &Receiver, trace: &str, name: &str) -> Span {
    eventually(&format!("the span {name} comes"), async || {
        spans(collector).into_iter().find(|span| span.trace == trace && span.name == name)
    })
    .await
}

/// A setup whose spans go to this collector.
pub fn traced(setup: Setup, collector: &Receiver) -> Setup {
    setup
        .set("traces.endpoint", collector.url.clone())
        .set("traces.headers.x-collector-key", COLLECTOR_KEY)
        .set("traces.service_name", "rooms")
}

async fn begin_with(client: &Client, id: &str, who: &str, traceparent: &str) -> Answer {
    let path = format!("/v1/browser_sessions/{id}/begin?note=planted-in-the-query");
    let body = json!({ "runnable_id": who, "ttl_seconds": 60 });
    let named = [("traceparent", traceparent), ("x-request-id", "request-of-the-test")];
    client.send_with(Method::POST, &path, Some(body), &named).await.unwrap()
}

/// The value of a metric.
async fn figure(operator: &Client, outcome: &str) -> f64 {
    let text = operator.get("/metrics").await.text();
    let sample = format!("greenroom_trace_spans_total{{outcome=\"{outcome}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&sample));
    line.unwrap_or_else(|| panic!("no {sample} in:\n{text}")).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_begin_is_one_trace_from_the_client_over_the_actors_to_the_database() {
    let collector = Receiver::start().await;
    let server = traced(Setup::fakes(), &collector).start().await;
    let client = &server.client;
    let id = client.session_id().await;
    let parent = format!("00-{TRACE}-{PARENT}-00");
    let lease = Lease::of(&begin_with(client, &id, "planted-runnable", &parent).await.ok());

    let request = span(&collector, TRACE, "POST /v1/browser_sessions/{id}/begin").await;
    assert_eq!((request.parent.as_str(), request.kind, request.status), (PARENT, 2, 0));
    let attributes = &request.attributes;
    for (key, value) in [
        ("http.request.method", "POST"),
        ("http.route", "/v1/browser_sessions/{id}/begin"),
        ("http.response.status_code", "200"),
        ("greenroom.request.id", "request-of-the-test"),
        ("greenroom.session.id", &id),
    ] {
        assert_eq!(attributes.get(key).map(String::as_str), Some(value), "{key} {attributes:#?}");
    }
    assert!(attributes["greenroom.organization.id"].starts_with("o_"), "{attributes:#?}");

    let write = span(&collector, TRACE, "db occupy").await;
    let all: Vec<Span> = spans(&collector).into_iter().filter(|it| it.trace == TRACE).collect();
    let begins = |actor: &str| {
        let is_it = |it: &&Span| it.name == "begin" && it.attributes["greenroom.actor"] == actor;
        all.iter().find(is_it).unwrap_or_else(|| panic!("no begin of {actor} in {all:#?}"))
    };
    let (registry, session) = (begins("registry"), begins(&id));
    assert_eq!(registry.parent, request.id);
    assert_eq!(session.parent, registry.id);
    assert_eq!(write.parent, session.id);
    assert_eq!(write.attributes["db.operation.name"], "occupy");
    for message in [registry, session] {
        let attributes = &message.attributes;
        assert_eq!(attributes["greenroom.outcome"], "done");
        assert_eq!(attributes["greenroom.session.id"], id);
        let micros = |key: &str| attributes[key].parse::<u64>().unwrap();
        assert!(micros("greenroom.waited_us") + micros("greenroom.handled_us") < 60_000_000);
        let ((outer_began, outer_ended), (began, ended)) = (request.nanos, message.nanos);
        assert!(outer_began <= began && began <= ended && ended <= outer_ended, "{all:#?}");
    }

    let received = collector.received();
    assert!(received.iter().all(|it| it.path == "/v1/traces"));
    assert_eq!(received[0].headers["x-collector-key"], COLLECTOR_KEY);
    assert_eq!(received[0].headers["content-type"], "application/x-protobuf");
    let resource = requests(&received)[0].resource_spans[0].resource.clone().unwrap();
    assert_eq!(texts(&resource.attributes)["service.name"], "rooms");
    client.release(&id, &lease).await.ok();
    let operator = server.operator();
    eventually("spans are counted", async || {
        (figure(&operator, "exported").await > 3.0).then_some(())
    })
    .await;
    let config = operator.get("/admin/config").await.text();
    assert!(
        config.to_lowercase().contains("x-collector-key") && !config.contains(COLLECTOR_KEY),
        "{config}"
    );
    server.stop().await;
    let everything: String = collector.received().iter().map(|it| it.body.clone()).collect();
    assert!(everything.contains("release"), "the last spans are sent at the end");
    for secret in [KEY, OPERATOR, &lease.token, COLLECTOR_KEY, "planted-"] {
        assert!(!everything.contains(secret), "{secret} is in a span");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_traceparent_does_no_harm_and_continues_no_trace() {
    let collector = Receiver::start().await;
    let server = traced(Setup::fakes(), &collector).start().await;
    let good = format!("00-{TRACE}-{PARENT}-01");
    let wrong = [
        "garbage".to_owned(),
        "00".to_owned(),
        good.to_uppercase(),
        format!("{good}-more"),
        format!("00-{}-{PARENT}-01", "0".repeat(32)),
        "-".repeat(4_000),
    ];
    for (index, value) in wrong.iter().enumerate() {
        let named = [("traceparent", value.as_str()), ("x-request-id", &format!("wrong-{index}"))];
        let list = server.client.send_with(Method::GET, "/v1/browser_sessions", None, &named).await;
        list.unwrap().ok();
    }
    // Two headers contradict each other, even if both are right.
    let twice = [("traceparent", good.as_str()), ("traceparent", good.as_str())];
    let twice = [twice[0], twice[1], ("x-request-id", "wrong-twice")];
    server.client.send_with(Method::GET, "/v1/browser_sessions", None, &twice).await.unwrap().ok();
    let found = eventually("all requests have spans", async || {
        let is_one = |it: &Span| {
            let id = it.attributes.get("greenroom.request.id");
            id.is_some_and(|id| id.starts_with("wrong-"))
        };
        let found: Vec<Span> = spans(&collector).into_iter().filter(is_one).collect();
        (found.len() == wrong.len() + 1).then_some(found)
    })
    .await;
    for span in found {
        assert_eq!(span.parent, "", "{span:#?}");
        assert_ne!(span.trace, TRACE);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_hangs_holds_up_neither_requests_nor_the_end() {
    let collector = Receiver::start().await;
    collector.will([Reply::Hang, Reply::Hang]);
    let server = traced(Setup::fakes(), &collector).start().await;
    let id = server.client.session_id().await;
    collector.once(1).await;
    let lease = Lease::of(&server.client.begin(&id, "ann", 60).await.ok());
    for turn in 0..100 {
        let asked = Instant::now();
        server.client.heartbeat(&id, &lease).await.ok();
        assert!(asked.elapsed() < Duration::from_secs(5), "{turn}: {:?}", asked.elapsed());
    }
    assert_eq!(collector.received().len(), 1, "one request at a time");
    let log = server.log();
    assert!(log.matches("cannot be exported").count() <= 1, "{log}");
    let began = Instant::now();
    server.stop().await;
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_refuses_is_reported_once_and_so_is_one_that_is_gone() {
    let collector = Receiver::start().await;
    collector.will((0..3).map(|_| Reply::Status(400)));
    let server = traced(Setup::fakes(), &collector).start().await;
    let operator = server.operator();
    for count in 1..=4 {
        operator.get("/admin/actors").await.ok();
        collector.once(count).await;
    }
    eventually("the spans that it accepts are counted", async || {
        (figure(&operator, "exported").await > 0.0).then_some(())
    })
    .await;
    assert!(figure(&operator, "failed").await >= 3.0);
    let log = server.log();
    assert_eq!(log.matches("cannot be exported").count(), 1, "{log}");
    assert_eq!(log.matches("exported again").count(), 1, "{log}");
    server.stop().await;

    let gone = Receiver::start().await;
    let url = gone.url.clone();
    drop(gone);
    let server = Setup::fakes().set("traces.endpoint", url).start().await;
    server.client.session_id().await;
    eventually("the log has the reason", async || {
        let log = server.log();
        log.contains("it cannot be reached").then_some(())
    })
    .await;
    assert_eq!(server.log().matches("cannot be exported").count(), 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sampling_leaves_traces_out_and_a_client_decides_only_if_the_settings_say_so() {
    let decided = |span: &Span| span.trace == TRACE;
    for parent_decides in [false, true] {
        let collector = Receiver::start().await;
        let setup = traced(Setup::fakes(), &collector)
            .set("traces.sampling_ratio", "0")
            .set("traces.parent_decides", parent_decides.to_string());
        let server = setup.start().await;
        let id = server.client.session_id().await;
        let parent = format!("00-{TRACE}-{PARENT}-01");
        begin_with(&server.client, &id, "ann", &parent).await.ok();
        server.stop().await;
        let all = spans(&collector);
        assert!(all.iter().all(decided), "{all:#?}");
        assert_eq!(all.is_empty(), !parent_decides, "{all:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_setting_is_named_and_without_one_there_are_no_traces() {
    let server = Setup::fakes().start().await;
    let text = server.operator().get("/metrics").await.text();
    assert!(!text.contains("greenroom_trace_spans_total{"), "{text}");
    let config = server.greenroom(&["config", "--json"]).await;
    let config: Value = serde_json::from_slice(&config.stdout).unwrap();
    assert_eq!(config["settings"]["traces"]["endpoint"], Value::Null);
    server.stop().await;
}
