//! A test world: a real X server, a real VNC server, and our server in front of them.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use actix_web::{App, HttpRequest, HttpServer, web};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use x11rb::connection::Connection as _;
use x11rb::protocol::xproto::{ConnectionExt as _, CreateGCAux, Rectangle};
use x11rb::rust_connection::RustConnection;

use super::super::{Close, Ended, Endpoint, Limits, accept, refuse, run};
use crate::domain::rfb::{Dialect, Policy, Role};
use crate::system::input::{Action, Devices};

/// The timeout for the slowest of the expected events.
pub const PATIENCE: Duration = Duration::from_secs(20);
pub const PASSWORD: &str = "secret12";
pub const WIDTH: u16 = 320;
pub const HEIGHT: u16 = 240;

/// A child process that ends with the test.
pub struct Program(Child);

impl Program {
    #[expect(clippy::disallowed_methods, reason = "a test's own X server, ended by its drop")]
    fn start(program: &str, arguments: &[&str], stdout: Stdio) -> Self {
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(Stdio::null())
            .spawn();
        Self(child.unwrap_or_else(|error| panic!("{program} is not installed: {error}")))
    }

    pub fn kill(&mut self) {
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // `SIGTERM` first: an X server that is killed leaves its lock file behind.
        let pid = i32::try_from(self.0.id()).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid
            && matches!(self.0.try_wait(), Ok(None))
        {
            let _gone = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let began = std::time::Instant::now();
        while matches!(self.0.try_wait(), Ok(None)) && began.elapsed() < Duration::from_secs(2) {
            std::thread::yield_now();
        }
        self.kill();
    }
}

/// A display with its VNC server.
pub struct World {
    pub vnc: Program,
    pub x: X,
    pub endpoint: Endpoint,
    // Declared last: the VNC server and our connection are dropped before the display.
    _xvfb: Program,
}

/// Our own connection to the display, to inspect it.
pub struct X {
    pub connection: RustConnection,
    root: u32,
}

impl World {
    pub async fn new() -> Self {
        let geometry = format!("{WIDTH}x{HEIGHT}x24");
        let arguments = ["-displayfd", "1", "-screen", "0", &geometry, "-nolisten", "tcp"];
        let mut xvfb =
            Program::start("Xvfb", &[&arguments[..], &["-noreset"]].concat(), Stdio::piped());
        let mut number = String::new();
        BufReader::new(xvfb.0.stdout.take().unwrap()).read_line(&mut number).unwrap();
        let display = format!(":{}", number.trim());

        let (connection, screen) = x11rb::connect(Some(&display)).unwrap();
        let root = connection.setup().roots[screen].root;
        let x = X { connection, root };

        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        // x11vnc walks through all descriptors up to its limit. Without `-speeds` it measures the
        // link soon after a viewer connects, and sends no picture for five seconds.
        let vnc = format!(
            "ulimit -n 256; exec x11vnc -display {display} -rfbport {port} -passwd {PASSWORD} \
             -localhost -no6 -shared -forever -nonap -onetile -repeat -quiet \
             -speeds 1000,10000,1"
        );
        let vnc = Program::start("sh", &["-c", &vnc], Stdio::null());
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        eventually("x11vnc listens", || TcpStream::connect(address).is_ok()).await;
        let devices = Devices::new(number.trim().parse().unwrap(), [0; 16]);
        let endpoint = self::endpoint(address, PASSWORD, Dialect::X11VNC, devices);
        Self { vnc, x, endpoint, _xvfb: xvfb }
    }

    /// Starts our server in front of the VNC server, on a free port.
    pub async fn serve(&self, limits: Limits) -> Served {
        serve(self.endpoint.clone(), limits).await
    }
}

impl X {
    pub fn fill(&self, colour: u32) {
        let gc = self.connection.generate_id().unwrap();
        let values = CreateGCAux::new().foreground(colour);
        self.connection.create_gc(gc, self.root, &values).unwrap();
        let all = Rectangle { x: 0, y: 0, width: WIDTH, height: HEIGHT };
        self.connection.poly_fill_rectangle(self.root, gc, &[all]).unwrap();
        self.connection.free_gc(gc).unwrap().check().unwrap();
    }

    /// Returns the position of the pointer, and true if its left button is down.
    pub fn pointer(&self) -> (i16, i16, bool) {
        let it = self.connection.query_pointer(self.root).unwrap().reply().unwrap();
        (it.root_x, it.root_y, u16::from(it.mask) & 0x100 != 0)
    }

    pub fn any_key_down(&self) -> bool {
        let keys = self.connection.query_keymap().unwrap().reply().unwrap().keys;
        keys.iter().any(|it| *it != 0)
    }
}

/// A VNC server that records what it receives after the handshake and shows nothing, and devices
/// that record in the same way.
pub struct Recorder {
    pub endpoint: Endpoint,
    pub done: mpsc::Receiver<(u64, Action)>,
    heard: watch::Receiver<Vec<u8>>,
}

impl Recorder {
    pub async fn new() -> Self {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (write_down, heard) = watch::channel(Vec::new());
        actix_web::rt::spawn(async move {
            let (mut peer, _) = listener.accept().await.unwrap();
            shake_hands(&mut peer).await;
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = peer.read(&mut buffer).await {
                write_down.send_modify(|heard| heard.extend_from_slice(&buffer[..count]));
            }
        });
        let (devices, done) = Devices::recorded();
        let endpoint = self::endpoint(address, "", Dialect::TIGERVNC, devices);
        Self { endpoint, done, heard }
    }

