//! Origin servers in the machine's network, and one in a session's network.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::thread;

use greenroom::egress::door;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::support::{Egress, read_head};
use crate::support::eventually;

/// A listener whose connections are served by a function, each in a thread.
pub fn origin(serve: impl Fn(TcpStream) + Send + Sync + Clone + 'static) -> u16 {
    origin_at("127.0.0.1:0", serve)
}

/// The same at an address.
pub fn origin_at(address: &str, serve: impl Fn(TcpStream) + Send + Sync + Clone + 'static) -> u16 {
    let listener = TcpListener::bind(address).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let serve = serve.clone();
            thread::spawn(move || serve(stream));
        }
    });
    port
}

/// Answers each request with its own head, and keeps connections open.
pub fn mirror() -> u16 {
    origin(|mut stream| {
        loop {
            let head = read_head(&mut stream);
            if head.is_empty() {
                return;
            }
            let length = head.len();
            let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{head}");
        }
    })
}

/// Echoes its input, and closes its half after the peer.
pub fn echo() -> u16 {
    origin(|mut stream| {
        let mut reader = stream.try_clone().unwrap();
        let _ = io::copy(&mut reader, &mut stream);
        let _ = stream.shutdown(Shutdown::Write);
    })
}

/// Reads and never answers.
pub fn silent() -> u16 {
    origin(|mut stream| drop(io::copy(&mut stream, &mut io::sink())))
}

/// Answers the first bytes with bytes of its own and closes.
pub fn stubborn(answer: &'static [u8]) -> u16 {
    origin(move |mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(answer);
    })
}

const ECHO: &str = r#"
import socket, sys, threading
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
def serve(peer):
    while data := peer.recv(65536):
        peer.sendall(data)
while True:
    threading.Thread(target=serve, args=listener.accept()[:1], daemon=True).start()
"#;

/// A program in the session's network that echoes its input, in place of a browser's DevTools.
pub struct Resident(Child);

impl Resident {
    pub async fn start(egress: &Egress, port: u16) -> Self {
        let words = ["python3", "-ISuBc", ECHO, &port.to_string()];
        let mut command = egress.inside(&words);
        let resident = Self(command.stdout(Stdio::null()).spawn().unwrap());
        eventually("the session's program listens", async || {
            door::connect(&egress.directory, port).await.ok()
        })
        .await;
        resident
    }

    pub fn pid(&self) -> String {
        self.0.id().to_string()
    }
}

impl Drop for Resident {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asserts that a connection to a [`Resident`] works.
pub async fn echoes(stream: &mut tokio::net::TcpStream) {
    stream.write_all(b"hello").await.unwrap();
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"hello");
}
