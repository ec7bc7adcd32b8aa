//! Name resolution by the machine's resolver, with a short-lived cache.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::addresses::canonical;
use super::refusal::Failure;
use super::target::Target;

/// The lifetime of a cache entry: one page opens several connections to a host at once.
const REMEMBERED_FOR: Duration = Duration::from_secs(5);
const MOST_REMEMBERED: usize = 64;
const DEADLINE: Duration = Duration::from_secs(15);

/// The resolver of a process.
#[derive(Debug, Default)]
pub struct Names {
    known: Mutex<HashMap<String, (Instant, Vec<IpAddr>)>>,
    /// Scripted answers for tests, used instead of the machine's resolver.
    #[cfg(test)]
    script: Mutex<HashMap<String, Vec<IpAddr>>>,
}

impl Names {
    /// Returns all addresses of a target's host, at least one. The addresses of a name are cached
    /// for five seconds.
    ///
    /// # Errors
    ///
    /// Fails when the resolver has no address, or does not answer within 15 seconds.
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
        let found = tokio::time::timeout(DEADLINE, self.look_up(target)).await;
        let found = found.ok().and_then(Result::ok).ok_or_else(unresolved)?;
        let mut addresses: Vec<IpAddr> = Vec::new();
        for address in found.into_iter().map(canonical) {
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

    async fn look_up(&self, target: &Target) -> io::Result<Vec<IpAddr>> {
        #[cfg(test)]
        if let Some(addresses) = self.script.lock().get(&target.name) {
            return Ok(addresses.clone());
        }
        let found = tokio::net::lookup_host((target.name.as_str(), target.port)).await?;
        Ok(found.map(|address| address.ip()).collect())
    }

    /// Scripts the answer for a name. Cached answers stay.
    #[cfg(test)]
    pub fn answer(&self, name: &str, addresses: &[&str]) {
        let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
        self.script.lock().insert(name.to_owned(), addresses);
    }

    /// Expires the cache at once.
    #[cfg(test)]
    pub fn forget(&self) {
        self.known.lock().clear();
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
