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

/// What is allowed beyond the public internet.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Private, loopback and link-local addresses are allowed.
    pub allow_private: bool,
    /// These hosts are allowed wherever they are.
    pub allowed_hosts: Vec<String>,
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
}

impl Guard {
    /// With what is allowed.
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }

    fn trusts(&self, host: &str) -> bool {
        let allowed = &self.settings.allowed_hosts;
        self.settings.allow_private || allowed.iter().any(|name| name.eq_ignore_ascii_case(host))
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
        if self.trusts(&host.to_string()) {
            return Ok(());
        }
        let local = match host {
            Host::Ipv4(address) => !is_public(IpAddr::V4(address)),
            Host::Ipv6(address) => !is_public(IpAddr::V6(address)),
            Host::Domain(name) => {
                let name = name.trim_end_matches('.');
                name.eq_ignore_ascii_case("localhost") || name.ends_with(".localhost")
            }
        };
        if local { Err(Refused::Private(host.to_string())) } else { Ok(()) }
    }

    /// The addresses of a host that a connection may be made to; none if any of them is refused.
    pub fn allowed(
        &self,
        host: &str,
        addresses: Vec<SocketAddr>,
    ) -> Result<Vec<SocketAddr>, Refused> {
        let refused = addresses.iter().find(|address| !is_public(address.ip()));
        match refused {
            Some(_) if !self.trusts(host) => Err(Refused::Private(host.to_owned())),
            Some(_) | None => Ok(addresses),
        }
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
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found = tokio::net::lookup_host((host.as_str(), 0)).await;
            let addresses =
                found.map_err(|error| -> Box<dyn Error + Send + Sync> { error.into() })?;
            let allowed = guard.allowed(&host, addresses.collect())?;
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

fn v4_is_public(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let refused = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (b == 18 || b == 19));
    !refused
}

fn v6_is_public(address: Ipv6Addr) -> bool {
    let [first, second, .., seventh, eighth] = address.segments();
    let embedded = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        v4_is_public(Ipv4Addr::new(a, b, c, d))
    };
    if let Some(mapped) = address.to_ipv4_mapped() {
        return v4_is_public(mapped);
    }
    if first == 0x64 && second == 0xff9b {
        return embedded(seventh, eighth); // NAT64, RFC 6052.
    }
    if first == 0x2002 {
        return embedded(second, address.segments().into_iter().nth(2).unwrap_or(0)); // 6to4.
    }
    // Only 2000::/3 is given out at all; 2001:db8::/32 is documentation, 2001::/32 is Teredo.
    first & 0xe000 == 0x2000 && !(first == 0x2001 && (second == 0xdb8 || second == 0))
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
        let refused = Guard::default().allowed("evil.example", addresses.clone());
        assert_eq!(refused, Err(Refused::Private("evil.example".to_owned())));
        let settings =
            Settings { allow_private: false, allowed_hosts: vec!["intra.example".to_owned()] };
        let guard = Guard::new(settings);
        assert_eq!(guard.allowed("intra.example", addresses.clone()), Ok(addresses));
        assert!(guard.check(&Url::parse("http://10.0.0.1/").unwrap()).is_err());
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
