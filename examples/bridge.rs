//! Measures the bridge, compared with a plain TCP connection, with a VNC server that only sends.
//!
//! `cargo run --profile dist --example bridge [megabytes]` prints for both the megabytes per second towards
//! the viewer, and the median and 99th percentile of the time from an update request to its answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::{App, HttpRequest, HttpServer, web};
use anyhow::{Context as _, Result, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use greenroom::domain::rfb::{Dialect, Policy, Role};
use greenroom::live::bridge::{Endpoint, Limits, accept, run};
use greenroom::system::input::Devices;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

const ROUNDS: usize = 2000;
const REQUEST: [u8; 10] = [3, 0, 0, 0, 0, 0, 0, 1, 0, 1];
/// A bell, the shortest message of a server.
const ANSWER: [u8; 1] = [2];

/// Shakes hands, answers `ROUNDS` requests with a bell, and then sends `megabytes`.
async fn serve_one(mut peer: TcpStream, megabytes: usize) -> Result<()> {
    peer.set_nodelay(true)?;
    peer.write_all(b"RFB 003.008\n\x01\x01").await?;
    let mut answers = [0; 13];
    peer.read_exact(&mut answers).await?;
    peer.write_all(&[0; 4]).await?;
    let _shared = peer.read_u8().await?;
    peer.write_all(&[0; 24]).await?;
    let mut request = REQUEST;
    for _ in 0..ROUNDS {
        peer.read_exact(&mut request).await?;
        peer.write_all(&ANSWER).await?;
    }
    let block = vec![7; 1 << 20];
    for _ in 0..megabytes {
        // Like a real server: a picture for each request.
        peer.read_exact(&mut request).await?;
        peer.write_all(&block).await?;
    }
    Ok(())
}

/// A viewer, with received bytes that were not read yet.
struct Viewer {
    link: Link,
    ahead: usize,
}

/// One of the two ways to the server.
enum Link {
    Direct(TcpStream),
    Bridged(Box<WebSocketStream<MaybeTlsStream<TcpStream>>>),
}

impl Viewer {
    async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.link {
            Link::Direct(stream) => stream.write_all(bytes).await?,
            Link::Bridged(socket) => {
                socket.send(Message::Binary(bytes.to_vec().into())).await?;
            }
        }
        Ok(())
    }

    async fn take(&mut self, count: usize) -> Result<()> {
        let mut taken = self.ahead;
        let mut buffer = vec![0; 64 << 10];
        while taken < count {
            taken += match &mut self.link {
                Link::Direct(stream) => match stream.read(&mut buffer).await? {
                    0 => bail!("the server left"),
                    some => some,
                },
                Link::Bridged(socket) => match socket.next().await.context("closed")?? {
                    Message::Binary(bytes) => bytes.len(),
                    Message::Close(reason) => bail!("closed: {reason:?}"),
                    Message::Text(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => 0,
                },
            };
        }
        self.ahead = taken - count;
        Ok(())
    }

    async fn measure(mut self, name: &str, megabytes: usize) -> Result<()> {
        self.take(12).await?;
        self.send(b"RFB 003.008\n").await?;
        self.take(2).await?;
        self.send(&[1]).await?;
        self.take(4).await?;
        self.send(&[1]).await?;
        self.take(24).await?;

        let mut times = Vec::with_capacity(ROUNDS);
        for _ in 0..ROUNDS {
            let asked = Instant::now();
            self.send(&REQUEST).await?;
            self.take(ANSWER.len()).await?;
            times.push(asked.elapsed());
        }
        times.sort_unstable();
        let at = |part: usize| times.get(ROUNDS * part / 100).copied().unwrap_or(Duration::ZERO);

        let began = Instant::now();
        for _ in 0..megabytes {
            self.send(&REQUEST).await?;
            self.take(1 << 20).await?;
        }
        let rate = u32::try_from(megabytes).map(f64::from)? / began.elapsed().as_secs_f64();
        println!("{name:8} {rate:7.0} MiB/s   p50 {:?}   p99 {:?}", at(50), at(99));
        Ok(())
    }
}

async fn bridge(
    request: HttpRequest,
    body: web::Payload,
    vnc: web::Data<SocketAddr>,
) -> actix_web::Result<actix_web::HttpResponse> {
    let (response, socket) = accept(&request, body)?;
    actix_web::rt::spawn(async move {
        let (_control, role) = watch::channel(Role::Watch);
        let (address, dialect) = (**vnc, Dialect::X11VNC);
        // The viewer only watches, so there is no connection to a display.
        let devices = Devices::new(0, [0; 16]);
        let doubts = Arc::default();
        let metrics = std::sync::Arc::default();
        let endpoint = Endpoint { address, password: "".into(), dialect, doubts, devices, metrics };
        let never = std::future::pending();
        let unseen = Box::new(|_: &_| true);
        run(socket, endpoint, role, Policy::default(), Limits::default(), unseen, never).await;
    });
    Ok(response)
}

#[actix_web::main]
async fn main() -> Result<()> {
    let megabytes = std::env::args().nth(1).map_or(Ok(1000), |it| it.parse())?;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let vnc = listener.local_addr()?;
    // On a separate thread, like a separate process.
    std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            while let Ok((peer, _)) = listener.accept().await {
                if let Err(error) = serve_one(peer, megabytes).await {
                    eprintln!("the server: {error:#}");
                }
            }
        });
    });
    let server = HttpServer::new(move || {
        App::new().app_data(web::Data::new(vnc)).route("/", web::get().to(bridge))
    })
    .workers(1)
    .tcp_nodelay(true)
    .bind(("127.0.0.1", 0))?;
    let address = *server.addrs().first().context("no address")?;
    actix_web::rt::spawn(server.run());

    let direct = TcpStream::connect(vnc).await?;
    direct.set_nodelay(true)?;
    Viewer { link: Link::Direct(direct), ahead: 0 }.measure("direct", megabytes).await?;
    let (socket, _) = tokio_tungstenite::connect_async(format!("ws://{address}/")).await?;
    let bridged = Viewer { link: Link::Bridged(Box::new(socket)), ahead: 0 };
    bridged.measure("bridged", megabytes).await
}
