//! Which addresses the server may be sent to by those who use it.
//!
//! A URL is checked twice: what it says, before a connection is made, and what its name resolves
//! to, while the connection is made, so that a name cannot point elsewhere in between. Redirects are
//! not followed by the client; whoever follows them asks again.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use crate::egress::rule::Rule;

/// The port of a lookup for a connection whose port is not known. No rule names it.
const ANY_PORT: u16 = 0;

tokio::task_local! {
    /// The port of the connection that the present task makes.
    static PORT: u16;
}

/// What is allowed beyond the public internet.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Private, loopback and link-local addresses are allowed.
    pub allow_private: bool,
    /// These hosts are allowed wherever they are, at every port.
    pub allowed_hosts: Vec<String>,
    /// These targets are allowed wherever they are.
    pub allow: Vec<Rule>,
    /// These targets are refused in any case.
    pub deny: Vec<Rule>,
}

/// Checks addresses.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    settings: Settings,
}

/// A target that is not allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Not a web address.
    #[error("the scheme `{0}` is not allowed; use http or https")]
    Scheme(String),
    /// It has no host.
    #[error("the URL has no host")]
    NoHost,
    /// It carries a name or a password.
    #[error("credentials in a URL are not allowed; use a header")]
    Credentials,
    /// It is not on the public internet.
    #[error("{0} is not a public address")]
    Private(String),
    /// A rule refuses it.
    #[error("{0} is denied by a rule of `egress.deny`")]
    Denied(String),
}

impl Guard {
    /// With what is allowed.
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }

    /// True if the name is allowed whatever its addresses are. At [`ANY_PORT`] only rules without ports
    /// count.
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

    /// Checks what a URL says by itself.
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

    /// The addresses of a name that a connection to this port may be made to; none if any of them is
    /// refused.
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

    /// Sends a request to a URL by a [client](Self::client) of this guard. Names are looked up without
    /// their port, which rules may name, so it is given along.
    pub async fn send(
        url: &Url,
        request: reqwest::RequestBuilder,
    ) -> Result<reqwest::Response, reqwest::Error> {
        PORT.scope(url.port_or_known_default().unwrap_or(ANY_PORT), request.send()).await
    }

    /// A client whose connections are checked, which uses no proxy and follows no redirect.
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

/// Whether an address is on the public internet.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => v4_is_public(address),
        IpAddr::V6(address) => v6_is_public(address),
    }
}

/// The ranges of IANA's IPv4 special-purpose address registry, and of multicast, as first address
/// and length of the prefix. Those that the registry calls globally reachable are refused as well:
/// no web server is behind an anycast address of a protocol.
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
    ([192, 88, 99, 0], 24),  // 6to4 relays, which are no more.
    ([192, 168, 0, 0], 16),  // Private.
    ([192, 175, 48, 0], 24), // AS112.
    ([198, 18, 0, 0], 15),   // Benchmarks.
    ([198, 51, 100, 0], 24), // Documentation.
    ([203, 0, 113, 0], 24),  // Documentation.
    ([224, 0, 0, 0], 4),     // Multicast.
    ([240, 0, 0, 0], 4),     // Reserved, and broadcast.
];

