//! Answers to errors that no handler of ours made: an unknown route, a wrong method, an error of
//! the framework.
//!
//! No error body is ever empty, which the clients of the compatible API rely on.

use actix_web::body::{BodySize, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, CONTENT_RANGE, CONTENT_TYPE, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, HttpRequest, HttpResponse};

use super::problem::Problem;
use super::{absent, openapi};

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
    let text_of_error =
        original.error().filter(|_| status.is_client_error()).map(ToString::to_string);
    let reason = || status.canonical_reason().unwrap_or("the request failed").to_lowercase();
    let detail = text_of_error.filter(|text| !text.is_empty()).unwrap_or_else(reason);
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
