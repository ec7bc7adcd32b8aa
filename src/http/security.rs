//! Protective headers for browsers: framing, content types, and rules for other origins.

use actix_cors::Cors;
use actix_web::Error;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{
    ACCEPT_RANGES, CONTENT_RANGE, CONTENT_SECURITY_POLICY, ETAG, HeaderValue, REFERRER_POLICY,
    RETRY_AFTER, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use actix_web::middleware::Next;

use super::{Settings, paging, quotas, request_id};

const NO_FRAMES: &str = "frame-ancestors 'none'";

/// A middleware that adds protective headers. No answer is framed unless its own policy allows it,
/// and no content type is sniffed. Addresses, which may carry a ticket, are not sent to other sites
/// as a referrer.
pub async fn headers(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse, Error> {
    let mut answer = next.call(request).await?.map_into_boxed_body();
    let headers = answer.headers_mut();
    if !headers.contains_key(CONTENT_SECURITY_POLICY) {
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(NO_FRAMES));
    }
    let policy = headers.get(CONTENT_SECURITY_POLICY).and_then(|policy| policy.to_str().ok());
    if policy.is_none_or(|policy| policy.contains(NO_FRAMES)) {
        headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Ok(answer)
}

/// Returns the sources of frames that a page allows, as a directive of its policy.
pub(super) fn frame_ancestors(settings: &Settings) -> String {
    if settings.embed_origins.is_empty() {
        NO_FRAMES.to_owned()
    } else {
        frame_ancestors_and_self(settings)
    }
}

/// Returns the sources of frames as [`frame_ancestors`] does, with this server's own pages:
/// the console frames the view.
pub(super) fn frame_ancestors_and_self(settings: &Settings) -> String {
    format!("frame-ancestors 'self' {}", settings.embed_origins.join(" ")).trim_end().to_owned()
}

/// Returns the rules for pages of other origins that may call the API, from `http.cors_origins`.
///
/// As in the compatible API, an allowed origin may send credentials, because some clients insist;
/// nothing here reads a cookie.
pub fn cors(settings: &Settings) -> Cors {
    let cors = Cors::default()
        .allow_any_method()
        .allow_any_header()
        .expose_headers([request_id::HEADER, RETRY_AFTER, ETAG, ACCEPT_RANGES, CONTENT_RANGE])
        .expose_headers([paging::NEXT])
        .expose_headers(quotas::HEADERS.map(|(name, _)| name))
        .supports_credentials()
        .max_age(3600);
    if settings.cors_origins.iter().any(|origin| origin == "*") {
        return cors.allow_any_origin();
    }
    settings.cors_origins.iter().fold(cors, |cors, origin| cors.allowed_origin(origin))
}
