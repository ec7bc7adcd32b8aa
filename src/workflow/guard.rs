//! Restricts the addresses to which clients can make the server send requests.
//!
//! A URL is checked twice: its text before a connection is made, and the addresses of its host name
//! while the connection is made. So the name cannot be repointed in between. The client follows no
//! redirects; a caller that follows them must check each target again.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use crate::egress::rule::Rule;

/// The port of a lookup for a connection whose port is unknown. No rule names it.
const ANY_PORT: u16 = 0;

tokio::task_local! {
    /// The port of the connection that the current task makes.
    static PORT: u16;
}

/// The targets that are allowed beyond the public internet, and those that are denied.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// True if private, loopback and link-local addresses are allowed.
    pub allow_private: bool,
    /// The hosts that are allowed at any address and every port.
    pub allowed_hosts: Vec<String>,
    /// The targets that are allowed at any address.
    pub allow: Vec<Rule>,
    /// The targets that are always refused.
    pub deny: Vec<Rule>,
}

/// Checks URLs and addresses against the settings.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    settings: Settings,
}

/// The reason why a target is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The scheme is neither `http` nor `https`.
    #[error("the scheme `{0}` is not allowed; use http or https")]
    Scheme(String),
    /// The URL has no host.
    #[error("the URL has no host")]
    NoHost,
    /// The URL contains a user name or a password.
    #[error("credentials in a URL are not allowed; use a header")]
    Credentials,
    /// The address is not on the public internet.
    #[error("{0} is not a public address")]
    Private(String),
    /// A rule denies the target.
    #[error("{0} is denied by a rule of `egress.deny`")]
    Denied(String),
}

impl Guard {
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }

    /// True if the name is allowed at any address. At [`ANY_PORT`] only rules without ports match.
    fn trusts(&self, name: &str, port: u16) -> bool {
        let Settings { allow_private, allowed_hosts, allow, deny: _ } = &self.settings;
        *allow_private
            || allowed_hosts.iter().any(|host| host.eq_ignore_ascii_case(name))
            || allow.iter().any(|rule| rule.covers_name(name, port))
    }

    fn trusts_address(&self, address: IpAddr, port: u16) -> bool {
        self.settings.allow.iter().any(|rule| rule.covers_address(address, port))
    }

    fn denies(&self, name: &str, addresses: &[IpAddr], port: u16) -> bool {
        self.settings.deny.iter().any(|rule| {
            rule.covers_name(name, port)
                || addresses.iter().any(|address| rule.covers_address(*address, port))
        })
    }

    /// Checks the text of a URL, without a lookup of its host name.
    pub fn check(&self, url: &Url) -> Result<(), Refused> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Refused::Scheme(url.scheme().to_owned()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refused::Credentials);
        }
        let host = url.host().ok_or(Refused::NoHost)?;
        let port = url.port_or_known_default().unwrap_or(ANY_PORT);
        let (name, address) = match host {
            Host::Ipv4(address) => (host.to_string(), Some(IpAddr::V4(address))),
            Host::Ipv6(address) => (host.to_string(), Some(IpAddr::V6(address))),
            Host::Domain(name) => (name.trim_end_matches('.').to_ascii_lowercase(), None),
        };
        if self.denies(&name, address.as_slice(), port) {
            return Err(Refused::Denied(host.to_string()));
        }
        if self.trusts(&name, port) {
            return Ok(());
        }
        let is_local = match address {
            Some(address) => !is_public(address) && !self.trusts_address(address, port),
            None => {
                let is_localhost = name == "localhost" || name.ends_with(".localhost");
                is_localhost && !self.trusts_address(Ipv4Addr::LOCALHOST.into(), port)
            }
        };
        if is_local { Err(Refused::Private(host.to_string())) } else { Ok(()) }
    }

    /// Returns the addresses of a name to which a connection at this port is allowed; an error if any
    /// of them is refused.
    pub fn allowed(
        &self,
        host: &str,
        port: u16,
        addresses: Vec<SocketAddr>,
    ) -> Result<Vec<SocketAddr>, Refused> {
        let every: Vec<IpAddr> = addresses.iter().map(SocketAddr::ip).collect();
        if self.denies(host, &every, port) {
            return Err(Refused::Denied(host.to_owned()));
        }
        let is_refused =
            |address: &IpAddr| !is_public(*address) && !self.trusts_address(*address, port);
        if every.iter().any(is_refused) && !self.trusts(host, port) {
            return Err(Refused::Private(host.to_owned()));
        }
        Ok(addresses)
    }

    /// Sends a request to a URL with a [client](Self::client) of this guard. The client looks up
    /// names without their port, so the port is passed beside it for rules that name ports.
    pub async fn send(
        url: &Url,
        request: reqwest::RequestBuilder,
    ) -> Result<reqwest::Response, reqwest::Error> {
        PORT.scope(url.port_or_known_default().unwrap_or(ANY_PORT), request.send()).await
    }

    /// Creates a client whose connections are checked. It uses no proxy and follows no redirects.
    pub fn client(&self, timeout: Duration) -> Result<reqwest::Client, reqwest::Error> {
        reqwest::Client::builder()
            .dns_resolver(std::sync::Arc::new(self.clone()))
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(timeout)
            .user_agent(concat!("greenroom/", env!("CARGO_PKG_VERSION")))
            .build()
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        let port = PORT.try_with(|port| *port).unwrap_or(ANY_PORT);
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found = tokio::net::lookup_host((host.as_str(), 0)).await;
            let addresses =
                found.map_err(|error| -> Box<dyn Error + Send + Sync> { error.into() })?;
            let allowed = guard.allowed(&host, port, addresses.collect())?;
            let addresses: Addrs = Box::new(allowed.into_iter());
            Ok(addresses)
        })
    }
}

