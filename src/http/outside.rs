//! The address under which a client reached the server through a proxy.
//!
//! Links in answers begin with `http.public_url` if that is set. Without it, a request from one of
//! `http.trusted_proxies` may name its client's scheme, host and path prefix, by
//! `X-Forwarded-Proto`, `X-Forwarded-Host` and `X-Forwarded-Prefix`. It names the client's own
//! address by `X-Forwarded-For`. These headers are ignored from any other peer, because a client
//! could write anything into them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HOST, HeaderMap};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{Error, HttpRequest};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::service::address::with_base_url;

const FOR: &str = "x-forwarded-for";
const PROTO: &str = "x-forwarded-proto";
const FORWARDED_HOST: &str = "x-forwarded-host";
const PREFIX: &str = "x-forwarded-prefix";

/// A range of addresses: `10.0.0.0/8`, or a single address such as `127.0.0.1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network(IpNet);

impl Network {
    fn contains(self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let single = text.parse::<IpAddr>().map(IpNet::from);
        let network = single.or_else(|_not_single| text.parse::<IpNet>());
        network.map(Self).map_err(|_not_a_range| NotANetwork(text.to_owned()))
    }
}

impl TryFrom<String> for Network {
    type Error = NotANetwork;

    fn try_from(text: String) -> Result<Self, NotANetwork> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() {
            self.0.addr().fmt(f)
        } else {
            self.0.fmt(f)
        }
    }
}

/// Returns the address of the request's client, also behind a trusted proxy.
pub(super) fn client_address(request: &HttpRequest) -> Option<IpAddr> {
    let peer = request.peer_addr()?.ip();
    let trusted = request.app_data::<Data<TrustedProxies>>();
    Some(trusted.map_or(peer, |trusted| trusted.client(peer, request.headers())))
}

/// A text that is neither an address nor a range of addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a range of addresses; expected a network such as 10.0.0.0/8, or an address")]
pub struct NotANetwork(String);

/// The peers whose `X-Forwarded-*` headers are trusted.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies(pub Vec<Network>);

impl TrustedProxies {
    fn has(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }

    /// Returns the address of the client behind `peer`: the last entry of `X-Forwarded-For` that is
    /// no trusted proxy, because untrusted peers wrote everything before it.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        if !self.has(peer) {
            return peer;
        }
        let mut client = peer;
        let named: Vec<&str> = headers
            .get_all(FOR)
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .collect();
        for text in named.into_iter().rev() {
            let Ok(address) = text.trim().parse::<IpAddr>() else { break };
            client = address.to_canonical();
            if !self.has(client) {
                break;
            }
        }
        client
    }

    /// Returns the beginning of links for the client behind `peer`, without a slash at the end;
    /// `None` if no trusted proxy names it.
    fn base_url(&self, peer: IpAddr, headers: &HeaderMap) -> Option<String> {
        if !self.has(peer) {
            return None;
        }
        let first = |name: &str| {
            let value = headers.get(name)?.to_str().ok()?;
            let first = value.split(',').next()?.trim();
            (!first.is_empty()).then(|| first.to_owned())
        };
        let (proto, host) = (first(PROTO), first(FORWARDED_HOST));
        if proto.is_none() && host.is_none() {
            return None;
        }
        let scheme = proto.unwrap_or_else(|| "http".to_owned()).to_ascii_lowercase();
        let host = host.or_else(|| first(HOST.as_str()))?;
        let prefix = first(PREFIX).unwrap_or_default();
        let url = format!("{scheme}://{host}/{}", prefix.trim_start_matches('/'));
        let url = Url::parse(&url).ok()?;
        let is_plain = matches!(url.scheme(), "http" | "https")
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
            && !host.contains('/');
        is_plain.then(|| url.as_str().trim_end_matches('/').to_owned())
    }
}

/// A middleware that keeps the base URL named by a trusted proxy while the request is handled.
pub async fn resolve(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let trusted = request.app_data::<Data<TrustedProxies>>();
    let base_url = trusted
        .zip(request.peer_addr())
        .and_then(|(trusted, peer)| trusted.base_url(peer.ip(), request.headers()));
    with_base_url(base_url, next.call(request)).await
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    fn trusted() -> TrustedProxies {
        TrustedProxies(["127.0.0.1", "10.0.0.0/8"].map(|text| text.parse().unwrap()).to_vec())
    }

    fn headers(named: &[(&'static str, &'static str)]) -> HeaderMap {
        let named = named
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        named.collect()
    }

    #[test]
    fn links_follow_what_a_trusted_proxy_says_and_nobody_else() {
        let proxy: IpAddr = "10.1.2.3".parse().unwrap();
        for (named, expected) in [
            (vec![(PROTO, "https"), (FORWARDED_HOST, "b.example")], Some("https://b.example")),
            (
                vec![(PROTO, "https"), (FORWARDED_HOST, "b.example:444"), (PREFIX, "/green/room/")],
                Some("https://b.example:444/green/room"),
            ),
            (vec![(PROTO, "HTTPS"), ("host", "b.example")], Some("https://b.example")),
            (vec![(FORWARDED_HOST, "b.example, inner.example")], Some("http://b.example")),
            (vec![("host", "b.example")], None),
            (vec![(PROTO, "javascript"), (FORWARDED_HOST, "b.example")], None),
            (vec![(PROTO, "https"), (FORWARDED_HOST, "u:p@b.example")], None),
            (vec![(PROTO, "https"), (FORWARDED_HOST, "b.example/x")], None),
            (vec![(PROTO, "https"), (FORWARDED_HOST, "b.example"), (PREFIX, "/a?b")], None),
            (vec![(PROTO, "https"), (FORWARDED_HOST, "b.example"), (PREFIX, "/a#b")], None),
        ] {
            let headers = headers(&named);
            assert_eq!(trusted().base_url(proxy, &headers).as_deref(), expected, "{named:?}");
            let stranger = "192.0.2.1".parse().unwrap();
            assert_eq!(trusted().base_url(stranger, &headers), None, "{named:?}");
        }
        let mapped = "::ffff:127.0.0.1".parse().unwrap();
        let headers = headers(&[(PROTO, "https"), (FORWARDED_HOST, "b.example")]);
        assert_eq!(trusted().base_url(mapped, &headers).as_deref(), Some("https://b.example"));
    }

    #[test]
    fn a_client_cannot_lend_itself_another_address() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        for (peer, named, expected) in [
            ("127.0.0.1", "198.51.100.7", "198.51.100.7"),
            ("127.0.0.1", "203.0.113.9, 198.51.100.7", "198.51.100.7"),
            ("127.0.0.1", "203.0.113.9, 198.51.100.7, 10.0.0.2", "198.51.100.7"),
            ("127.0.0.1", "10.0.0.9, 10.0.0.2", "10.0.0.9"),
            ("127.0.0.1", "198.51.100.7, nonsense", "127.0.0.1"),
            ("192.0.2.1", "198.51.100.7", "192.0.2.1"),
        ] {
            let headers = headers(&[(FOR, named)]);
            assert_eq!(trusted().client(address(peer), &headers), address(expected), "{named}");
        }
    }

    #[test]
    fn networks_are_read_and_shown_as_they_are_written() {
        for text in ["127.0.0.1", "10.0.0.0/8", "::1", "fd00::/8"] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), text);
        }
        let wrong = "localhost".parse::<Network>().unwrap_err().to_string();
        assert!(wrong.starts_with("`localhost` is not a range of addresses"), "{wrong}");
    }
}
