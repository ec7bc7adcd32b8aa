//! Ports of this machine that lead to the DevTools of one session, for clients that take a host and a
//! port and nothing else.
//!
//! A port stands for the credential that it was opened with, so it is guarded like one. It listens on
//! loopback. Each connection must come from the user who asked for the port, or from root. A request with
//! an `Origin`, or that a page of a browser sends to another site, is refused, and so is another `Host`:
//! a page of this machine's user gets in neither directly nor by a name that resolves to loopback.
//!
//! Each connection carries one request. It is written anew for the server, with a secret in place of all
//! credentials, and admitted there as any other: quotas, rules and takeovers hold.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use dashmap::DashMap;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, timeout_at};

use super::{Ground, over};
use crate::actors::secrets::Secrets;
use crate::actors::views::SessionView;
use crate::domain::ids::{OrganizationId, SessionId};
use crate::live::state::Live;
use crate::system::handover::user_of;

/// The header with the secret of a port. Only requests of a port have it.
pub const PORT_SECRET: &str = "x-greenroom-port";

/// The header with the address of the client of a port.
pub const PORT_PEER: &str = "x-greenroom-peer";

/// The maximum number of ports of one session, and of all sessions.
const MOST: usize = 8;
const MOST_OF_ALL: usize = 256;

/// The maximum number of connections to one port at once.
const MOST_CONNECTIONS: usize = 64;

/// The maximum length of the head of a request, in bytes.
const LONGEST: usize = 16 << 10;

/// The maximum number of headers of a request.
const MOST_HEADERS: usize = 64;

/// The time that a client has to send the whole head of its request.
const HEAD: Duration = Duration::from_secs(10);

/// The delay after a connection that could not be accepted.
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// The superuser, who can read the memory of every process.
const ROOT: u32 = 0;

/// The headers of a request that are passed on.
const PASSED: [&str; 5] =
    ["user-agent", "accept", "sec-websocket-key", "sec-websocket-version", "x-request-id"];

/// The open ports of all sessions. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct SessionPorts {
    open: Arc<DashMap<String, OpenPort>>,
    /// Held while a port is counted and added, so that no two take the last place.
    adding: Arc<Mutex<()>>,
}

/// A port that is open.
#[derive(Debug, Clone)]
pub struct OpenPort {
    /// The session that it leads to.
    pub session: SessionId,
    /// The organization of the session.
    pub organization: OrganizationId,
    /// The credential that the port was opened with.
    pub ground: Ground,
    /// The address that it listens on.
    pub address: SocketAddr,
}

/// A request for a port.
#[derive(Debug)]
pub struct PortRequest {
    /// The session that the port is to lead to.
    pub session: SessionId,
    /// The view of the session.
    pub view: watch::Receiver<SessionView>,
    /// The credential of the client.
    pub ground: Ground,
    /// The user of this machine who asks.
    pub user: u32,
    /// The time until the port closes.
    pub life: Duration,
}

/// The reason why no port was opened.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// The session, or all sessions together, have as many ports as they may have.
    #[error("{most} ports are open, which is the limit; they close with their credential")]
    TooMany {
        /// The limit, which is fixed.
        most: usize,
    },
    /// The system gives no port.
    #[error("no port can be opened: {0}")]
    System(#[from] io::Error),
}

/// The entry of a port in the table, for as long as the port is open.
struct Listed {
    ports: SessionPorts,
    secret: String,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.ports.open.remove(&self.secret);
    }
}

impl SessionPorts {
    /// Returns the port with this secret, if it is open.
    pub fn opened(&self, secret: &str) -> Option<OpenPort> {
        self.open.get(secret).map(|opened| opened.clone())
    }

    fn check_room(&self, session: SessionId) -> Result<(), PortError> {
        let own = self.open.iter().filter(|opened| opened.session == session).count();
        for (count, most) in [(own, MOST), (self.open.len(), MOST_OF_ALL)] {
            if count >= most {
                return Err(PortError::TooMany { most });
            }
        }
        Ok(())
    }

