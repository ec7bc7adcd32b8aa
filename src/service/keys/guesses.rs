//! Delayed answers to wrong keys, by client address.
//!
//! A generated key is 256 random bits and cannot be guessed. The delay slows down guesses of keys
//! that people have chosen, and clients that continue with a revoked key. Only answers to wrong
//! keys are delayed, so that other clients at the same address are not affected.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dashmap::DashMap;
use tokio::time::sleep;
use tracing::warn;

/// The number of wrong keys that an address may send in [`WINDOW`] without a delay.
const FREE: u32 = 10;

/// The time for which wrong keys are counted, starting at the first one.
const WINDOW: Duration = Duration::from_secs(60);

/// The maximum number of addresses that are counted; IPv6 addresses count by their /64.
const MOST: usize = 10_000;

/// The count of wrong keys from each address.
#[derive(Debug, Clone)]
pub(super) struct Guesses {
    /// The delay of answers beyond [`FREE`].
    delay: Duration,
    known: Arc<DashMap<IpAddr, Guessed>>,
}

#[derive(Debug, Clone, Copy)]
struct Guessed {
    wrong: u32,
    since: Instant,
}

impl Guesses {
    pub(super) fn new(delay: Duration) -> Self {
        Self { delay, known: Arc::default() }
    }

    /// Counts a wrong key, and delays its answer if there were too many.
    pub(super) async fn wrong(&self, from: Option<IpAddr>) {
        let Some(from) = from else { return };
        if self.count(from) > FREE {
            sleep(self.delay).await;
        }
    }

    fn count(&self, from: IpAddr) -> u32 {
        if self.known.len() >= MOST {
            self.known.retain(|_, guessed| guessed.since.elapsed() < WINDOW);
        }
        if self.known.len() >= MOST {
            return FREE + 1; // So many addresses are taken for one attacker.
        }
        let now = Instant::now();
        let mut guessed =
            self.known.entry(network(from)).or_insert(Guessed { wrong: 0, since: now });
        if guessed.since.elapsed() >= WINDOW {
            *guessed = Guessed { wrong: 0, since: now };
        }
        guessed.wrong = guessed.wrong.saturating_add(1);
        if guessed.wrong == FREE + 1 {
            warn!(
                "{from} has sent {FREE} wrong keys within a minute: answers to it are delayed from now on"
            );
        }
        guessed.wrong
    }
}

/// Returns the network that one client may control: the address itself, or the /64 of an IPv6
/// address.
fn network(address: IpAddr) -> IpAddr {
    const HOST_BITS: u32 = 64;
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let prefix = address.to_bits() >> HOST_BITS << HOST_BITS;
            std::net::Ipv6Addr::from_bits(prefix).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_who_sends_many_wrong_keys_waits() {
        let guesses = Guesses::new(Duration::from_secs(1));
        let (guesser, other) = ("fd00::1".parse().unwrap(), "fd01::1".parse().unwrap());
        let began = tokio::time::Instant::now();
        for _ in 0..FREE {
            guesses.wrong(Some(guesser)).await;
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
        guesses.wrong(Some(other)).await;
        assert_eq!(began.elapsed(), Duration::ZERO);
        // Another address of the same network.
        guesses.wrong(Some("fd00::2".parse().unwrap())).await;
        assert_eq!(began.elapsed(), Duration::from_secs(1));
    }
}
