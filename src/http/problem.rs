//! The body of every error: `detail`, `code`, `retryable`, `request_id`.
//!
//! A handler's error becomes a [`Problem`], and the problem becomes the answer; the request's id is
//! filled in on the way out. [`answers`] does the same for errors that no handler of ours made: an
//! unknown route, a wrong method, an error of the framework. No error body is ever empty, which the
//! clients of the compatible API rely on.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use actix_web::body::{BodySize, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, CONTENT_RANGE, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use actix_web::middleware::Next;
use actix_web::{Error, HttpRequest, HttpResponse, ResponseError};
use serde::Serialize;
use serde_json::{Map, Value};

use super::quotas::Refused;
use super::request_id::RequestId;
use super::validation::FieldError;
use super::{absent, openapi};
use crate::domain::ids::Id;
use crate::domain::quota::QuotaExceeded;

/// An error answer, before it is rendered.
#[derive(Debug, Clone)]
pub struct Problem {
    /// The HTTP status, from 400 up.
    pub status: StatusCode,
    /// A stable code for programs, such as `session_occupied`.
    pub code: Cow<'static, str>,
    /// The error for people; a list if fields of the request are invalid.
    pub detail: Detail,
    /// True if the same request may succeed later, unchanged.
    pub retryable: bool,
    /// Further members of the body, such as `occupancy`.
    pub extra: Map<String, Value>,
    /// The least time to wait before a retry; rounded up to whole seconds.
    pub retry_after: Option<Duration>,
    /// True to close the connection with the answer, without reading the rest of the request.
    pub closes: bool,
    /// The quota that is used up, for the headers of the answer.
    pub quota: Option<Box<QuotaExceeded>>,
}

/// The description of an error for people.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Detail {
    /// A phrase or a sentence.
    Text(String),
    /// One entry for each invalid field of the request.
    Fields(Vec<FieldError>),
}

impl From<String> for Detail {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Detail {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<Vec<FieldError>> for Detail {
    fn from(fields: Vec<FieldError>) -> Self {
        Self::Fields(fields)
    }
}

impl Problem {
    /// Makes a problem that is not retryable, without a time to wait or further members.
    pub fn new(
        status: StatusCode,
        code: impl Into<Cow<'static, str>>,
        detail: impl Into<Detail>,
    ) -> Self {
        Self {
            status,
            code: code.into(),
            detail: detail.into(),
            retryable: false,
            extra: Map::new(),
            retry_after: None,
            closes: false,
            quota: None,
        }
    }

    /// Makes the answer close the connection.
    #[must_use]
    pub fn closing(mut self) -> Self {
        self.closes = true;
        self
    }

    /// Makes a 422 `invalid_request`: fields of the request are invalid.
    pub fn invalid(fields: Vec<FieldError>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_request", fields)
    }

    /// Makes a 404 `…_unknown`. Malformed ids, unknown ids and those of other organizations look
    /// the same.
    pub fn unknown<I: Id>(shown: impl fmt::Display) -> Self {
        let (thing, name) = thing_named_by(I::PREFIX);
        Self::new(
            StatusCode::NOT_FOUND,
            format!("{thing}_unknown"),
            format!("{name} {shown} not found"),
        )
    }

    /// Makes the 403 for a key of an organization that an operator has suspended.
    pub fn suspended() -> Self {
        let detail = "the organization of this key is suspended; ask the operator of the server";
        Self::new(StatusCode::FORBIDDEN, "organization_suspended", detail)
    }

    /// Marks that the same request may succeed later.
    #[must_use]
    pub fn retryable(mut self) -> Self {
        self.retryable = true;
        self
    }

    /// Marks that the same request may succeed after this time.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self.retryable()
    }

    /// Adds a member to the body. A value that does not serialize is left out.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Serialize) -> Self {
        if let Ok(value) = serde_json::to_value(value) {
            self.extra.insert(name.to_owned(), value);
        }
        self
    }

    /// Returns the body. It names the current request, if called while one is handled.
    pub fn body(&self) -> Value {
        let mut body = self.extra.clone();
        let detail = serde_json::to_value(&self.detail).unwrap_or_default();
        body.insert("detail".to_owned(), detail);
        body.insert("code".to_owned(), self.code.clone().into());
        body.insert("retryable".to_owned(), self.retryable.into());
        let id = RequestId::current().map(|id| id.to_string());
        body.insert("request_id".to_owned(), id.into());
        Value::Object(body)
    }

