//! The host and port that a client requests.

use std::fmt;
use std::net::IpAddr;

use super::addresses::canonical;

/// A host and a port. Names are in lower case, without a final dot. Each notation of an IPv4
/// address (`2130706433`, `0x7f.1`) is normalized to the dotted one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// The name or address, without brackets.
    pub name: String,
    /// The port, which is 0 only with an address.
    pub port: u16,
}

impl Target {
    /// Makes a target of a host and a port. The brackets of an IPv6 address are optional.
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

    /// Parses `host:port`, as in `CONNECT`.
    pub fn from_authority(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        Self::new(host, port.parse().ok()?)
    }

    /// The address, if the host is one.
    pub fn address(&self) -> Option<IpAddr> {
        self.name.parse().ok()
    }

    /// True for `localhost` and the names below it, which are never resolved.
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
