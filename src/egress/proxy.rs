//! The proxy's listener and its client connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::Shared;
use super::connect::{Purpose, open, policy_now};
use super::connections::Cut;
use super::copy::tunnel;
use super::exchange::gone;
use super::forward::Forwarding;
use super::head::{HeadError, RequestHead, read_head};
use super::refusal::{Failure, Form, Refusal};
use super::reply::reply;
use super::target::Target;

/// A predicate over client and local address that rejects clients of other users.
pub type Admit = Box<dyn Fn(SocketAddr, SocketAddr) -> bool + Send>;

/// Accepts connections until the process ends.
pub async fn serve(listener: TcpListener, shared: Arc<Shared>, admit: Option<Admit>) {
    let places = Arc::new(Semaphore::new(shared.limits.connections));
    loop {
        let (client, theirs) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Descriptors are exhausted, or the client has disconnected already.
                tracing::debug!("a connection was not accepted: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            shared.usage.rejected();
            let _ = client.try_write(TOO_MANY);
            continue;
        };
        let is_admitted = admit
            .as_ref()
            .is_none_or(|admit| client.local_addr().is_ok_and(|ours| admit(theirs, ours)));
        if !is_admitted {
            shared.usage.rejected();
            let _ = client.try_write(&Failure::from(Refusal::Client).response(Form::Text));
            continue;
        }
        let shared = shared.clone();
        tokio::spawn(async move {
            let open = shared.usage.opened();
            let _ = client.set_nodelay(true);
            Box::pin(converse(client, &shared)).await;
            drop((open, place));
        });
    }
}

const TOO_MANY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nX-Greenroom-Failed: too_many_connections\r\n\
Content-Length: 0\r\nConnection: close\r\n\r\n";

/// Serves one client until it disconnects or requests a tunnel.
async fn converse(mut client: TcpStream, shared: &Arc<Shared>) {
    let mut buffer = BytesMut::new();
    let mut forwarding = Forwarding::default();
    loop {
        if buffer.is_empty() && !first_byte(&client, forwarding.cut(), shared).await {
            return;
        }
        let read = read_head::<RequestHead, _>(&mut client, &mut buffer);
        let head = match tokio::time::timeout(shared.limits.header, read).await {
            Ok(Ok(head)) => head,
            Ok(Err(HeadError::Closed | HeadError::Io(_))) | Err(_) => return,
            Ok(Err(HeadError::TooLong | HeadError::Invalid(_))) => {
                let failure = Refusal::Request { reason: "the request is not valid HTTP/1.1" };
                return reply(&mut client, &failure.into(), Form::Page).await;
            }
        };
        if head.method == "CONNECT" {
            drop(forwarding);
            return connect(client, buffer, &head, shared).await;
        }
        if !forwarding.request(&mut client, &mut buffer, &head, shared).await {
            return;
        }
    }
}

/// Waits for a request. Returns false if the client disconnects, idles too long, or its target is cut.
async fn first_byte(client: &TcpStream, cut: Option<Arc<Cut>>, shared: &Shared) -> bool {
    let cut = async {
        match cut {
            Some(cut) => cut.ordered().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        ready = client.readable() => ready.is_ok(),
        () = cut => false,
        () = tokio::time::sleep(shared.limits.keep_alive) => false,
    }
}

/// Serves `CONNECT`: opens a tunnel to the target.
async fn connect(
    mut client: TcpStream,
    mut from_client: BytesMut,
    head: &RequestHead,
    shared: &Arc<Shared>,
) {
    let Some(target) = Target::from_authority(&head.target) else {
        let failure = Refusal::Request { reason: "CONNECT needs `host:port`" };
        return reply(&mut client, &failure.into(), Form::Text).await;
    };
    let opening = async { open(shared, &*policy_now(shared)?, &target, Purpose::Tunnel).await };
    let opened = {
        let (mut reader, _writer) = client.split();
        tokio::select! {
            opened = opening => opened,
            () = gone(&mut reader) => return,
        }
    };
    let mut route = match opened {
        Ok(route) => route,
        Err(failure) => {
            shared.usage.failed(&target, &failure);
            return reply(&mut client, &failure, Form::Text).await;
        }
    };
    if client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.is_err() {
        return;
    }
    let cut = route.registration.cut.clone();
    let (stream, buffer) = (&mut route.stream, &mut route.buffer);
    tokio::select! {
        () = tunnel(&mut client, stream, &mut from_client, buffer, shared.limits.tunnel) => {}
        () = cut.ordered() => {}
    }
}
