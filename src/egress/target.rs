//! The host and port that a client asks for.

use std::fmt;
use std::net::IpAddr;

use super::addresses::canonical;

/// A host and a port. Names are in lower case, without a final dot; every way to write an IPv4
/// address (`2130706433`, `0x7f.1`) has become the usual one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// A name or an address, without brackets.
    pub name: String,
    /// The port; 0 only with an address.
    pub port: u16,
}

impl Target {
    /// From a host without brackets, or with them for IPv6.
    pub fn new(host: &str, port: u16) -> Option<Self> {
        let host = host.trim_end_matches('.');
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Some(Self { name: canonical(address).to_string(), port });
        }
        let name = match url::Host::parse(host).ok()? {
            url::Host::Domain(name) => name.trim_end_matches('.').to_ascii_lowercase(),
            url::Host::Ipv4(address) => address.to_string(),
            url::Host::Ipv6(address) => canonical(IpAddr::V6(address)).to_string(),
        };
        (!name.is_empty() && name.len() < 256 && port > 0).then_some(Self { name, port })
    }

    /// From `host:port`, as `CONNECT` writes it.
    pub fn from_authority(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        Self::new(host, port.parse().ok()?)
    }

    /// The address, if the host is one.
    pub fn address(&self) -> Option<IpAddr> {
        self.name.parse().ok()
    }

    /// True for `localhost` and the names below it, which are never looked up.
    pub fn is_localhost(&self) -> bool {
        self.name == "localhost" || self.name.ends_with(".localhost")
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name.contains(':') {
            true => write!(f, "[{}]:{}", self.name, self.port),
            false => write!(f, "{}:{}", self.name, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_a_host_becomes_one() {
        for (text, expected) in [
            ("Example.COM.:443", "example.com:443"),
            ("2130706433:80", "127.0.0.1:80"),
            ("0x7f.1:80", "127.0.0.1:80"),
            ("[::1]:80", "[::1]:80"),
            ("[::ffff:7f00:1]:80", "127.0.0.1:80"),
            ("bücher.example:1", "xn--bcher-kva.example:1"),
        ] {
            let target = Target::from_authority(text).unwrap();
            assert_eq!(target.to_string(), expected, "{text}");
        }
        for text in ["", ":80", "host", "host:", "host:0", "host:65536", "a b:80", "a/b:80", ".:80"]
        {
            assert_eq!(Target::from_authority(text), None, "{text}");
        }
    }
}
