//! Spans as messages of OTLP.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message as _;

use super::{Ended, Finished, Kind, Value, of_subject};

/// The encoder of one server's spans.
#[derive(Debug)]
pub(super) struct Encoder {
    resource: Resource,
    /// The wall time at a time of the monotonic clock, by which all spans of the server are in one order.
    base: (SystemTime, Instant),
}

impl Encoder {
    /// The encoder of the server with these names.
    pub(super) fn new(service: &str, instance: &str) -> Self {
        let named = [
            ("service.name", service),
            ("service.version", env!("CARGO_PKG_VERSION")),
            ("service.instance.id", instance),
        ];
        let attributes =
            named.map(|(key, value)| attribute(key, Any::StringValue(value.to_owned())));
        let resource = Resource { attributes: attributes.into(), ..Resource::default() };
        Self { resource, base: (SystemTime::now(), Instant::now()) }
    }

    /// The body of a request with these spans.
    pub(super) fn encode(&self, spans: Vec<Finished>) -> Vec<u8> {
        let scope = InstrumentationScope {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        let spans = spans.into_iter().map(|span| self.span(span)).collect();
        let scoped = ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() };
        let resource_spans = vec![ResourceSpans {
            resource: Some(self.resource.clone()),
            scope_spans: vec![scoped],
            ..ResourceSpans::default()
        }];
        ExportTraceServiceRequest { resource_spans }.encode_to_vec()
    }

    fn span(&self, finished: Finished) -> Span {
        let Finished { trace, id, parent, about, ended } = finished;
        let Ended { name, kind, began, ended, has_failed, attributes } = ended;
        let kind = match kind {
            Kind::Server => SpanKind::Server,
            Kind::Client => SpanKind::Client,
            Kind::Internal => SpanKind::Internal,
        };
        let subject = of_subject(&about).map(|(key, id)| attribute(key, Any::StringValue(id)));
        let attributes = attributes.into_iter().map(|(key, value)| attribute(key, any(value)));
        let code = if has_failed { StatusCode::Error } else { StatusCode::Unset };
        Span {
            trace_id: trace.bytes(),
            span_id: id.bytes(),
            parent_span_id: parent.map(|parent| parent.bytes()).unwrap_or_default(),
            name: name.into_owned(),
            kind: kind.into(),
            start_time_unix_nano: self.nanos(began),
            end_time_unix_nano: self.nanos(ended),
            attributes: subject.chain(attributes).collect(),
            status: Some(Status { code: code.into(), ..Status::default() }),
            ..Span::default()
        }
    }

    /// The wall time in nanoseconds since 1970.
    fn nanos(&self, at: Instant) -> u64 {
        let (wall, base) = self.base;
        let wall = match at.checked_duration_since(base) {
            Some(later) => wall.checked_add(later),
            None => wall.checked_sub(base.saturating_duration_since(at)),
        };
        let since = wall.and_then(|wall| wall.duration_since(UNIX_EPOCH).ok());
        since.and_then(|since| u64::try_from(since.as_nanos()).ok()).unwrap_or_default()
    }
}

fn any(value: Value) -> Any {
    match value {
        Value::Number(number) => Any::IntValue(number),
        Value::Yes(yes) => Any::BoolValue(yes),
        Value::Word(word) => Any::StringValue(word.to_owned()),
        Value::Text(text) => Any::StringValue(text),
        Value::Shared(text) => Any::StringValue(text.to_string()),
    }
}

fn attribute(key: &str, value: Any) -> KeyValue {
    let value = Some(AnyValue { value: Some(value) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}
