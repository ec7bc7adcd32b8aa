//! Ids of requests: in a header of the answer, in log lines, and in error bodies.

use std::borrow::Cow;
use std::fmt;
use std::time::Instant;

use actix_web::Error;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::middleware::Next;
use tracing::{Instrument as _, debug, field, info, info_span, warn};

use super::outside::client_address;
use crate::actors::requester::Requester;

/// The code of a problem, kept with its answer for the access log.
#[derive(Debug, Clone)]
pub(super) struct Code(pub(super) Cow<'static, str>);

/// The header that carries the id, in requests and in answers.
pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// Query parameters whose values are secrets.
const SECRET: &[&str] = &[
    "apikey",
    "api_key",
    "api-key",
    "x-api-key",
    "token",
    "lease_token",
    "ticket",
    "pass",
    "signature",
    "key",
];

tokio::task_local! {
    static CURRENT: RequestId;
}

/// The id of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(String);

impl RequestId {
    /// Returns the id of the request that the current task handles. Spawned tasks are not part of
    /// it.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok()
    }

    /// Returns the id that the client chose, if that is 1 to 64 visible ASCII characters.
    fn given(request: &ServiceRequest) -> Option<Self> {
        let text = request.headers().get(HEADER)?.to_str().ok()?;
        let acceptable =
            (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        acceptable.then(|| Self(text.to_owned()))
    }

    fn random() -> Self {
        Self(format!("{:032x}", rand::random::<u128>()))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The outermost middleware: assigns the request's id and writes the access log.
///
/// Successful reads are logged at debug, changes and rejections at info, and failures of this
/// server at warn.
pub async fn identify(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse, Error> {
    let began = Instant::now();
    let id = RequestId::given(&request).unwrap_or_else(RequestId::random);
    let method = request.method().clone();
    let target = shown_target(request.path(), request.query_string());
    let span = info_span!(
        "request",
        request.id = %id,
        client.address = field::Empty,
        // Known once the path has found its route.
        session.id = field::Empty,
        run.id = field::Empty,
    );
    let client = client_address(request.request());
    if let Some(client) = client {
        span.record("client.address", field::display(client));
    }

    let requester = Requester::new(id.to_string(), client);
    let handling = requester.scope(async move { next.call(request).await });
    let outcome = CURRENT.scope(id.clone(), handling).instrument(span.clone()).await;

    let _entered = span.enter();
    let mut answer = match outcome {
        Ok(answer) => answer.map_into_boxed_body(),
        Err(cause) => {
            warn!("{:.32} {target} failed outside its handler: {cause}", method.as_str());
            return Err(cause);
        }
    };
    if let Ok(value) = HeaderValue::from_str(&id.0) {
        answer.headers_mut().insert(HEADER, value);
    }
    log(&method, &target, &answer, began);
    Ok(answer)
}

fn log(method: &Method, target: &str, answer: &ServiceResponse, began: Instant) {
    let status = answer.status();
    let millis = began.elapsed().as_secs_f64() * 1000.0;
    let code = answer.response().extensions().get::<Code>().map(|code| format!(" {}", code.0));
    let code = code.unwrap_or_default();
    let (method_name, status_code) = (method.as_str(), status.as_u16());
    let line = format_args!("{method_name:.32} {target} {status_code}{code} in {millis:.1} ms");
    let only_read = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    if status.is_server_error() {
        warn!("{line}");
    } else if only_read && !status.is_client_error() {
        debug!("{line}");
    } else {
        info!("{line}");
    }
}

/// The maximum length of a path and query in a log line, in bytes.
const LONGEST_TARGET: usize = 1024;

/// Returns the path and query without the secrets that a query may carry, cut if they are long.
fn shown_target(path: &str, query: &str) -> String {
    let mut shown = whole_target(path, query);
    if shown.len() > LONGEST_TARGET {
        let left_out = shown.len() - LONGEST_TARGET;
        let end = (0..=LONGEST_TARGET).rfind(|end| shown.is_char_boundary(*end));
        shown.truncate(end.unwrap_or_default());
        shown.push_str(&format!("… ({left_out} bytes more)"));
    }
    shown
}

fn whole_target(path: &str, query: &str) -> String {
    if query.is_empty() {
        return path.to_owned();
    }
    let shown: Vec<String> = query.split('&').map(shown_member).collect();
    format!("{path}?{}", shown.join("&"))
}

fn shown_member(member: &str) -> String {
    let name = member.split('=').next().unwrap_or(member);
    // The name itself may be escaped: `%74icket` is `ticket`.
    let is_secret = url::form_urlencoded::parse(name.as_bytes())
        .any(|(name, _)| SECRET.contains(&name.to_ascii_lowercase().as_str()));
    if is_secret { format!("{name}=…") } else { member.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_in_a_query_are_not_logged() {
        for query in ["apikey=s3cret", "lease_token=s3cret", "Token=s3cret", "%74icket=s3cret"] {
            let shown = shown_target("/v1/stream", &format!("a=1&{query}&b=2"));
            assert!(!shown.contains("s3cret"), "{shown}");
            assert!(shown.starts_with("/v1/stream?a=1&") && shown.ends_with("&b=2"), "{shown}");
        }
        assert_eq!(shown_target("/v1/runs", "page=2"), "/v1/runs?page=2");
    }

    #[test]
    fn a_long_path_is_no_long_line() {
        let shown = shown_target(&format!("/{}", "ä".repeat(30_000)), "token=s3cret");
        assert!(shown.len() < LONGEST_TARGET + 64, "{}", shown.len());
        assert!(shown.ends_with("bytes more)") && !shown.contains("s3cret"), "{shown}");
    }
}
