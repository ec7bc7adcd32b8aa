//! Refusals and failures, and the responses that a client gets for them.
//!
//! A refusal comes from the policy, and names the setting that lifts it. A failure comes from the network.

use std::net::IpAddr;

use super::addresses::Class;
use super::target::Target;

/// The setting that permits targets, under the name that users know.
const ALLOW: &str = "egress.allow";
const DENY: &str = "egress.deny";

/// A denial by the policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("no egress policy is in force yet, so every request is refused; try again shortly")]
    NoPolicy,
    #[error(
        "the network traffic of this organization for today is used up (quota `egress_mib_per_day`); \
         wait until midnight, UTC, or ask the operator of the server to raise the quota"
    )]
    Exhausted,
    #[error("{target} is denied by the rule `{rule}` of `{DENY}`; remove the rule to allow it")]
    Denied { target: Target, rule: String },
    #[error(
        "{target} is not in the list of hosts that this session is limited to; add `{target}` to the session's `{ALLOW}`"
    )]
    NotListed { target: Target },
    #[error("port {} is refused by default; add `{target}` to `{ALLOW}` to allow it", .target.port)]
    Port { target: Target },
    #[error("{} a public address ({class}); add `{target}` to `{ALLOW}` to allow it", not_at(target, *address))]
    NotPublic { target: Target, address: IpAddr, class: Class },
    #[error(
        "the upstream proxy {target} is refused: {reason}; the operator can allow it with `egress.any_upstream` or `{ALLOW}`"
    )]
    Upstream { target: Target, reason: String },
    #[error("the program does not belong to this session")]
    Client,
    #[error("{reason}")]
    Request { reason: &'static str },
}

fn not_at(target: &Target, address: IpAddr) -> String {
    match target.address() {
        Some(_) => format!("{address} is not"),
        None => format!("{} is at {address}, which is not", target.name),
    }
}

impl Refusal {
    /// The stable code in `X-Greenroom-Refused`, the status file and the events.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoPolicy => "policy_missing",
            Self::Exhausted => "quota_exceeded",
            Self::Denied { .. } => "host_denied",
            Self::NotListed { .. } => "host_not_listed",
            Self::Port { .. } => "port_refused",
            Self::NotPublic { .. } => "address_not_public",
            Self::Upstream { .. } => "upstream_not_allowed",
            Self::Client => "client_unknown",
            Self::Request { .. } => "request_invalid",
        }
    }
}

/// The reason for which a target was not reached.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("the name {0} was not resolved; check the spelling and the machine's DNS")]
    Unresolved(String),
    #[error("{0} did not accept the connection: {1}")]
    Unreachable(Target, std::io::ErrorKind),
    #[error("{0} did not accept the connection in time")]
    ConnectTimeout(Target),
    #[error("the upstream proxy did not accept the connection: {0}; check its address")]
    UpstreamUnreachable(String),
    #[error("the upstream proxy did not answer in time")]
    UpstreamTimeout,
    #[error("the upstream proxy rejected the credentials; check name and password")]
    UpstreamCredentials,
    #[error("the upstream proxy refused the target: {0}")]
    UpstreamRefused(String),
    #[error("the upstream proxy's answer was not understood: {0}; check its scheme and port")]
    UpstreamProtocol(String),
    #[error("the answer of {0} was not understood")]
    BadResponse(Target),
    #[error("{0} closed the connection before it answered")]
    NoResponse(Target),
    #[error("{0} did not answer in time")]
    ResponseTimeout(Target),
    #[error("the client left")]
    ClientLeft,
}

