//! The span of a request, the root of what the server does for it.
//!
//! It has the template of the route and never the path, whose segments may be secrets, nor the query. The client's
//! own trace is continued, see [`Traces::of_request`](crate::traces::Traces::of_request).

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::HeaderName;
use actix_web::http::{Method, StatusCode};

use super::front::Front;
use super::{quotas, request_id, subject};
use crate::domain::about::About;
use crate::traces::{Kind, Span, Value};

/// The header by which a client names its trace.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The names of methods that a span may have; others are not repeated.
const METHODS: [&str; 8] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "CONNECT"];

/// Begins the span of a request, if it is traced.
pub(super) fn begin(front: &Front, request: &ServiceRequest) -> Option<Span> {
    let mut given = request.headers().get_all(TRACEPARENT);
    // Two headers contradict each other.
    let given = given.next().filter(|_| given.next().is_none());
    let parent = given.and_then(|value| value.to_str().ok());
    let open = front.world.journal.traces().of_request(parent)?.open()?;
    Some(Span::around(open, Kind::Server, "request".into(), Vec::new()))
}

/// Ends the span of a request with the head of its answer; none if a layer has failed.
pub(super) fn end<B: MessageBody>(
    mut span: Span,
    method: &Method,
    route: Option<&str>,
    status: StatusCode,
    answer: Option<&ServiceResponse<B>>,
) {
    let method = METHODS.into_iter().find(|known| *known == method.as_str()).unwrap_or("_OTHER");
    span.rename(match route {
        Some(route) => format!("{method} {route}").into(),
        None => method.into(),
    });
    span.set("http.request.method", Value::Word(method));
    if let Some(route) = route {
        span.set("http.route", Value::Text(route.to_owned()));
    }
    span.set("http.response.status_code", Value::Number(i64::from(status.as_u16())));
    if let Some(answer) = answer {
        let request = answer.request();
        span.about(About { organization: quotas::admitted(request), ..subject::of(request) });
        let id = answer.headers().get(request_id::HEADER).and_then(|id| id.to_str().ok());
        if let Some(id) = id {
            span.set("greenroom.request.id", Value::Text(id.to_owned()));
        }
    }
    span.end(status.is_server_error());
}