    /// Adds a port with this secret to the table, until the entry is dropped.
    fn add(&self, secret: &str, opened: OpenPort) -> Result<Listed, PortError> {
        let _adding = self.adding.lock();
        self.check_room(opened.session)?;
        self.open.insert(secret.to_owned(), opened);
        Ok(Listed { ports: self.clone(), secret: secret.to_owned() })
    }
}

/// Opens a port, and serves it in a task of this thread until its time is over or its credential ends.
/// Returns its address and its end.
///
/// # Errors
///
/// See [`PortError`]; then nothing is left behind.
pub async fn open_port(
    live: &Live,
    request: PortRequest,
) -> Result<(SocketAddr, DateTime<Utc>), PortError> {
    let PortRequest { session, view, ground, user, life } = request;
    let ports = live.devtools.ports.clone();
    ports.check_room(session)?; // Before the system is asked; the entry decides.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let organization = view.borrow().record.organization;
    let opened = OpenPort { session, organization, ground: ground.clone(), address };
    let secret = Secrets::fresh_text("dp_");
    let listed = ports.add(&secret, opened)?;
    let end = live.world.clock.now() + life;
    let ends = over(view, ground, live.world.clock, live.closing.clone());
    let to_server =
        Arc::new(Forward { address, server: local(live.address), session, secret, user });
    actix_web::rt::spawn(async move {
        let _listed = listed;
        tokio::select! {
            _close = ends => {}
            () = sleep(life) => {}
            () = serve(listener, to_server) => {}
        }
    });
    Ok((address, end))
}

/// Returns the address at which this machine reaches the server.
fn local(listening: SocketAddr) -> SocketAddr {
    match listening {
        SocketAddr::V4(it) if it.ip().is_unspecified() => {
            SocketAddr::from((Ipv4Addr::LOCALHOST, it.port()))
        }
        SocketAddr::V6(it) if it.ip().is_unspecified() => {
            SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, it.port()))
        }
        SocketAddr::V4(_) | SocketAddr::V6(_) => listening,
    }
}

/// The way from a port to the server.
struct Forward {
    /// The address of the port.
    address: SocketAddr,
    server: SocketAddr,
    session: SessionId,
    secret: String,
    /// The user who may connect.
    user: u32,
}

/// Accepts connections, each of which is served in a task.
async fn serve(listener: TcpListener, forward: Arc<Forward>) {
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let Ok((client, peer)) = listener.accept().await else {
            sleep(RETRY_DELAY).await;
            continue;
        };
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else { continue };
        let forward = Arc::clone(&forward);
        actix_web::rt::spawn(async move {
            let _broken = forward.connection(client, peer).await; // Either side may have left.
            drop(place);
        });
    }
}

impl Forward {
    async fn connection(&self, mut client: TcpStream, peer: SocketAddr) -> io::Result<()> {
        client.set_nodelay(true)?;
        let port = self.address.port();
        let user = tokio::task::spawn_blocking(move || user_of(peer, port)).await.ok().flatten();
        if !user.is_some_and(|user| user == self.user || user == ROOT) {
            let why = "this port is for the user who has opened it";
            return refuse(&mut client, "403 Forbidden", "peer_refused", why).await;
        }
        let mut head = Vec::new();
        let late = Instant::now() + HEAD;
        let request = loop {
            let mut part = (&mut client).take(4096);
            if !matches!(timeout_at(late, part.read_buf(&mut head)).await, Ok(Ok(1..))) {
                return Ok(());
            }
            match self.rewritten(&head, peer) {
                Ok(Some(request)) => break request,
                Ok(None) if head.len() <= LONGEST => {}
                Ok(None) => {
                    let why = "the head of the request is too long";
                    return refuse(&mut client, "431 Too Long", "bad_request", why).await;
                }
                Err(Refused { status, code, why }) => {
                    return refuse(&mut client, status, code, why).await;
                }
            }
        };
        let mut server = TcpStream::connect(self.server).await?;
        server.set_nodelay(true)?;
        server.write_all(request.head.as_bytes()).await?;
        if request.is_socket {
            server.write_all(head.get(request.length..).unwrap_or_default()).await?;
            copy_bidirectional(&mut client, &mut server).await?;
        } else {
            copy(&mut server, &mut client).await?;
            client.shutdown().await?;
        }
        Ok(())
    }