    /// Returns the HTTP response.
    pub fn response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status);
        if let Some(wait) = self.retry_after {
            let up = u64::from(wait.subsec_nanos() > 0);
            response.insert_header((RETRY_AFTER, wait.as_secs().saturating_add(up).to_string()));
        }
        if self.closes {
            response.force_close();
        }
        let mut response = response.json(self.body());
        if let Some(refusal) = &self.quota {
            Refused::mark(refusal, &mut response);
        }
        response.extensions_mut().insert(Code(self.code.clone()));
        response
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.detail {
            Detail::Text(text) => f.write_str(text),
            Detail::Fields(fields) => {
                for (index, field) in fields.iter().enumerate() {
                    let separator = if index == 0 { "" } else { "; " };
                    write!(f, "{separator}{}: {}", field.place(), field.msg)?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for Problem {}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        self.response()
    }
}

/// The code of a problem, kept with its answer for the access log.
#[derive(Debug, Clone)]
pub(super) struct Code(pub(super) Cow<'static, str>);

/// Returns the names of the thing that a prefix stands for, in codes and in sentences.
fn thing_named_by(prefix: &str) -> (&'static str, &'static str) {
    match prefix {
        "pbs" => ("session", "Browser session"),
        "wr" => ("run", "Run"),
        "wrb" => ("block", "Block"),
        "w" | "wpid" => ("workflow", "Workflow"),
        "ds" => ("debug_session", "Debug session"),
        "a" => ("artifact", "Artifact"),
        "ae" => ("audit_event", "Audit event"),
        "o" => ("organization", "Organization"),
        "oat" => ("api_key", "API key"),
        "wh" => ("webhook", "Webhook"),
        "wm" => ("webhook_message", "Webhook message"),
        "n" => ("node", "Node"),
        "wp" | "op" => ("parameter", "Parameter"),
        _ => ("resource", "Resource"),
    }
}

/// Answers requests without a route; register it as the application's default service.
///
/// A wrong method also arrives here if routes were declared one by one. Routes declared together,
/// as `web::resource(path).get(…).post(…)`, answer it with 405.
pub async fn no_route(request: HttpRequest) -> HttpResponse {
    match absent::answer(&request).await {
        Some(Ok(answer)) => HttpResponse::Ok().json(answer),
        Some(Err(problem)) => problem.response(),
        None if openapi::methods(request.path()).is_some() => wrong_method(&request),
        None => {
            let detail = format!("there is no route {} {}", request.method(), request.path());
            Problem::new(StatusCode::NOT_FOUND, "route_unknown", detail).response()
        }
    }
}

/// A middleware that makes a problem of every error whose body is empty or not JSON. The framework
/// answers a wrong method, or a request that it cannot read itself, with such errors.
///
/// WebSocket handshakes and errors that an endpoint streams are left alone.
pub async fn answers(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse, Error> {
    let answer = next.call(request).await?.map_into_boxed_body();
    let status = answer.status();
    if !(status.is_client_error() || status.is_server_error()) {
        return Ok(answer);
    }

    let is_json = answer
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .is_some_and(|kind| kind.starts_with("application/json"));
    let is_empty = matches!(answer.response().body().size(), BodySize::None | BodySize::Sized(0));
    let from_framework = answer.response().error().is_some();
    if !is_empty && (is_json || !from_framework) {
        return Ok(answer);
    }

    let (request, original) = answer.into_parts();
    let mut answer = from_framework_error(&request, &original).response();
    for name in [ALLOW, CONTENT_RANGE] {
        if let Some(value) = original.headers().get(&name) {
            answer.headers_mut().insert(name, value.clone());
        }
    }
    if answer.status() == StatusCode::METHOD_NOT_ALLOWED {
        allow(&request, &mut answer);
    }
    Ok(ServiceResponse::new(request, answer))
}

/// Returns a 405 with the path's methods when the framework found no route, and so knows no
/// methods.
fn wrong_method(request: &HttpRequest) -> HttpResponse {
    let mut response = method_not_allowed(request, None).response();
    allow(request, &mut response);
    response
}

fn method_not_allowed(request: &HttpRequest, allowed: Option<&str>) -> Problem {
    let described = openapi::methods(request.path());
    let hint = described.as_deref().or(allowed).map(|allowed| format!("; it answers {allowed}"));
    let hint = hint.unwrap_or_default();
    let detail = format!("{} does not answer {}{hint}", request.path(), request.method());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
}

/// Adds the methods of a described path as the header `Allow`. The framework lists only the methods
/// of the routes that it tried.
fn allow(request: &HttpRequest, response: &mut HttpResponse) {
    let methods = openapi::methods(request.path());
    if let Some(Ok(methods)) = methods.map(|methods| HeaderValue::from_str(&methods)) {
        response.headers_mut().insert(ALLOW, methods);
    }
}

fn from_framework_error(request: &HttpRequest, original: &HttpResponse) -> Problem {
    let status = original.status();
    if status == StatusCode::METHOD_NOT_ALLOWED {
        // A route of the compatible API may equal one of ours except for the method.
        if let Some(problem) = absent::refusal(request.method(), request.path()) {
            return problem;
        }
        let allowed = original.headers().get(ALLOW).and_then(|allow| allow.to_str().ok());
        return method_not_allowed(request, allowed);
    }

    // The text of a server error may contain internals that clients must not see.
    let told = original.error().filter(|_| status.is_client_error()).map(ToString::to_string);
    let reason = || status.canonical_reason().unwrap_or("the request failed").to_lowercase();
    let detail = told.filter(|text| !text.is_empty()).unwrap_or_else(reason);
    let problem = Problem::new(status, code_of(status), detail);
    if status == StatusCode::SERVICE_UNAVAILABLE { problem.retryable() } else { problem }
}

/// Returns the code of an error that has only a status.
fn code_of(status: StatusCode) -> &'static str {
    match status {
        StatusCode::BAD_REQUEST => "bad_request",
        StatusCode::FORBIDDEN => "forbidden",
        StatusCode::NOT_FOUND => "not_found",
        StatusCode::REQUEST_TIMEOUT => "request_timeout",
        StatusCode::PRECONDITION_FAILED => "precondition_failed",
        StatusCode::RANGE_NOT_SATISFIABLE => "range_not_satisfiable",
        StatusCode::PAYLOAD_TOO_LARGE => "body_too_large",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "media_type_unsupported",
        StatusCode::SERVICE_UNAVAILABLE => "unavailable",
        _ if status.is_client_error() => "bad_request",
        _ => "internal",
    }
}
