//! A viewer of a session: RFB 3.8 over a WebSocket, like noVNC, without compression.

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::client::Client;
use super::{PATIENCE, eventually};

/// A viewer after its handshake.
#[derive(Debug)]
pub struct Viewer {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    unread: Vec<u8>,
    pub width: u16,
    pub height: u16,
    /// The present picture, four bytes for each pixel: blue, green, red, unused.
    pixels: Vec<u8>,
    /// The number of copied texts that it received.
    pub cut_texts: usize,
}

/// The address of a session's stream.
pub fn stream_url(client: &Client, id: &str, key: &str) -> String {
    client.socket_url(&format!("/v1/stream/vnc/browser_session/{id}?apikey={key}"))
}

impl Viewer {
    /// Connects as a viewer with the key of the client.
    pub async fn of(client: &Client, id: &str) -> Self {
        Self::at(&stream_url(client, id, client.key())).await
    }

    /// Watches a session as the page named `page`.
    pub async fn of_page(client: &Client, id: &str, page: &str) -> Self {
        let url = stream_url(client, id, client.key());
        Self::at(&format!("{url}&client_id={page}")).await
    }

    /// Watches the stream at this address.
    pub async fn at(url: &str) -> Self {
        let (socket, _) = connect_async(url).await.unwrap();
        let mut viewer = Self {
            socket,
            unread: Vec::new(),
            width: 0,
            height: 0,
            pixels: Vec::new(),
            cut_texts: 0,
        };
        assert_eq!(viewer.read(12).await, b"RFB 003.008\n");
        viewer.send(b"RFB 003.008\n").await;
        assert_eq!(viewer.read(2).await, [1, 1], "an admitted viewer needs no password");
        viewer.send(&[1]).await;
        assert_eq!(viewer.read(4).await, [0; 4]);
        viewer.send(&[1]).await;
        let init = viewer.read(24).await;
        (viewer.width, viewer.height) = (number(&init[..2]), number(&init[2..4]));
        let name = u32::from_be_bytes(init[20..24].try_into().unwrap());
        viewer.read(usize::try_from(name).unwrap()).await;
        viewer.pixels = vec![0; usize::from(viewer.width) * usize::from(viewer.height) * 4];
        let format = [32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0];
        let raw = [2, 0, 0, 1, 0, 0, 0, 0];
        viewer.send(&[&[0; 4][..], &format, &raw].concat()).await;
        viewer
    }

    /// Sends bytes as one message.
    pub async fn send(&mut self, bytes: &[u8]) {
        self.socket.send(Message::Binary(bytes.to_vec().into())).await.unwrap();
    }