    /// Waits until the received bytes end with `last`, and returns all of them.
    pub async fn heard_until(&mut self, last: &[u8]) -> Vec<u8> {
        let heard = self.heard.wait_for(|heard| heard.ends_with(last));
        timeout(PATIENCE, heard).await.expect("it never came").unwrap().clone()
    }
}

/// A VNC server that sends bursts of bytes after the handshake, and again at a request for a
/// picture. The receiver has the number of times that it has sent them.
pub async fn source(bursts: Vec<Vec<u8>>) -> (Endpoint, watch::Receiver<usize>) {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sent, times) = watch::channel(0);
    actix_web::rt::spawn(async move {
        let (mut peer, _) = listener.accept().await.unwrap();
        shake_hands(&mut peer).await;
        // It waits for the pixel format and the encodings, then for a request.
        for wait_for in [38, usize::MAX] {
            for burst in &bursts {
                peer.write_all(burst).await.unwrap();
            }
            sent.send_modify(|times| *times += 1);
            let mut heard = 0;
            let mut buffer = [0; 64];
            while heard < wait_for {
                let Ok(count @ 1..) = peer.read(&mut buffer).await else { return };
                heard += count;
            }
        }
    });
    // The actions are drained, so that no sender blocks.
    let (devices, mut done) = Devices::recorded();
    actix_web::rt::spawn(async move { while done.recv().await.is_some() {} });
    (endpoint(address, "", Dialect::TIGERVNC, devices), times)
}

fn endpoint(address: SocketAddr, password: &str, dialect: Dialect, devices: Devices) -> Endpoint {
    Endpoint {
        address,
        password: password.into(),
        dialect,
        doubts: Arc::default(),
        devices,
        metrics: Arc::default(),
    }
}

async fn shake_hands(peer: &mut tokio::net::TcpStream) {
    peer.write_all(b"RFB 003.008\n\x01\x01").await.unwrap();
    let mut greeting = [0; 14];
    let init = [&WIDTH.to_be_bytes()[..], &HEIGHT.to_be_bytes(), &[0; 20]].concat();
    peer.read_exact(&mut greeting[..13]).await.unwrap();
    peer.write_all(&[0; 4]).await.unwrap();
    peer.read_exact(&mut greeting[13..]).await.unwrap();
    peer.write_all(&init).await.unwrap();
}

pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Our server, with a handler that uses the bridge as the real one does.
pub struct Served {
    pub address: SocketAddr,
    pub role: watch::Sender<Role>,
    pub stop: watch::Sender<Option<Close>>,
    pub ended: mpsc::UnboundedReceiver<Ended>,
    handle: actix_web::dev::ServerHandle,
}

pub async fn serve(endpoint: Endpoint, limits: Limits) -> Served {
    let (role, role_seen) = watch::channel(Role::Watch);
    let (stop, stop_seen) = watch::channel(None);
    let (tell, ended) = mpsc::unbounded_channel();
    let bridge = move |request: HttpRequest, body: web::Payload| {
        let (endpoint, role, tell) = (endpoint.clone(), role_seen.clone(), tell.clone());
        let mut stop = stop_seen.clone();
        async move {
            let (response, socket) = accept(&request, body)?;
            actix_web::rt::spawn(async move {
                let stop = async move {
                    let close = stop.wait_for(Option::is_some).await;
                    let over = || Close::new(super::super::CloseCode::GoingAway, "test-over");
                    close.ok().and_then(|it| it.clone()).unwrap_or_else(over)
                };
                let ended = run(
                    socket,
                    endpoint,
                    role,
                    Policy::default(),
                    limits,
                    Box::new(|_| true),
                    stop,
                )
                .await;
                let _test_is_over = tell.send(ended);
            });
            Ok::<_, actix_web::Error>(response)
        }
    };
    let reject_accepted = |request: HttpRequest, body: web::Payload| async move {
        refuse(&request, body, Close::new(super::super::CloseCode::TryAgainLater, "not-ready"))
    };
    let server = HttpServer::new(move || {
        App::new()
            .route("/vnc", web::get().to(bridge.clone()))
            .route("/no", web::get().to(reject_accepted))
    })
    .workers(1)
    .disable_signals()
    .on_connect(super::super::remember)
    .tcp_nodelay(true)
    .bind(("127.0.0.1", 0))
    .unwrap();
    let address = server.addrs()[0];
    let server = server.run();
    let handle = server.handle();
    actix_web::rt::spawn(server);
    Served { address, role, stop, ended, handle }
}

impl Served {
    /// Returns the outcome of the next bridge that ends.
    pub async fn next_end(&mut self) -> Ended {
        timeout(PATIENCE, self.ended.recv()).await.expect("no bridge ended").unwrap()
    }

