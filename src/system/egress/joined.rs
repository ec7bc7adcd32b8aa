//! A session's network, for a program that starts beside its desktop.

use std::ffi::OsString;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use super::{Way, program};
use crate::domain::egress::{EgressIdentity, NetworkLevel};
use crate::egress::files::READY;
use crate::egress::launch::{GATEWAY_PORT, Ready};
use crate::system::confine::spec::Network;

/// The network of a session with an egress program, and the route to the server.
#[derive(Debug, Clone)]
pub struct Joined {
    /// The namespace to join, if the network is separate.
    pub namespace: Option<Network>,
    /// The address of the server in that network.
    pub server: SocketAddr,
    /// The ports that the program may connect to: the proxy's and the server's.
    pub ports: [u16; 2],
    proxy: SocketAddr,
}

impl Joined {
    /// Finds the network of a session; `server` is this server's own address.
    ///
    /// # Errors
    ///
    /// Fails while the egress program is being restarted.
    pub fn find(egress: &EgressIdentity, server: SocketAddr) -> io::Result<Self> {
        let proxy = egress.proxy;
        let (namespace, server) = match egress.level {
            NetworkLevel::Enforced => {
                Way::name_server(&egress.directory, server)?;
                let ready = std::fs::read(egress.directory.join(READY))?;
                let ready: Ready = serde_json::from_slice(&ready)?;
                let gateway = SocketAddr::from((Ipv4Addr::LOCALHOST, GATEWAY_PORT));
                (program::network(&ready), gateway)
            }
            NetworkLevel::Proxied | NetworkLevel::None => (None, server),
        };
        Ok(Self { namespace, server, ports: [proxy.port(), server.port()], proxy })
    }

    /// The environment variables by which most HTTP clients find the proxy.
    pub fn variables(&self) -> impl Iterator<Item = (OsString, OsString)> {
        let proxy = format!("http://{}", self.proxy);
        let past = self.server.to_string();
        let names =
            ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];
        let proxies = names.map(|name| (name, proxy.clone()));
        let past = ["no_proxy", "NO_PROXY"].map(|name| (name, past.clone()));
        proxies.into_iter().chain(past).map(|(name, value)| (name.into(), value.into()))
    }
}