impl Failure {
    /// The stable code in `X-Greenroom-Refused`, `X-Greenroom-Failed` and the status file.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.code(),
            Self::Unresolved(_) => "name_not_resolved",
            Self::Unreachable(..) => "target_unreachable",
            Self::ConnectTimeout(_) => "target_timeout",
            Self::UpstreamUnreachable(_) => "upstream_unreachable",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::UpstreamCredentials => "upstream_credentials",
            Self::UpstreamRefused(_) => "upstream_refused",
            Self::UpstreamProtocol(_) => "upstream_protocol",
            Self::BadResponse(_) => "response_invalid",
            Self::NoResponse(_) => "response_missing",
            Self::ResponseTimeout(_) => "response_timeout",
            Self::ClientLeft => "client_left",
        }
    }

    /// True if the upstream proxy is at fault.
    pub fn is_upstream(&self) -> bool {
        match self {
            Self::UpstreamUnreachable(_)
            | Self::UpstreamTimeout
            | Self::UpstreamCredentials
            | Self::UpstreamRefused(_)
            | Self::UpstreamProtocol(_)
            | Self::Refused(Refusal::Upstream { .. }) => true,
            Self::Refused(_)
            | Self::Unresolved(_)
            | Self::Unreachable(..)
            | Self::ConnectTimeout(_)
            | Self::BadResponse(_)
            | Self::NoResponse(_)
            | Self::ResponseTimeout(_)
            | Self::ClientLeft => false,
        }
    }

    fn status_line(&self) -> &'static str {
        match self {
            Self::Refused(Refusal::Request { .. }) => "400 Bad Request",
            Self::Refused(_) => "403 Forbidden",
            Self::ConnectTimeout(_) | Self::UpstreamTimeout | Self::ResponseTimeout(_) => {
                "504 Gateway Timeout"
            }
            Self::Unresolved(_)
            | Self::Unreachable(..)
            | Self::UpstreamUnreachable(_)
            | Self::UpstreamCredentials
            | Self::UpstreamRefused(_)
            | Self::UpstreamProtocol(_)
            | Self::BadResponse(_)
            | Self::NoResponse(_)
            | Self::ClientLeft => "502 Bad Gateway",
        }
    }

    /// The whole HTTP response: an HTML page for a request, a line of text for `CONNECT`.
    pub fn response(&self, form: Form) -> Vec<u8> {
        let status = self.status_line();
        let text = self.to_string();
        let (kind, body) = match form {
            Form::Page => ("text/html; charset=utf-8", page(status, &text, self.code())),
            Form::Text => ("text/plain; charset=utf-8", format!("{text}\n")),
        };
        let header = match self {
            Self::Refused(_) => "X-Greenroom-Refused",
            Self::Unresolved(_)
            | Self::Unreachable(..)
            | Self::ConnectTimeout(_)
            | Self::UpstreamUnreachable(_)
            | Self::UpstreamTimeout
            | Self::UpstreamCredentials
            | Self::UpstreamRefused(_)
            | Self::UpstreamProtocol(_)
            | Self::BadResponse(_)
            | Self::NoResponse(_)
            | Self::ResponseTimeout(_)
            | Self::ClientLeft => "X-Greenroom-Failed",
        };
        format!(
            "HTTP/1.1 {status}\r\n{header}: {}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
             Cache-Control: no-store\r\nConnection: close\r\n\r\n{body}",
            self.code(),
            body.len(),
        )
        .into_bytes()
    }
}

/// The form of a response body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Page,
    Text,
}

fn page(status: &str, text: &str, code: &str) -> String {
    format!(
        "<!doctype html><meta charset=utf-8><title>{status}</title>\
         <style>body{{font:16px/1.5 sans-serif;max-width:40em;margin:4em auto;padding:0 1em}}\
         code{{background:#8882;padding:0 .2em}}</style>\
         <h1>{}</h1><p>{}</p><p>Code: <code>{code}</code></p>\n",
        if status.starts_with("403") {
            "Refused by this session's egress policy"
        } else {
            "The page was not reached"
        },
        escape(text),
    )
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let mut in_code = false;
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '`' => {
                escaped.push_str(if in_code { "</code>" } else { "<code>" });
                in_code = !in_code;
            }
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_names_host_class_and_setting_and_is_escaped() {
        let target = Target { name: "<b>.example".to_owned(), port: 8080 };
        let address = "10.0.0.1".parse().unwrap();
        let refusal = Refusal::NotPublic { target, address, class: Class::Private };
        let text = String::from_utf8(Failure::from(refusal).response(Form::Page)).unwrap();
        assert!(
            text.starts_with("HTTP/1.1 403 Forbidden\r\nX-Greenroom-Refused: address_not_public")
        );
        for part in ["&lt;b&gt;.example:8080", "10.0.0.1", "private", "<code>egress.allow</code>"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("<b>"));
    }
}