/// The same for IPv6, as far as the ranges are within 2000::/3: nothing else is given out, but for
/// translated addresses, which are judged by the address within.
const SPECIAL_V6: &[([u16; 8], u32)] = &[
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), // Protocol assignments, Teredo, ORCHID among them.
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), // Documentation.
    ([0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0], 48), // AS112.
    ([0x3ffe, 0, 0, 0, 0, 0, 0, 0], 16), // The 6bone, which is no more.
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
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, allowed: bool) {
        let found = Guard::default().check(&Url::parse(url).unwrap());
        assert_eq!(found.is_ok(), allowed, "{url}: {found:?}");
    }

    #[test]
    fn only_public_web_addresses_are_allowed() {
        check("https://example.com/a?b", true);
        check("http://93.184.216.34:8080/", true);
        check("http://[2606:2800:220:1::1]/", true);
        check("http://[2001:4860:4860::8888]/", true);
        check("http://[64:ff9b::5db8:d822]/", true);
        check("http://[2002:5db8:d822::]/", true);
        check("http://192.88.98.1/", true);
        check("http://100.128.0.1/", true);
        check("http://172.32.0.1/", true);
        check("http://198.20.0.1/", true);
        for url in [
            "ftp://example.com/",
            "file:///etc/passwd",
            "http://user:secret@example.com/",
            "http://localhost/",
            "http://a.localhost./",
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://0/",
            "http://10.0.0.1/",
            "http://172.31.0.1/",
            "http://192.168.1.1/",
            "http://169.254.169.254/latest/meta-data",
            "http://100.64.0.1/",
            "http://224.0.0.1/",
            "http://0.1.2.3/",
            "http://127.255.255.254/",
            "http://172.16.0.1/",
            "http://192.0.0.8/",
            "http://192.0.2.1/",
            "http://192.31.196.1/",
            "http://192.52.193.1/",
            "http://192.88.99.1/",
            "http://192.175.48.1/",
            "http://198.19.255.255/",
            "http://198.51.100.1/",
            "http://203.0.113.1/",
            "http://255.255.255.255/",
            "http://[100::1]/",
            "http://[64:ff9b:1::5db8:d822]/",
            "http://[2001::1]/",
            "http://[2001:2::1]/",
            "http://[2001:20::1]/",
            "http://[2001:1ff::1]/",
            "http://[2001:db8::1]/",
            "http://[2620:4f:8000::1]/",
            "http://[3fff::1]/",
            "http://[5f00::1]/",
            "http://[fec0::1]/",
            "http://[ff02::1]/",
            "http://[::127.0.0.1]/",
            "http://[2002:c058:6301::]/",
            "http://[::1]/",
            "http://[::]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[fe80::1]/",
            "http://[fd00::1]/",
            "http://[64:ff9b::7f00:1]/",
            "http://[2002:7f00:1::]/",
        ] {
            check(url, false);
        }
    }

    #[test]
    fn a_name_with_one_private_address_is_refused_unless_it_is_allowed() {
        let addresses: Vec<SocketAddr> =
            ["93.184.216.34:80", "10.0.0.1:80"].iter().map(|text| text.parse().unwrap()).collect();
        let refused = Guard::default().allowed("evil.example", 80, addresses.clone());
        assert_eq!(refused, Err(Refused::Private("evil.example".to_owned())));
        let settings =
            Settings { allowed_hosts: vec!["intra.example".to_owned()], ..Settings::default() };
        let guard = Guard::new(settings);
        assert_eq!(guard.allowed("intra.example", 80, addresses.clone()), Ok(addresses));
        assert!(guard.check(&Url::parse("http://10.0.0.1/").unwrap()).is_err());
    }

    #[test]
    fn rules_allow_and_deny_names_networks_and_ports() {
        let rules = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let guard = Guard::new(Settings {
            allow: rules(&[
                "*.intra.example:8080",
                "10.0.0.0/8:80,443",
                "localhost:3000",
                "[::1]:81",
            ]),
            deny: rules(&["secret.intra.example", "10.9.0.0/16", "evil.example"]),
            ..Settings::default()
        });
        let check = |url: &str| guard.check(&Url::parse(url).unwrap());
        for url in [
            "http://a.intra.example:8080/",
            "http://10.1.2.3/",
            "https://10.1.2.3/",
            "http://localhost:3000/",
            "http://[::1]:81/",
            "http://public.example/",
        ] {
            assert_eq!(check(url), Ok(()), "{url}");
        }
        for url in
            ["http://10.1.2.3:22/", "http://127.0.0.1/", "http://[::1]/", "http://localhost/"]
        {
            assert!(matches!(check(url), Err(Refused::Private(_))), "{url}");
        }
        for url in ["http://10.9.0.1/", "http://EVIL.example/", "http://secret.intra.example:8080/"]
        {
            assert!(matches!(check(url), Err(Refused::Denied(_))), "{url}");
        }
        let at = |host: &str, port: u16, address: &str| {
            guard.allowed(host, port, vec![format!("{address}:0").parse().unwrap()]).is_ok()
        };
        assert!(at("a.intra.example", 8080, "192.168.0.1") && at("b.example", 443, "10.1.1.1"));
        assert!(at("localhost", 3000, "127.0.0.1"));
        for (host, port, address) in [
            ("a.intra.example", 80, "192.168.0.1"),
            ("b.example", 22, "10.1.1.1"),
            ("b.example", 443, "10.9.1.1"),
            ("localhost", 3001, "127.0.0.1"),
            ("evil.example", 80, "93.184.216.34"),
            // A port that is not known is none that a rule names.
            ("a.intra.example", ANY_PORT, "192.168.0.1"),
        ] {
            assert!(!at(host, port, address), "{host} {port} {address}");
        }
    }

    #[tokio::test]
    async fn a_rule_for_one_port_opens_no_other() {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let allow = vec![format!("localhost:{port}").parse().unwrap()];
        let guard = Guard::new(Settings { allow, ..Settings::default() });
        let client = guard.client(Duration::from_secs(5)).unwrap();
        let url = Url::parse(&format!("http://localhost:{port}/")).unwrap();
        let (answer, accepted) = tokio::join!(
            tokio::time::timeout(
                Duration::from_millis(500),
                Guard::send(&url, client.get(url.clone()))
            ),
            tokio::time::timeout(Duration::from_secs(5), listener.accept()),
        );
        assert!(accepted.is_ok(), "the connection is made: {answer:?}");
        let other = Url::parse("http://localhost:1/").unwrap();
        let error = Guard::send(&other, client.get(other.clone())).await.unwrap_err();
        assert!(format!("{error:?}").contains("Private"), "{error:?}");
    }

    #[tokio::test]
    async fn a_client_does_not_connect_to_a_name_that_resolves_to_here() {
        let client = Guard::default().client(Duration::from_secs(5)).unwrap();
        let error = client.get("http://localhost:1/").send().await.unwrap_err();
        let mut cause: Option<&dyn Error> = Some(&error);
        let mut found = false;
        while let Some(error) = cause {
            found |= error.downcast_ref::<Refused>().is_some();
            cause = error.source();
        }
        assert!(found, "{error:?}");
    }
}
