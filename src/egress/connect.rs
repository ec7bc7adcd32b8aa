//! Connections to targets under the policy, direct or through the upstream.
//!
//! A name is resolved once, all of its addresses are checked, and the connection is made to one of
//! the checked ones: a name cannot point elsewhere in between.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpStream;

use super::Shared;
use super::addresses::Class;
use super::connections::Registration;
use super::policy::Policy;
use super::refusal::{Failure, Refusal};
use super::stream::{Counted, Duplex};
use super::target::Target;
use super::upstream::{HANDSHAKE, Resolve, Upstream};

/// The delay before the next address is tried in parallel with the previous one (RFC 8305, section 5).
const NEXT_ADDRESS: Duration = Duration::from_millis(250);

/// The purpose of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Bytes in both directions, unparsed.
    Tunnel,
    /// Requests for `http` pages, which an HTTP upstream accepts without a tunnel.
    Requests,
}

/// A connection to a target.
#[derive(Debug)]
pub struct Route {
    /// The bytes to and from the target.
    pub stream: Counted,
    /// Bytes from the target that have been read already.
    pub buffer: BytesMut,
    /// The entry in the table of open connections, through which it can be closed.
    pub registration: Registration,
    /// The upstream that requests go to in absolute form.
    pub absolute: Option<Upstream>,
}

/// Opens a connection to a target.
///
/// # Errors
///
/// Fails with a refusal of the policy, or with the cause that the target or the upstream was not
/// reached within the limits.
pub async fn open(
    shared: &Arc<Shared>,
    policy: &Policy,
    target: &Target,
    purpose: Purpose,
) -> Result<Route, Failure> {
    policy.check_name(target)?;
    match &policy.upstream {
        None => direct(shared, policy, target).await,
        Some(upstream) => {
            let route = by_upstream(shared, policy, upstream, target, purpose).await?;
            shared.usage.upstream_succeeded();
            Ok(route)
        }
    }
}

async fn direct(shared: &Arc<Shared>, policy: &Policy, target: &Target) -> Result<Route, Failure> {
    let addresses = shared.names.resolve(target).await?;
    policy.check(target, &addresses, &shared.own)?;
    let connected = tokio::time::timeout(shared.limits.connect, dial(&addresses, target.port));
    let tcp = match connected.await {
        Ok(Ok(tcp)) => tcp,
        Ok(Err(error)) => return Err(Failure::Unreachable(target.clone(), error.kind())),
        Err(_elapsed) => return Err(Failure::ConnectTimeout(target.clone())),
    };
    let address = tcp.peer_addr().ok().map(|address| address.ip());
    let registration = shared.connections.register(target.clone(), address, None);
    let stream = Counted::new(Box::new(tcp), shared.usage.clone());
    Ok(Route { stream, buffer: BytesMut::new(), registration, absolute: None })
}

async fn by_upstream(
    shared: &Arc<Shared>,
    policy: &Policy,
    upstream: &Upstream,
    target: &Target,
    purpose: Purpose,
) -> Result<Route, Failure> {
    let at = &upstream.target;
    let found = shared.names.resolve(at).await;
    let unreachable = |_| {
        Failure::UpstreamUnreachable("the name of the upstream proxy was not resolved".to_owned())
    };
    let addresses = found.map_err(unreachable)?;
    policy.check_upstream(at, &addresses, &shared.own)?;

    let is_remote = match upstream.resolve {
        Resolve::Remote => true,
        Resolve::Local => false,
        Resolve::Auto => {
            addresses.iter().all(|address| shared.own.class(*address) == Class::Public)
        }
    };
    let asked = if is_remote {
        policy.check(target, &[], &shared.own)?;
        target.clone()
    } else {
        let found = shared.names.resolve(target).await?;
        policy.check(target, &found, &shared.own)?;
        let first = found.iter().find(|address| address.is_ipv4()).or(found.first());
        first.map_or(target.clone(), |address| Target {
            name: address.to_string(),
            port: target.port,
        })
    };

    let connected = tokio::time::timeout(shared.limits.connect, dial(&addresses, at.port));
    let tcp = match connected.await {
        Ok(Ok(tcp)) => tcp,
        Ok(Err(error)) => return Err(Failure::UpstreamUnreachable(error.kind().to_string())),
        Err(_elapsed) => return Err(Failure::UpstreamTimeout),
    };
    let is_absolute = is_remote && purpose == Purpose::Requests && upstream.takes_requests();
    let handshake = async {
        let stream = upstream.secure(tcp, &shared.tls).await?;
        let stream: Box<dyn Duplex> = Box::new(Counted::new(stream, shared.usage.clone()));
        if is_absolute {
            return Ok((stream, BytesMut::new()));
        }
        upstream.tunnel(stream, &asked).await
    };
    let handshake = tokio::time::timeout(shared.limits.connect.min(HANDSHAKE), handshake).await;
    let (stream, buffer) = handshake.map_err(|_elapsed| Failure::UpstreamTimeout)??;
    let address = asked.address();
    let registration = shared.connections.register(target.clone(), address, Some(upstream.clone()));
    let absolute = is_absolute.then(|| upstream.clone());
    Ok(Route { stream: Counted::whole(stream), buffer, registration, absolute })
}

