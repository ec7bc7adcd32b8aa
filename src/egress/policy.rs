//! The policy of a session's traffic: the permitted targets, and the upstream.
//!
//! By default only public addresses are permitted. `deny` is checked first, then the lists of
//! `within` (a session can only narrow), refused ports, `allow`, and the default.

use std::net::IpAddr;

use super::addresses::{Class, OwnAddresses};
use super::refusal::Refusal;
use super::rule::{Rule, RuleError};
use super::target::Target;
use super::upstream::{Upstream, UpstreamError};

/// The ports that are refused if the policy names none: SMTP without authentication.
const REFUSED_PORTS: &[u16] = &[25];

/// A policy in force.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// The number that the server assigned; repeated in the status.
    pub revision: u64,
    /// Targets that are permitted in addition to public addresses.
    pub allow: Vec<Rule>,
    /// Targets that are always refused.
    pub deny: Vec<Rule>,
    /// Lists that must each cover a target.
    pub within: Vec<Vec<Rule>>,
    /// Ports that are refused unless a rule of `allow` names them.
    pub refused_ports: Vec<u16>,
    /// The proxy for all traffic.
    pub upstream: Option<Upstream>,
    /// True if the upstream may be at any address.
    pub upstream_allowed: bool,
    /// True if connections of a previous upstream stay open.
    pub keep_connections: bool,
    /// Every target is refused: the organization has used up its traffic of the day.
    pub exhausted: bool,
}

/// The serialized form of a policy. Durations and sizes are not part of it.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    revision: u64,
    #[serde(default)]
    allow: Vec<String>,
    #[serde(default)]
    deny: Vec<String>,
    #[serde(default)]
    within: Vec<Vec<String>>,
    refused_ports: Option<Vec<u16>>,
    upstream: Option<super::upstream::Document>,
    #[serde(default)]
    upstream_allowed: bool,
    #[serde(default)]
    keep_connections: bool,
    #[serde(default)]
    exhausted: bool,
}

