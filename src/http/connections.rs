//! The open connections, so that a server that stops does not wait for idle ones.
//!
//! The HTTP server stops gracefully when no connection is left, which it checks once a second, and it does
//! not end connections that are kept alive. Here each connection counts its requests: when the server stops,
//! an idle one is ended at once, and the others when their last answer is complete.

use std::any::Any;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::Error;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Extensions, ServiceRequest, ServiceResponse};
use actix_web::http::ConnectionType;
use actix_web::middleware::Next;
use actix_web::rt::net::TcpStream;
use bytes::Bytes;
use dashmap::DashMap;
use rustix::net::Shutdown;
use tokio::sync::watch;

use super::error;

/// The time in which the last bytes of an answer leave for the socket, after its body has ended.
const LAST_BYTES: Duration = Duration::from_millis(100);

/// The open connections of the server; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Connections(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    open: DashMap<u64, Arc<Connection>>,
    next: AtomicU64,
    count: watch::Sender<usize>,
    stopping: AtomicBool,
}

impl Shared {
    /// Counts the open connections, under the lock of the count: of two that end at once the later has the last word.
    fn recount(&self) {
        self.count.send_modify(|count| *count = self.open.len());
    }
}

#[derive(Debug)]
struct Connection {
    socket: OwnedFd,
    /// The requests whose answers are not complete.
    under_way: AtomicUsize,
    /// True once its end was requested: what arrives after that is not begun.
    ended: AtomicBool,
}

impl Connection {
    fn is_idle(&self) -> bool {
        self.under_way.load(Ordering::SeqCst) == 0
    }

    /// Ends the connection as its client would: the HTTP server sees the end of its input.
    fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        // A connection that has ended already cannot be shut down.
        let _ended = rustix::net::shutdown(&self.socket, Shutdown::Read);
    }
}

/// A connection in the list, for as long as its HTTP server serves it.
struct Listed {
    shared: Arc<Shared>,
    number: u64,
    connection: Arc<Connection>,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.shared.open.remove(&self.number);
        self.shared.recount();
    }
}

impl Connections {
    /// Adds a new connection. Pass it to `HttpServer::on_connect`.
    pub fn note(&self, connection: &dyn Any, extensions: &mut Extensions) {
        let Some(tcp) = connection.downcast_ref::<TcpStream>() else { return };
        match self.listed(tcp) {
            Ok(listed) => {
                extensions.insert(listed);
            }
            Err(error) => tracing::warn!("a connection may delay the stop of the server: {error}"),
        }
    }

    fn listed(&self, tcp: &TcpStream) -> io::Result<Listed> {
        let shared = Arc::clone(&self.0);
        let socket = tcp.as_fd().try_clone_to_owned()?;
        let connection = Arc::new(Connection {
            socket,
            under_way: AtomicUsize::new(0),
            ended: AtomicBool::new(false),
        });
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        shared.open.insert(number, Arc::clone(&connection));
        shared.recount();
        if shared.stopping.load(Ordering::SeqCst) {
            connection.end();
        }
        Ok(Listed { shared, number, connection })
    }

    /// Ends idle connections, and each other one after its answer. Resolves when none is left.
    pub async fn end(&self) {
        let mut count = self.0.count.subscribe();
        self.0.stopping.store(true, Ordering::SeqCst);
        for connection in &self.0.open {
            if connection.is_idle() {
                connection.end();
            }
        }
        let _ended = count.wait_for(|count| *count == 0).await; // The sender is here.
    }
}

/// A request whose answer is not complete.
struct UnderWay {
    shared: Arc<Shared>,
    connection: Arc<Connection>,
}

impl UnderWay {
    fn of(listed: &Listed) -> Self {
        let connection = Arc::clone(&listed.connection);
        connection.under_way.fetch_add(1, Ordering::SeqCst);
        Self { shared: Arc::clone(&listed.shared), connection }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.connection.under_way.fetch_sub(1, Ordering::SeqCst);
        if self.shared.stopping.load(Ordering::SeqCst) {
            let connection = Arc::clone(&self.connection);
            actix_web::rt::spawn(async move {
                tokio::time::sleep(LAST_BYTES).await;
                if connection.is_idle() {
                    connection.end();
                }
            });
        }
    }
}

/// A body that marks its connection as in use until it has ended.
struct Counted {
    body: BoxBody,
    _under_way: UnderWay,
}

impl MessageBody for Counted {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(cx)
    }
}

/// Counts a request on its connection. Answers of a server that stops say that the connection ends with them.
pub async fn hold(
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let Some(under_way) = request.conn_data::<Listed>().map(UnderWay::of) else {
        return next.call(request).await;
    };
    if under_way.connection.ended.load(Ordering::SeqCst) {
        // It was in the socket of a connection that counted as idle, and its client can repeat it elsewhere.
        let mut answer = request.error_response(error::stopping());
        answer.response_mut().head_mut().set_connection_type(ConnectionType::Close);
        return Ok(answer);
    }
    let stopping = Arc::clone(&under_way.shared);
    let mut answer = next.call(request).await?;
    if stopping.stopping.load(Ordering::SeqCst) && !answer.response().upgrade() {
        answer.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    Ok(answer.map_body(|_head, body| BoxBody::new(Counted { body, _under_way: under_way })))
}
