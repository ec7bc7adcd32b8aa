//! The state that all streams share.

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;

use super::devtools::DevTools;
use crate::domain::rfb::Policy;
use crate::service::core::Core;

/// The server as its streams see it: the [`Core`], to which it dereferences, and the rules for
/// viewers and drivers.
#[derive(Debug, Clone)]
pub struct Live {
    /// The state that services share.
    pub core: Arc<Core>,
    /// The restrictions of viewers in control.
    pub policy: Policy,
    /// The rules for drivers' commands, and their memory.
    pub devtools: DevTools,
    /// The address that the server listens on.
    pub address: SocketAddr,
}

impl Deref for Live {
    type Target = Core;

    fn deref(&self) -> &Core {
        &self.core
    }
}