/// An invalid policy. Its messages contain no value of the file except rules.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    #[error("not a policy at `{path}`, line {line}, column {column}")]
    Json { path: String, line: usize, column: usize },
    #[error("`{list}`: {source}")]
    Rule { list: &'static str, source: RuleError },
    #[error("`upstream`: {0}")]
    Upstream(#[from] UpstreamError),
}

impl Policy {
    /// Parses the text of a policy file.
    ///
    /// # Errors
    ///
    /// Fails when the text is not the JSON of a policy, or a rule or the upstream is invalid.
    pub fn parse(text: &[u8]) -> Result<Self, PolicyError> {
        let mut reader = serde_json::Deserializer::from_slice(text);
        let document: Document =
            serde_path_to_error::deserialize(&mut reader).map_err(|error| {
                let (line, column) = (error.inner().line(), error.inner().column());
                PolicyError::Json { path: error.path().to_string(), line, column }
            })?;
        reader.end().map_err(|error| PolicyError::Json {
            path: ".".to_owned(),
            line: error.line(),
            column: error.column(),
        })?;
        Ok(Self {
            revision: document.revision,
            allow: rules("allow", &document.allow)?,
            deny: rules("deny", &document.deny)?,
            within: document
                .within
                .iter()
                .map(|list| rules("within", list))
                .collect::<Result<_, _>>()?,
            refused_ports: document.refused_ports.unwrap_or_else(|| REFUSED_PORTS.to_vec()),
            upstream: document.upstream.map(Upstream::try_from).transpose()?,
            upstream_allowed: document.upstream_allowed,
            keep_connections: document.keep_connections,
            exhausted: document.exhausted,
        })
    }

    /// Checks a name alone. A name that no address could make permissible is not resolved: the DNS
    /// query itself could leak data.
    ///
    /// # Errors
    ///
    /// Fails with the refusal that holds for every address of the name.
    pub fn check_name(&self, target: &Target) -> Result<(), Refusal> {
        self.check_denied(target, &[])?;
        for list in &self.within {
            let is_decided = !list.iter().any(Rule::is_network);
            if is_decided && !covered(list, target, &[]) {
                return Err(Refusal::NotListed { target: target.clone() });
            }
        }
        self.check_port(target, &[])
    }

    /// Checks a target with all addresses of its name. Without addresses (the upstream resolves
    /// names), the name alone decides.
    ///
    /// # Errors
    ///
    /// Fails with the first refusal.
    pub fn check(
        &self,
        target: &Target,
        addresses: &[IpAddr],
        own: &OwnAddresses,
    ) -> Result<(), Refusal> {
        self.check_denied(target, addresses)?;
        for list in &self.within {
            if !covered(list, target, addresses) {
                return Err(Refusal::NotListed { target: target.clone() });
            }
        }
        self.check_port(target, addresses)?;
        self.check_public(target, addresses, own)
    }

    /// Checks the address of the upstream itself. The lists of `within` apply to targets only.
    ///
    /// # Errors
    ///
    /// Fails with [`Refusal::Upstream`].
    pub fn check_upstream(
        &self,
        target: &Target,
        addresses: &[IpAddr],
        own: &OwnAddresses,
    ) -> Result<(), Refusal> {
        if self.upstream_allowed {
            return Ok(());
        }
        let checked = self
            .check_denied(target, addresses)
            .and_then(|()| self.check_port(target, addresses))
            .and_then(|()| self.check_public(target, addresses, own));
        checked.map_err(|refusal| {
            let reason = match refusal {
                Refusal::NotPublic { address, class, .. } => {
                    format!("{address} is not a public address ({class})")
                }
                Refusal::Denied { rule, .. } => format!("denied by the rule `{rule}`"),
                Refusal::Port { .. }
                | Refusal::NoPolicy
                | Refusal::Exhausted
                | Refusal::NotListed { .. }
                | Refusal::Upstream { .. }
                | Refusal::Client
                | Refusal::Request { .. } => format!("port {} is refused", target.port),
            };
            Refusal::Upstream { target: target.clone(), reason }
        })
    }

    fn check_denied(&self, target: &Target, addresses: &[IpAddr]) -> Result<(), Refusal> {
        if self.exhausted {
            return Err(Refusal::Exhausted);
        }
        let denies = |rule: &&Rule| {
            rule.covers_name(&target.name, target.port)
                || every(target, addresses).any(|found| rule.covers_address(found, target.port))
        };
        match self.deny.iter().find(denies) {
            Some(rule) => Err(Refusal::Denied { target: target.clone(), rule: rule.to_string() }),
            None => Ok(()),
        }
    }

    /// Checks the port. Before the addresses are known, a rule for a network may still permit it.
    fn check_port(&self, target: &Target, addresses: &[IpAddr]) -> Result<(), Refusal> {
        let port = target.port;
        if !self.refused_ports.contains(&port) {
            return Ok(());
        }
        let opens = |rule: &Rule| {
            rule.names_port(port)
                && (rule.covers_name(&target.name, port)
                    || every(target, addresses).any(|found| rule.covers_address(found, port)))
        };
        let is_opened = self.allow.iter().any(opens);
        if is_opened { Ok(()) } else { Err(Refusal::Port { target: target.clone() }) }
    }

    fn check_public(
        &self,
        target: &Target,
        addresses: &[IpAddr],
        own: &OwnAddresses,
    ) -> Result<(), Refusal> {
        if self.allow.iter().any(|rule| rule.covers_name(&target.name, target.port)) {
            return Ok(());
        }
        let refused =
            |address: IpAddr, class| Refusal::NotPublic { target: target.clone(), address, class };
        if target.is_localhost() && addresses.is_empty() {
            return Err(refused(IpAddr::from([127, 0, 0, 1]), Class::Loopback));
        }
        for address in every(target, addresses) {
            if self.allow.iter().any(|rule| rule.covers_address(address, target.port)) {
                continue;
            }
            let class = own.class(address);
            if class != Class::Public {
                return Err(refused(address, class));
            }
        }
        Ok(())
    }
}

/// All addresses of a target: the target itself if it is an address, and those of its name.
fn every(target: &Target, addresses: &[IpAddr]) -> impl Iterator<Item = IpAddr> {
    target.address().into_iter().chain(addresses.iter().copied())
}

/// True if a list covers the name or all of its addresses.
fn covered(list: &[Rule], target: &Target, addresses: &[IpAddr]) -> bool {
    let port = target.port;
    if list.iter().any(|rule| rule.covers_name(&target.name, port)) {
        return true;
    }
    let mut all = every(target, addresses).peekable();
    all.peek().is_some()
        && all.all(|address| list.iter().any(|rule| rule.covers_address(address, port)))
}

fn rules(list: &'static str, texts: &[String]) -> Result<Vec<Rule>, PolicyError> {
    let parse = |text: &String| text.parse().map_err(|source| PolicyError::Rule { list, source });
    texts.iter().map(parse).collect()
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
