//! Resolution of names, by the machine's resolver, with a short memory.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::addresses::canonical;
use super::refusal::Failure;
use super::target::Target;

/// One page opens several connections to a host at once.
const REMEMBERED_FOR: Duration = Duration::from_secs(5);
const MOST_REMEMBERED: usize = 64;
const DEADLINE: Duration = Duration::from_secs(15);

/// The resolver of a process.
#[derive(Debug, Default)]
pub struct Names {
    known: Mutex<HashMap<String, (Instant, Vec<IpAddr>)>>,
}

impl Names {
    /// All addresses of a target's host, at least one.
    pub async fn resolve(&self, target: &Target) -> Result<Vec<IpAddr>, Failure> {
        if let Some(address) = target.address() {
            return Ok(vec![address]);
        }
        if target.is_localhost() {
            return Ok(vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]);
        }
        if let Some(addresses) = self.remembered(&target.name) {
            return Ok(addresses);
        }
        let unresolved = || Failure::Unresolved(target.name.clone());
        let lookup = tokio::net::lookup_host((target.name.as_str(), target.port));
        let found = tokio::time::timeout(DEADLINE, lookup).await;
        let found = found.ok().and_then(Result::ok).ok_or_else(unresolved)?;
        let mut addresses: Vec<IpAddr> = Vec::new();
        for address in found.map(|address| canonical(address.ip())) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        if addresses.is_empty() {
            return Err(unresolved());
        }
        self.remember(target.name.clone(), addresses.clone());
        Ok(addresses)
    }

    fn remembered(&self, name: &str) -> Option<Vec<IpAddr>> {
        let known = self.known.lock();
        let (at, addresses) = known.get(name)?;
        (at.elapsed() < REMEMBERED_FOR).then(|| addresses.clone())
    }

    fn remember(&self, name: String, addresses: Vec<IpAddr>) {
        let mut known = self.known.lock();
        if known.len() >= MOST_REMEMBERED {
            known.retain(|_, (at, _)| at.elapsed() < REMEMBERED_FOR);
        }
        if known.len() < MOST_REMEMBERED {
            known.insert(name, (Instant::now(), addresses));
        }
    }
}
