//! Rules of `egress.allow` and `egress.deny`: parsing and matching.
//!
//! ```text
//! example.com            the host, every port
//! *.example.com          its subdomains
//! *                      every host
//! intra.example:8080     one port
//! 10.0.0.0/8:80,443      a network, two ports
//! 127.0.0.1:3000-3999    an address, a range of ports
//! [fd00::/8]:443         an IPv6 network with a port; without one the brackets are optional
//! ```
//!
//! A host pattern is matched against the requested name, a network against the addresses that the
//! name resolves to.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use super::addresses::canonical;

/// One entry of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    subject: Subject,
    ports: Vec<(u16, u16)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Subject {
    Everything,
    Host(String),
    Subdomains(String),
    Network(IpNet),
}

/// A text that is not a valid rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    #[error("an empty rule")]
    Empty,
    #[error("`{0}` is not a port, a range of ports or a list of them, such as `80,8000-8999`")]
    Ports(String),
    #[error("`{0}` is not a network, such as `10.0.0.0/8`")]
    Network(String),
    #[error("`{0}` is not a host name; write a name, `*.name`, an address or a network")]
    Host(String),
}

impl Rule {
    /// True if the rule covers the requested name at this port.
    pub fn covers_name(&self, name: &str, port: u16) -> bool {
        self.covers_port(port)
            && match &self.subject {
                Subject::Everything => true,
                Subject::Host(host) => host.eq_ignore_ascii_case(name),
                Subject::Subdomains(parent) => is_subdomain(name, parent),
                Subject::Network(_) => false,
            }
    }

    /// True if the rule is a network that contains this address, at this port.
    pub fn covers_address(&self, address: IpAddr, port: u16) -> bool {
        let Subject::Network(network) = &self.subject else { return false };
        self.covers_port(port) && network.contains(&canonical(address))
    }

    /// True if the rule matches addresses and not names.
    pub fn is_network(&self) -> bool {
        matches!(self.subject, Subject::Network(_))
    }

    /// True if the rule lists this port explicitly.
    pub fn names_port(&self, port: u16) -> bool {
        !self.ports.is_empty() && self.covers_port(port)
    }

    fn covers_port(&self, port: u16) -> bool {
        self.ports.is_empty() || self.ports.iter().any(|(low, high)| (*low..=*high).contains(&port))
    }
}

fn is_subdomain(name: &str, parent: &str) -> bool {
    let Some(cut) = name.len().checked_sub(parent.len()) else { return false };
    match (name.get(..cut), name.get(cut..)) {
        (Some(head), Some(tail)) => {
            head.len() > 1 && head.ends_with('.') && tail.eq_ignore_ascii_case(parent)
        }
        (_, _) => false,
    }
}

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(RuleError::Empty);
        }
        let (subject, ports) = split(text)?;
        Ok(Self { subject: parse_subject(subject)?, ports: ports.map_or(Ok(vec![]), parse_ports)? })
    }
}

/// Splits the text of a rule into its subject and its ports.
fn split(text: &str) -> Result<(&str, Option<&str>), RuleError> {
    if let Some(rest) = text.strip_prefix('[') {
        let (subject, rest) =
            rest.split_once(']').ok_or_else(|| RuleError::Network(text.to_owned()))?;
        return match rest.strip_prefix(':') {
            Some(ports) => Ok((subject, Some(ports))),
            None if rest.is_empty() => Ok((subject, None)),
            None => Err(RuleError::Ports(rest.to_owned())),
        };
    }
    match text.split_once(':') {
        // Two colons: IPv6 without brackets.
        Some((_, rest)) if rest.contains(':') => Ok((text, None)),
        Some((subject, ports)) => Ok((subject, Some(ports))),
        None => Ok((text, None)),
    }
}

fn parse_subject(text: &str) -> Result<Subject, RuleError> {
    if text == "*" {
        return Ok(Subject::Everything);
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(Subject::Network(IpNet::from(canonical(address))));
    }
    if text.contains('/') {
        let network: Result<IpNet, _> = text.parse();
        let network = network.ok().ok_or_else(|| RuleError::Network(text.to_owned()))?;
        return Ok(Subject::Network(network.trunc()));
    }
    let (parent, is_wildcard) = match text.strip_prefix("*.") {
        Some(parent) => (parent, true),
        None => (text, false),
    };
    let host = match url::Host::parse(parent.trim_end_matches('.')) {
        Ok(url::Host::Domain(host)) if !host.contains('*') && !host.is_empty() => host,
        Ok(url::Host::Ipv4(address)) if !is_wildcard => {
            return Ok(Subject::Network(IpNet::from(IpAddr::V4(address))));
        }
        Ok(_) | Err(_) => return Err(RuleError::Host(text.to_owned())),
    };
    Ok(if is_wildcard { Subject::Subdomains(host) } else { Subject::Host(host) })
}