    pub async fn dial(&self, path: &str) -> Viewer {
        let url = format!("ws://{}{path}", self.address);
        let (socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        Viewer { socket, unread: Vec::new() }
    }

    /// Connects a viewer through the handshake; it asks for pixels of four bytes and no
    /// compression.
    pub async fn viewer(&self) -> Viewer {
        let mut viewer = self.dial("/vnc").await;
        assert_eq!(viewer.read(12).await, b"RFB 003.008\n");
        viewer.send(b"RFB 003.008\n").await;
        assert_eq!(viewer.read(2).await, [1, 1]);
        viewer.send(&[1]).await;
        assert_eq!(viewer.read(4).await, [0, 0, 0, 0]);
        viewer.send(&[0]).await;
        let init = viewer.read(24).await;
        assert_eq!(init[..4], [WIDTH.to_be_bytes(), HEIGHT.to_be_bytes()].concat());
        let name = u32::from_be_bytes(init[20..24].try_into().unwrap());
        viewer.read(name.try_into().unwrap()).await;
        let format = [32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0];
        viewer.send(&[&[0; 4][..], &format, &[2, 0, 0, 1, 0, 0, 0, 0]].concat()).await;
        viewer
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let stopping = self.handle.stop(false);
        actix_web::rt::spawn(stopping);
    }
}

/// A viewer that sends and reads raw RFB.
pub struct Viewer {
    pub socket: WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>,
    unread: Vec<u8>,
}

impl Viewer {
    pub async fn send(&mut self, bytes: &[u8]) {
        self.socket.send(Message::Binary(bytes.to_vec().into())).await.unwrap();
    }

    /// Returns the next `count` bytes of RFB.
    pub async fn read(&mut self, count: usize) -> Vec<u8> {
        while self.unread.len() < count {
            let message = timeout(PATIENCE, self.socket.next()).await.expect("silence");
            match message.unwrap().unwrap() {
                Message::Binary(bytes) => self.unread.extend_from_slice(&bytes),
                Message::Ping(_) | Message::Pong(_) => {}
                other @ (Message::Text(_) | Message::Close(_) | Message::Frame(_)) => {
                    panic!("unexpected: {other:?}")
                }
            }
        }
        let rest = self.unread.split_off(count);
        std::mem::replace(&mut self.unread, rest)
    }

    /// Requests a picture: the whole, or only the changes.
    pub async fn ask(&mut self, incremental: bool) {
        let [w, h] = [WIDTH.to_be_bytes(), HEIGHT.to_be_bytes()];
        self.send(&[3, incremental.into(), 0, 0, 0, 0, w[0], w[1], h[0], h[1]]).await;
    }

    /// Reads the next picture and returns the pixel beside the middle, where the pointer stands.
    /// Returns `None` if the VNC server sent another message first, or only a part of the picture.
    pub async fn picture(&mut self) -> Option<u32> {
        let kind = self.read(1).await[0];
        match kind {
            0 => {}
            2 => return None,
            3 => {
                let head = self.read(7).await;
                let length = u32::from_be_bytes(head[3..7].try_into().unwrap());
                self.read(length.try_into().unwrap()).await;
                return None;
            }
            other => panic!("a server's message of type {other}"),
        }
        let count = u16::from_be_bytes(self.read(3).await[1..3].try_into().unwrap());
        let mut colour = None;
        for _ in 0..count {
            let head = self.read(12).await;
            let [x, y, w, h] =
                [0, 2, 4, 6].map(|at| usize::from(u16::from_be_bytes([head[at], head[at + 1]])));
            let pixels = self.read(w * h * 4).await;
            let (mx, my) = (usize::from(WIDTH / 4), usize::from(HEIGHT / 4));
            if (x..x + w).contains(&mx) && (y..y + h).contains(&my) {
                let at = ((my - y) * w + (mx - x)) * 4;
                let bytes = pixels[at..at + 4].try_into().unwrap();
                colour = Some(u32::from_le_bytes(bytes) & 0xff_ffff);
            }
        }
        colour
    }

    /// Requests pictures until one has this colour.
    pub async fn sees(&mut self, colour: u32) {
        let deadline = Instant::now() + PATIENCE;
        // If every request is for the whole picture, x11vnc hardly finds time to poll the display.
        let mut incremental = false;
        loop {
            self.ask(incremental).await;
            incremental = true;
            let seen = self.picture().await;
            if seen == Some(colour) {
                return;
            }
            assert!(Instant::now() < deadline, "sees {seen:x?}, not {colour:x}");
        }
    }

    /// Returns the code and the reason with which the socket is closed.
    pub async fn closed(&mut self) -> (u16, String) {
        loop {
            let message = timeout(PATIENCE, self.socket.next()).await.expect("is not closed");
            match message.expect("the socket broke").expect("the socket broke") {
                Message::Close(Some(CloseFrame { code, reason })) => {
                    return (code.into(), reason.to_string());
                }
                Message::Close(None) => panic!("closed without a code"),
                Message::Binary(_)
                | Message::Text(_)
                | Message::Ping(_)
                | Message::Pong(_)
                | Message::Frame(_) => {}
            }
        }
    }
}