    /// Returns the request for the server, once the head of the client's request is complete.
    fn rewritten(&self, head: &[u8], peer: SocketAddr) -> Result<Option<Rewritten>, Refused> {
        let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        let length = match request.parse(head) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_malformed) => return Err(Refused::bad("this is not an HTTP request")),
        };
        let all = |name: &str| {
            let found = request.headers.iter().filter(|it| it.name.eq_ignore_ascii_case(name));
            found.map(|it| std::str::from_utf8(it.value).unwrap_or("?")).collect::<Vec<_>>()
        };
        if !all("origin").is_empty() || all("sec-fetch-site").iter().any(|site| *site != "none") {
            let why = "this port takes no requests of pages";
            return Err(Refused { status: "403 Forbidden", code: "origin_refused", why });
        }
        let port = self.address.port();
        // WebDriver servers leave the port out. A page that was rebound to this address has another name.
        let own = ["127.0.0.1", "localhost"].map(str::to_owned);
        let own = [own.clone(), own.map(|host| format!("{host}:{port}"))].concat();
        let is_own = |host: &&str| own.iter().any(|own| host.eq_ignore_ascii_case(own));
        match all("host").as_slice() {
            [host] if is_own(host) => {}
            _ => {
                let why = "the Host of the request is not that of this port";
                return Err(Refused { status: "403 Forbidden", code: "host_refused", why });
            }
        }
        let has_body = !all("transfer-encoding").is_empty()
            || all("content-length").iter().any(|length| *length != "0");
        let (method, path) = (request.method.unwrap_or_default(), request.path.unwrap_or_default());
        if has_body || !matches!(method, "GET" | "PUT") || !path.starts_with('/') {
            return Err(Refused::bad("this port takes GET and PUT without a body"));
        }
        let is_socket = all("upgrade").iter().any(|it| it.eq_ignore_ascii_case("websocket"));
        let (session, server, secret) = (self.session, self.server, &self.secret);
        let path = if path == "/" { "" } else { path };
        let mut head = format!(
            "{method} /v1/browser_sessions/{session}/cdp{path} HTTP/1.1\r\nHost: {server}\r\n\
             {PORT_SECRET}: {secret}\r\n{PORT_PEER}: {peer}\r\n"
        );
        head.push_str(match is_socket {
            true => "Connection: Upgrade\r\nUpgrade: websocket\r\n",
            false => "Connection: close\r\n",
        });
        for name in PASSED {
            for value in all(name) {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        head.push_str("\r\n");
        Ok(Some(Rewritten { head, length, is_socket }))
    }
}

/// A request as the server gets it.
#[derive(Debug)]
struct Rewritten {
    head: String,
    /// The length of the head that the client has sent.
    length: usize,
    /// True if it is the handshake of a WebSocket.
    is_socket: bool,
}

/// The reason why a request is not passed on.
#[derive(Debug, PartialEq, Eq)]
struct Refused {
    status: &'static str,
    code: &'static str,
    why: &'static str,
}

impl Refused {
    fn bad(why: &'static str) -> Self {
        Self { status: "400 Bad Request", code: "bad_request", why }
    }
}

