//! The state of agents that the server keeps between their calls.

use super::queue::Queue;
use super::settings::Settings;
use crate::live::agents::Agents;

/// The state of agents between their calls, and their limits.
#[derive(Debug)]
pub struct Mcp {
    pub(super) settings: Settings,
    pub(super) agents: Agents,
    pub(super) queue: Queue,
}

impl Mcp {
    /// Makes the state of a server without agents.
    pub fn new(settings: Settings) -> Self {
        Self { settings, agents: Agents::default(), queue: Queue::default() }
    }
}