/// Connects to the first address that answers.
async fn dial(addresses: &[IpAddr], port: u16) -> std::io::Result<TcpStream> {
    let mut attempts = FuturesUnordered::new();
    let mut rest = addresses.iter();
    let mut last = std::io::Error::from(std::io::ErrorKind::AddrNotAvailable);
    loop {
        match rest.next() {
            Some(address) => attempts.push(TcpStream::connect(SocketAddr::new(*address, port))),
            None if attempts.is_empty() => return Err(last),
            None => {}
        }
        let is_last = rest.len() == 0;
        tokio::select! {
            Some(outcome) = attempts.next(), if !attempts.is_empty() => match outcome {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(stream);
                }
                Err(error) => last = error,
            },
            () = tokio::time::sleep(NEXT_ADDRESS), if !is_last => {}
        }
    }
}

/// Returns the policy in force. If it is new, connections that it denies are closed.
///
/// # Errors
///
/// Fails when no policy is in force.
pub fn policy_now(shared: &Shared) -> Result<Arc<Policy>, Failure> {
    let policy = shared.reload();
    policy.ok_or_else(|| Refusal::NoPolicy.into())
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::path::Path;

    use super::super::limits::Limits;
    use super::super::names::Names;
    use super::*;

    struct World {
        shared: Arc<Shared>,
        checked: TcpListener,
        other: TcpListener,
        target: Target,
    }

    impl World {
        /// Listeners of one port at two addresses, and a name that leads to the first.
        fn new() -> Self {
            let checked = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = checked.local_addr().unwrap().port();
            let other = TcpListener::bind(("127.0.0.2", port)).unwrap();
            other.set_nonblocking(true).unwrap();
            let shared = Shared::new(Path::new("/nonexistent"), Limits::default(), None);
            let target = Target::new("changes.test", port).unwrap();
            shared.names.answer("changes.test", &["127.0.0.1"]);
            Self { shared, checked, other, target }
        }

        fn names(&self) -> &Names {
            &self.shared.names
        }

        fn policy(&self, more: &str) -> Policy {
            let port = self.target.port;
            let text = format!(r#"{{"allow": ["127.0.0.1:{port}"]{more}}}"#);
            Policy::parse(text.as_bytes()).unwrap()
        }

        async fn open(&self, policy: &Policy) -> Result<Route, Failure> {
            open(&self.shared, policy, &self.target, Purpose::Tunnel).await
        }

        fn other_was_reached(&self) -> bool {
            self.other.accept().is_ok()
        }
    }

    #[tokio::test]
    async fn a_connection_goes_to_an_address_that_was_checked() {
        let world = World::new();
        let policy = world.policy("");
        let _first = world.open(&policy).await.unwrap();
        world.checked.accept().unwrap();
        // The name now resolves elsewhere. The checked address is still used until the cache entry expires.
        world.names().answer("changes.test", &["127.0.0.2"]);
        let _second = world.open(&policy).await.unwrap();
        world.checked.accept().unwrap();
        world.names().forget();
        for addresses in [&["127.0.0.2"][..], &["127.0.0.1", "127.0.0.2"], &["::ffff:127.0.0.2"]] {
            world.names().answer("changes.test", addresses);
            world.names().forget();
            let refused = world.open(&policy).await.unwrap_err();
            assert_eq!(refused.code(), "address_not_public", "{addresses:?}");
        }
        assert!(!world.other_was_reached());
    }

    #[tokio::test]
    async fn an_upstream_of_the_own_network_gets_an_address_that_was_checked() {
        let world = World::new();
        let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = upstream.local_addr().unwrap();
        let more = format!(r#", "upstream_allowed": true, "upstream": {{"url": "http://{at}"}}"#);
        let policy = world.policy(&more);
        let asked = std::thread::spawn(move || {
            let (mut client, _) = upstream.accept().unwrap();
            let mut head = [0; 1024];
            let length = client.read(&mut head).unwrap();
            client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            String::from_utf8_lossy(&head[..length]).into_owned()
        });
        let _route = world.open(&policy).await.unwrap();
        let asked = asked.join().unwrap();
        assert!(asked.starts_with(&format!("CONNECT 127.0.0.1:{} ", world.target.port)), "{asked}");
        world.names().answer("changes.test", &["127.0.0.2"]);
        world.names().forget();
        assert_eq!(world.open(&policy).await.unwrap_err().code(), "address_not_public");
    }
}