fn parse_ports(text: &str) -> Result<Vec<(u16, u16)>, RuleError> {
    let wrong = || RuleError::Ports(text.to_owned());
    let number = |text: &str| match text.trim().parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        Ok(_) | Err(_) => Err(wrong()),
    };
    text.split(',')
        .map(|part| match part.split_once('-') {
            Some((low, high)) => {
                let (low, high) = (number(low)?, number(high)?);
                if low <= high { Ok((low, high)) } else { Err(wrong()) }
            }
            None => number(part).map(|port| (port, port)),
        })
        .collect()
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.subject {
            Subject::Everything => f.write_str("*")?,
            Subject::Host(host) => f.write_str(host)?,
            Subject::Subdomains(parent) => write!(f, "*.{parent}")?,
            Subject::Network(network @ IpNet::V6(_)) if !self.ports.is_empty() => {
                write!(f, "[{network}]")?;
            }
            Subject::Network(network) => write!(f, "{network}")?,
        }
        for (index, (low, high)) in self.ports.iter().enumerate() {
            f.write_str(if index == 0 { ":" } else { "," })?;
            if low == high { write!(f, "{low}")? } else { write!(f, "{low}-{high}")? }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn covers(rule: &str, name: &str, address: &str, port: u16) -> bool {
        let rule: Rule = rule.parse().unwrap();
        rule.covers_name(name, port) || rule.covers_address(address.parse().unwrap(), port)
    }

    #[test]
    fn a_rule_covers_what_it_says() {
        for (rule, name, address, port, expected) in [
            ("example.com", "example.com", "1.2.3.4", 80, true),
            ("example.com", "EXAMPLE.com", "1.2.3.4", 443, true),
            ("example.com", "a.example.com", "1.2.3.4", 80, false),
            ("example.com:8080", "example.com", "1.2.3.4", 80, false),
            ("example.com:80,8000-8999", "example.com", "1.2.3.4", 8500, true),
            ("*.example.com", "a.b.example.com", "1.2.3.4", 80, true),
            ("*.example.com", "example.com", "1.2.3.4", 80, false),
            ("*.example.com", ".example.com", "1.2.3.4", 80, false),
            ("*.example.com", "badexample.com", "1.2.3.4", 80, false),
            ("*", "anything", "127.0.0.1", 1, true),
            ("*:443", "anything", "127.0.0.1", 80, false),
            ("10.0.0.0/8", "x", "10.9.8.7", 80, true),
            ("10.0.0.0/8", "x", "::ffff:10.9.8.7", 80, true),
            ("10.0.0.0/8", "x", "11.0.0.1", 80, false),
            ("10.1.2.3/8:81", "x", "10.9.8.7", 81, true),
            ("127.0.0.1:3000", "x", "127.0.0.1", 3000, true),
            ("2130706433", "x", "127.0.0.1", 3000, true),
            ("::1", "x", "::1", 3000, true),
            ("[::1]:3000", "x", "::1", 3001, false),
            ("[fd00::/8]:443", "x", "fd12::1", 443, true),
            ("fd00::/8", "x", "fd12::1", 443, true),
            ("bücher.example", "xn--bcher-kva.example", "1.2.3.4", 80, true),
        ] {
            assert_eq!(
                covers(rule, name, address, port),
                expected,
                "{rule} on {name} {address} {port}"
            );
        }
    }

    #[test]
    fn what_is_no_rule_is_rejected() {
        for text in [
            "",
            " ",
            "a:b",
            "a:0",
            "a:70000",
            "a:9-8",
            "a:",
            "10.0.0.0/33",
            "10.0.0/8",
            "*.*.a",
            "a.*.b",
            "*.",
            "[::1",
            "[::1]x",
            "*.10.0.0.1",
            "a b",
            "http://a/",
            "a:1,,2",
        ] {
            assert!(text.parse::<Rule>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_rule_reads_back_as_it_was_written(
            subject in "(\\*\\.)?[a-z][a-z0-9]{0,8}(\\.[a-z]{1,4}){0,3}|\\*|10\\.[1-9]\\.0\\.0/16|::1",
            ports in prop::collection::vec(1u16.., 0..3),
        ) {
            let list: Vec<_> = ports.iter().map(u16::to_string).collect();
            let text = if list.is_empty() { subject } else { format!("[{subject}]:{}", list.join(",")) };
            let rule: Rule = text.parse().unwrap();
            prop_assert_eq!(&rule.to_string().parse::<Rule>().unwrap(), &rule);
        }

        #[test]
        fn no_text_panics(text in ".{0,24}", name in ".{0,12}") {
            if let Ok(rule) = text.parse::<Rule>() {
                rule.covers_name(&name, 80);
            }
        }
    }
}