    async fn read(&mut self, count: usize) -> Vec<u8> {
        while self.unread.len() < count {
            let message = timeout(PATIENCE, self.socket.next()).await.expect("silence");
            match message.expect("the viewer was disconnected").unwrap() {
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

    /// Requests the whole picture, and handles messages until it has arrived.
    pub async fn look(&mut self) {
        let [w, h] = [self.width.to_be_bytes(), self.height.to_be_bytes()];
        self.send(&[3, 0, 0, 0, 0, 0, w[0], w[1], h[0], h[1]]).await;
        loop {
            match self.read(1).await[0] {
                0 => break,
                2 => {}
                3 => {
                    self.cut_texts += 1;
                    let length = self.read(7).await;
                    let length = u32::from_be_bytes(length[3..7].try_into().unwrap());
                    self.read(usize::try_from(length).unwrap()).await;
                }
                other => panic!("a message of type {other}"),
            }
        }
        let count = number(&self.read(3).await[1..3]);
        for _ in 0..count {
            let head = self.read(12).await;
            let [x, y, w, h] = [0, 2, 4, 6].map(|at| usize::from(number(&head[at..at + 2])));
            assert_eq!(head[8..12], [0; 4], "an encoding that was not asked for");
            let rows = self.read(w * h * 4).await;
            let stride = usize::from(self.width) * 4;
            for (row, bytes) in rows.chunks_exact(w * 4).enumerate() {
                let start = (y + row) * stride + x * 4;
                self.pixels[start..start + w * 4].copy_from_slice(bytes);
            }
        }
    }

    /// Red, green and blue of a pixel.
    pub fn pixel(&self, x: u16, y: u16) -> [u8; 3] {
        let at = (usize::from(y) * usize::from(self.width) + usize::from(x)) * 4;
        [self.pixels[at + 2], self.pixels[at + 1], self.pixels[at]]
    }

    /// The number of pixels with this colour.
    pub fn count(&self, colour: [u8; 3]) -> usize {
        let [red, green, blue] = colour;
        self.pixels.chunks_exact(4).filter(|pixel| pixel[..3] == [blue, green, red]).count()
    }

    /// The part of the picture that has this colour, from 0 to 1.
    pub fn share(&self, colour: [u8; 3]) -> f64 {
        let whole = u32::try_from(self.pixels.len() / 4).unwrap();
        f64::from(u32::try_from(self.count(colour)).unwrap()) / f64::from(whole)
    }

    /// Waits until more than half of the picture has this colour.
    pub async fn sees(&mut self, colour: [u8; 3]) {
        let deadline = Instant::now() + PATIENCE;
        while self.share(colour) < 0.5 {
            assert!(Instant::now() < deadline, "{} % of {colour:?}", self.share(colour) * 100.0);
            self.look().await;
        }
    }

    /// Presses and releases a key.
    pub async fn press(&mut self, keysym: u32) {
        for down in [true, false] {
            self.key(keysym, down).await;
        }
    }

    /// Presses or releases a key.
    pub async fn key(&mut self, keysym: u32, down: bool) {
        self.send(&[&[4, down.into(), 0, 0][..], &keysym.to_be_bytes()].concat()).await;
    }

    /// Presses and releases a letter, with Control.
    pub async fn press_with_control(&mut self, letter: char) {
        const CONTROL: [u8; 4] = 0xffe3_u32.to_be_bytes();
        self.send(&[&[4, 1, 0, 0][..], &CONTROL].concat()).await;
        self.press(letter.into()).await;
        self.send(&[&[4, 0, 0, 0][..], &CONTROL].concat()).await;
    }

    /// Presses and releases the left button.
    pub async fn click(&mut self, x: u16, y: u16) {
        let ([a, b], [c, d]) = (x.to_be_bytes(), y.to_be_bytes());
        for buttons in [0, 1, 0] {
            self.send(&[5, buttons, a, b, c, d]).await;
        }
    }

    /// The code with which the server closes the stream, after further messages.
    pub async fn closed(&mut self) -> u16 {
        loop {
            let message = timeout(PATIENCE, self.socket.next()).await.expect("it is not closed");
            match message.expect("closed without a word").unwrap() {
                Message::Close(frame) => return frame.expect("closed without a code").code.into(),
                Message::Binary(_)
                | Message::Text(_)
                | Message::Ping(_)
                | Message::Pong(_)
                | Message::Frame(_) => {}
            }
        }
    }
}

fn number(bytes: &[u8]) -> u16 {
    u16::from_be_bytes(bytes.try_into().unwrap())
}

/// The code with which a stream without a picture is closed, or the status of its refusal.
pub async fn refusal(url: &str) -> u16 {
    let mut socket = match connect_async(url).await {
        Ok((socket, _)) => socket,
        Err(Error::Http(answer)) => return answer.status().as_u16(),
        Err(cause) => panic!("{cause}"),
    };
    loop {
        match timeout(PATIENCE, socket.next()).await.expect("it is not closed") {
            Some(Ok(Message::Close(frame))) => return frame.expect("no code").code.into(),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            other => panic!("unexpected: {other:?}"),
        }
    }
}

/// The share of one colour in a screenshot, from 0 to 1.
pub async fn screenshot_share(client: &Client, id: &str, colour: [u8; 3]) -> f64 {
    let answer = client.get(&format!("/v1/browser_sessions/{id}/screenshot")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.headers["content-type"], "image/png");
    let mut reader = png::Decoder::new(std::io::Cursor::new(answer.bytes)).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let frame = reader.next_frame(&mut pixels).unwrap();
    assert_eq!(frame.color_type, png::ColorType::Rgb);
    let same = pixels.chunks_exact(3).filter(|pixel| **pixel == colour).count();
    f64::from(u32::try_from(same).unwrap()) / f64::from(frame.width * frame.height)
}

/// Waits until more than half of a session's screenshot has this colour.
pub async fn screenshot_shows(client: &Client, id: &str, colour: [u8; 3]) {
    eventually(&format!("the screenshot of {id} shows {colour:?}"), async || {
        (screenshot_share(client, id, colour).await > 0.5).then_some(())
    })
    .await;
}

/// The message channel of a session's page.
pub struct Messages {
    socket: WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>,
}

impl Messages {
    pub async fn open(client: &Client, path: &str) -> Self {
        let query = format!("apikey={}&client_id=a-page-of-the-tests", client.key());
        let (socket, _) =
            connect_async(client.socket_url(&format!("{path}?{query}"))).await.unwrap();
        Self { socket }
    }

    /// The next message of this kind.
    pub async fn of_kind(&mut self, kind: &str) -> serde_json::Value {
        let next = async {
            loop {
                let message = self.socket.next().await.expect("it is open").unwrap();
                let Message::Text(text) = message else { continue };
                let said: serde_json::Value = serde_json::from_str(&text).unwrap();
                if said["kind"] == kind {
                    return said;
                }
            }
        };
        timeout(PATIENCE, next).await.unwrap_or_else(|_| panic!("no message of kind {kind}"))
    }
}