async fn refuse(client: &mut TcpStream, status: &str, code: &str, why: &str) -> io::Result<()> {
    let body = serde_json::json!({ "detail": why, "code": code, "retryable": false }).to_string();
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    );
    client.write_all(answer.as_bytes()).await?;
    client.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(head: &str) -> Result<Option<Rewritten>, Refused> {
        let forward = Forward {
            address: "127.0.0.1:4000".parse().unwrap(),
            server: "127.0.0.1:8787".parse().unwrap(),
            session: "pbs_1".parse().unwrap(),
            secret: "s".to_owned(),
            user: 1,
        };
        forward.rewritten(head.as_bytes(), "127.0.0.1:5".parse().unwrap())
    }

    #[test]
    fn a_port_is_counted_when_it_is_added_and_until_its_entry_is_dropped() {
        let ports = SessionPorts::default();
        let add = |number: usize, session: &str| {
            let opened = OpenPort {
                session: session.parse().unwrap(),
                organization: OrganizationId::from(1),
                ground: Ground::Pass {
                    secret: String::new(),
                    folder: std::path::PathBuf::new(),
                    over: tokio_util::sync::CancellationToken::new(),
                },
                address: "127.0.0.1:4000".parse().unwrap(),
            };
            ports.add(&format!("dp_{number}"), opened)
        };
        let mut listed: Vec<_> = (0..MOST).map(|it| add(it, "pbs_1").unwrap()).collect();
        let refused = add(MOST, "pbs_1").err();
        assert!(matches!(refused, Some(PortError::TooMany { most: MOST })), "{refused:?}");
        let other = add(MOST, "pbs_2").unwrap();
        drop((listed.pop(), other));
        assert_eq!(ports.open.len(), MOST - 1);
        assert!(add(MOST, "pbs_1").is_ok());
    }

    #[test]
    fn a_request_is_written_anew_without_its_credentials() {
        let head = "GET /json/version?a=1 HTTP/1.1\r\nHost: LOCALHOST:4000\r\nx-api-key: k\r\n\
                    x-greenroom-port: mine\r\nX-Forwarded-For: 1.1.1.1\r\nUser-Agent: u\r\n\
                    Connection: keep-alive\r\n\r\n";
        let request = rewritten(head).unwrap().unwrap();
        assert_eq!(
            request.head,
            "GET /v1/browser_sessions/pbs_1/cdp/json/version?a=1 HTTP/1.1\r\n\
             Host: 127.0.0.1:8787\r\nx-greenroom-port: s\r\nx-greenroom-peer: 127.0.0.1:5\r\n\
             Connection: close\r\nuser-agent: u\r\n\r\n"
        );
        assert_eq!((request.length, request.is_socket), (head.len(), false));
        assert!(rewritten(&head[..head.len() - 1]).unwrap().is_none());
    }

    #[test]
    fn pages_other_names_and_bodies_are_refused() {
        let code = |request: &str, headers: &str| {
            rewritten(&format!("{request} HTTP/1.1\r\n{headers}\r\n")).unwrap_err().code
        };
        let host = "Host: 127.0.0.1:4000\r\n";
        for origin in
            ["Origin: null", "origin: http://127.0.0.1:4000", "Sec-Fetch-Site: same-origin"]
        {
            assert_eq!(code("GET /json", &format!("{host}{origin}\r\n")), "origin_refused");
        }
        for host in [
            "",
            "Host: evil.example:4000\r\n",
            "Host: 127.0.0.1:4000\r\nHost: evil.example\r\n",
            "Host: 127.0.0.1:4001\r\n",
        ] {
            assert_eq!(code("GET /json", host), "host_refused", "{host}");
        }
        for (request, more) in [
            ("POST /json", ""),
            ("PUT /json/new", "Content-Length: 1\r\n"),
            ("PUT /json/new", "Transfer-Encoding: chunked\r\n"),
            ("GET http://127.0.0.1:4000/json", ""),
            ("GET x", ""),
        ] {
            assert_eq!(code(request, &format!("{host}{more}")), "bad_request", "{request}");
        }
    }
}
