//! The limits of the egress program.

use std::time::Duration;

use super::copy::Idle;

/// Limits on times and numbers.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The most concurrent client connections.
    pub connections: usize,
    /// The longest time for a head, from its first byte.
    pub header: Duration,
    /// The longest pause between two requests of a client.
    pub keep_alive: Duration,
    /// The longest time for connecting to a target or an upstream.
    pub connect: Duration,
    /// The longest silence of a server during an exchange.
    pub response: Duration,
    /// The longest silences of a tunnel.
    pub tunnel: Idle,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            header: Duration::from_secs(15),
            keep_alive: Duration::from_secs(300),
            connect: Duration::from_secs(30),
            response: Duration::from_secs(600),
            tunnel: Idle { open: Duration::from_secs(7200), half_closed: Duration::from_secs(60) },
        }
    }
}
