//! Dry run of a policy and its upstream against one URL.

use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use url::Url;

use super::Shared;
use super::connect::{Purpose, open, policy_now};
use super::head::{ResponseHead, read_head};
use super::policy::Policy;
use super::refusal::{Failure, Refusal};
use super::target::Target;

/// The request for a check, as JSON from standard input or the control socket.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    url: String,
    /// The policy to check instead of the policy in force.
    policy: Option<serde_json::Value>,
}

/// The outcome of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// True if the URL was reached.
    pub ok: bool,
    /// The kind of success: `tunnel` for an `https` URL, `response` for an `http` one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reached: Option<String>,
    /// The status of a response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The stable code of a failure, as [`Failure::code`] gives it, or `policy_invalid`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The cause of a failure, and how to resolve it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The duration in milliseconds.
    pub elapsed_ms: u64,
}

impl Outcome {
    fn failed(code: &'static str, message: String, began: Instant) -> Self {
        Self {
            ok: false,
            reached: None,
            status: None,
            code: Some(code.to_owned()),
            message: Some(message),
            elapsed_ms: elapsed(began),
        }
    }
}

fn elapsed(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Tries to reach the URL of a request.
pub async fn check(shared: &Arc<Shared>, request: &str) -> Outcome {
    let began = Instant::now();
    // The error of the parser could repeat a password.
    let Ok(request) = serde_json::from_str::<Request>(request) else {
        let text = "expected {\"url\": …, \"policy\": …}".to_owned();
        return Outcome::failed("request_invalid", text, began);
    };
    let policy = match request.policy {
        None => policy_now(shared),
        Some(value) => match Policy::parse(value.to_string().as_bytes()) {
            Ok(policy) => Ok(Arc::new(policy)),
            Err(error) => return Outcome::failed("policy_invalid", error.to_string(), began),
        },
    };
    let tried = async { reach(shared, &*policy?, &request.url).await };
    match tried.await {
        Ok((reached, status)) => Outcome {
            ok: true,
            reached: Some(reached.to_owned()),
            status,
            code: None,
            message: None,
            elapsed_ms: elapsed(began),
        },
        Err(failure) => Outcome::failed(failure.code(), failure.to_string(), began),
    }
}

async fn reach(
    shared: &Arc<Shared>,
    policy: &Policy,
    url: &str,
) -> Result<(&'static str, Option<u16>), Failure> {
    let invalid = |reason| Failure::from(Refusal::Request { reason });
    let url = Url::parse(url).map_err(|_error| invalid("the URL does not parse"))?;
    let is_plain = match url.scheme() {
        "http" => true,
        "https" => false,
        _ => return Err(invalid("the URL's scheme is not http or https")),
    };
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
        return Err(invalid("the URL has no host"));
    };
    let target = Target::new(host, port).ok_or_else(|| invalid("the URL has no valid host"))?;
    let purpose = if is_plain { Purpose::Requests } else { Purpose::Tunnel };
    let mut route = open(shared, policy, &target, purpose).await?;
    if !is_plain {
        return Ok(("tunnel", None));
    }
    let authority = url.authority();
    let authority = authority.rsplit_once('@').map_or(authority, |(_, authority)| authority);
    let path = url.path();
    let (line, authorization) = match &route.absolute {
        Some(upstream) => (format!("http://{authority}{path}"), upstream.authorization()),
        None => (path.to_owned(), None),
    };
    let authorization = authorization.map(|value| format!("Proxy-Authorization: {value}\r\n"));
    let request = format!(
        "HEAD {line} HTTP/1.1\r\nHost: {authority}\r\n{}Connection: close\r\n\r\n",
        authorization.unwrap_or_default()
    );
    let exchange = async {
        route.stream.write_all(request.as_bytes()).await.ok()?;
        read_head::<ResponseHead, _>(&mut route.stream, &mut route.buffer).await.ok()
    };
    let answered = tokio::time::timeout(shared.limits.connect, exchange).await;
    match (answered, route.absolute.is_some()) {
        (Err(_), true) => Err(Failure::UpstreamTimeout),
        (Err(_), false) => Err(Failure::ResponseTimeout(target)),
        (Ok(None), true) => Err(Failure::UpstreamProtocol("no HTTP answer".to_owned())),
        (Ok(None), false) => Err(Failure::NoResponse(target)),
        (Ok(Some(head)), true) if head.status == 407 => Err(Failure::UpstreamCredentials),
        (Ok(Some(head)), _) => Ok(("response", Some(head.status))),
    }
}