/// True if an address is on the public internet.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => v4_is_public(address),
        IpAddr::V6(address) => v6_is_public(address),
    }
}

/// The ranges of IANA's IPv4 special-purpose address registry and of multicast, as first address and
/// prefix length. Ranges that the registry calls globally reachable are refused as well: no web
/// server uses an anycast address of a protocol.
const SPECIAL_V4: &[([u8; 4], u32)] = &[
    ([0, 0, 0, 0], 8),       // "This network".
    ([10, 0, 0, 0], 8),      // Private.
    ([100, 64, 0, 0], 10),   // Shared by the customers of a provider.
    ([127, 0, 0, 0], 8),     // Loopback.
    ([169, 254, 0, 0], 16),  // Link-local.
    ([172, 16, 0, 0], 12),   // Private.
    ([192, 0, 0, 0], 24),    // Protocol assignments.
    ([192, 0, 2, 0], 24),    // Documentation.
    ([192, 31, 196, 0], 24), // AS112.
    ([192, 52, 193, 0], 24), // AMT.
    ([192, 88, 99, 0], 24),  // 6to4 relays (deprecated).
    ([192, 168, 0, 0], 16),  // Private.
    ([192, 175, 48, 0], 24), // AS112.
    ([198, 18, 0, 0], 15),   // Benchmarks.
    ([198, 51, 100, 0], 24), // Documentation.
    ([203, 0, 113, 0], 24),  // Documentation.
    ([224, 0, 0, 0], 4),     // Multicast.
    ([240, 0, 0, 0], 4),     // Reserved, and broadcast.
];

/// The same for IPv6, for the ranges within 2000::/3. No other range is assigned, except for
/// translated addresses, which are checked by the IPv4 address that they contain.
const SPECIAL_V6: &[([u16; 8], u32)] = &[
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), // Protocol assignments, Teredo, ORCHID among them.
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), // Documentation.
    ([0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0], 48), // AS112.
    ([0x3ffe, 0, 0, 0, 0, 0, 0, 0], 16), // 6bone (returned).
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), // Documentation.
];

fn v4_is_public(address: Ipv4Addr) -> bool {
    let address = u32::from(address);
    !SPECIAL_V4.iter().any(|(first, length)| {
        let differs = address ^ u32::from(Ipv4Addr::from(*first));
        differs.leading_zeros() >= *length
    })
}

fn v6_is_public(address: Ipv6Addr) -> bool {
    let [first, second, third, _, _, _, seventh, eighth] = address.segments();
    let embedded = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        v4_is_public(Ipv4Addr::new(a, b, c, d))
    };
    if let Some(mapped) = address.to_ipv4_mapped() {
        return v4_is_public(mapped);
    }
    if address.segments().starts_with(&[0x64, 0xff9b, 0, 0, 0, 0]) {
        return embedded(seventh, eighth); // NAT64, RFC 6052. That of RFC 8215 is local.
    }
    if first == 0x2002 {
        return embedded(second, third); // 6to4.
    }
    let bits = u128::from(address);
    let is_special = SPECIAL_V6.iter().any(|(first, length)| {
        (bits ^ u128::from(Ipv6Addr::from(*first))).leading_zeros() >= *length
    });
    first & 0xe000 == 0x2000 && !is_special
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
