//! A viewer that reads the stream of a session as noVNC does, without decoding the pictures.
//!
//! It asks for the encoding Tight with JPEG, which noVNC prefers, so the number of bytes is that of a view
//! in a person's browser.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use super::client::{BenchClient, WebSocket};
use crate::domain::rfb::{Area, ClientMessage};

/// Tight, with JPEG of quality level 6 and compression level 2, as noVNC requests it.
const ENCODINGS: [i32; 3] = [7, -26, -254];

/// 32 bits for each pixel, little endian, with red in bits 16 to 23.
const FORMAT: [u8; 16] = [32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0];

/// The longest time without a byte while one is due.
const SILENCE: Duration = Duration::from_secs(30);

/// The most bytes of one update.
const LARGEST_UPDATE: usize = 256 << 20;

/// A picture, or a part of one, that the server sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Update {
    /// The number of pixels in all rectangles.
    pub(super) pixels: u64,
}

/// A viewer after its handshake.
#[derive(Debug)]
pub(super) struct Viewer {
    socket: WebSocket,
    unread: Vec<u8>,
    /// The number of bytes that were received.
    pub(super) received: u64,
    pub(super) width: u16,
    pub(super) height: u16,
    /// True if the next picture is not requested yet.
    owes_request: bool,
}

impl Viewer {
    /// Connects to the stream of a session, and requests the whole picture.
    pub(super) async fn connect(client: &BenchClient, session: &str) -> anyhow::Result<Self> {
        let socket = client.open(&format!("/v1/stream/vnc/browser_session/{session}")).await;
        let socket = socket.context("no connection to the stream")?;
        let mut viewer = Self {
            socket,
            unread: Vec::new(),
            received: 0,
            width: 0,
            height: 0,
            owes_request: false,
        };
        viewer.shake_hands().await.context("the stream does not begin")?;
        viewer.request(false).await?;
        Ok(viewer)
    }

    async fn shake_hands(&mut self) -> anyhow::Result<()> {
        self.take(12).await?;
        self.send(b"RFB 003.008\n".to_vec()).await?;
        let count = self.take(1).await?;
        let types = self.take(count.first().copied().unwrap_or_default().into()).await?;
        ensure!(types.contains(&1), "the server wants a password");
        self.send(vec![1]).await?;
        ensure!(self.take(4).await? == [0; 4], "the server refuses the viewer");
        self.send(vec![1]).await?;
        let init = self.take(24).await?;
        let number = |at: usize| word(&init, at).context("the server gives no size");
        (self.width, self.height) = (number(0)?, number(2)?);
        let name = long(&init, 20).context("the display has no name")?;
        ensure!(name < 1 << 16, "the name of the display is too long");
        self.take(usize::try_from(name)?).await?;
        let mut bytes = Vec::new();
        ClientMessage::SetPixelFormat(FORMAT).encode(&mut bytes);
        ClientMessage::SetEncodings(ENCODINGS.to_vec()).encode(&mut bytes);
        self.send(bytes).await
    }

    /// The number of pixels of the display.
    pub(super) fn pixels(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }

    /// Presses and releases the left button.
    pub(super) async fn click(&mut self, x: u16, y: u16) -> anyhow::Result<()> {
        let mut bytes = Vec::new();
        for buttons in [1, 0] {
            let click = ClientMessage::Pointer { buttons, x, y, extended: false };
            click.encode(&mut bytes);
        }
        self.send(bytes).await
    }

    /// Receives the next update, and then requests the one after it. May be dropped at any time.
    pub(super) async fn update(&mut self) -> anyhow::Result<Update> {
        if self.owes_request {
            self.request(true).await?;
            self.owes_request = false;
        }
        loop {
            if let Some((length, update)) = parse(&self.unread)? {
                self.unread.drain(..length);
                if let Some(update) = update {
                    self.owes_request = true;
                    return Ok(update);
                }
                continue;
            }
            self.receive().await?;
        }
    }

    /// Receives updates until they have this many pixels.
    pub(super) async fn updates(&mut self, pixels: u64) -> anyhow::Result<()> {
        let mut seen = 0;
        while seen < pixels {
            let next = timeout(SILENCE, self.update()).await;
            seen += next.context("the server sends no picture")??.pixels;
        }
        Ok(())
    }

    /// Receives updates until this time, and returns their number and the longest gap between two of them.
    pub(super) async fn watch(&mut self, until: Instant) -> anyhow::Result<(u64, Duration)> {
        let (mut count, mut gap, mut last) = (0, Duration::ZERO, Instant::now());
        let until = tokio::time::Instant::from_std(until);
        while let Ok(update) = tokio::time::timeout_at(until, self.update()).await {
            update?;
            count += 1;
            gap = gap.max(last.elapsed());
            last = Instant::now();
        }
        Ok((count, gap.max(last.elapsed())))
    }

    async fn request(&mut self, incremental: bool) -> anyhow::Result<()> {
        let area = Area { x: 0, y: 0, width: self.width, height: self.height };
        let mut bytes = Vec::new();
        ClientMessage::UpdateRequest { incremental, area }.encode(&mut bytes);
        self.send(bytes).await
    }

    async fn send(&mut self, bytes: Vec<u8>) -> anyhow::Result<()> {
        Ok(self.socket.send(Message::Binary(bytes.into())).await?)
    }

    /// Receives bytes until this many are unread, and takes them.
    async fn take(&mut self, count: usize) -> anyhow::Result<Vec<u8>> {
        while self.unread.len() < count {
            timeout(SILENCE, self.receive()).await.context("the server is silent")??;
        }
        let rest = self.unread.split_off(count);
        Ok(std::mem::replace(&mut self.unread, rest))
    }

    async fn receive(&mut self) -> anyhow::Result<()> {
        let message = self.socket.next().await.context("the stream has ended")??;
        match message {
            Message::Binary(bytes) => {
                self.received += u64::try_from(bytes.len())?;
                self.unread.extend_from_slice(&bytes);
                ensure!(self.unread.len() <= LARGEST_UPDATE, "an update has no end");
            }
            Message::Close(Some(frame)) => {
                bail!("the stream was closed: {} {}", u16::from(frame.code), frame.reason);
            }
            Message::Close(None)
            | Message::Text(_)
            | Message::Ping(_)
            | Message::Pong(_)
            | Message::Frame(_) => {}
        }
        Ok(())
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes(bytes.try_into().ok()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

/// The length of the first message of a server, with its content if it is an update (RFC 6143, section 7.6). `None`
/// as long as a part is missing.
fn parse(bytes: &[u8]) -> anyhow::Result<Option<(usize, Option<Update>)>> {
    let Some(kind) = bytes.first() else { return Ok(None) };
    let mut cursor = Cursor { bytes, at: 1 };
    let whole = match kind {
        0 => cursor.update()?.map(Some),
        // The bell.
        2 => Some(None),
        // A copied text.
        3 => long(bytes, 4).map(|length| {
            cursor.at = length.try_into().unwrap_or(usize::MAX).saturating_add(8);
            None
        }),
        other => bail!("the server sends a message of type {other}"),
    };
    Ok(whole.filter(|_whole| cursor.at <= bytes.len()).map(|update| (cursor.at, update)))
}

/// A place in the bytes of a message, some of which may still be missing.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn byte(&mut self) -> Option<u8> {
        let byte = self.bytes.get(self.at).copied();
        self.at = self.at.saturating_add(1);
        byte
    }

    fn skip(&mut self, count: usize) {
        self.at = self.at.saturating_add(count);
    }

    fn update(&mut self) -> anyhow::Result<Option<Update>> {
        let Some(count) = word(self.bytes, self.at + 1) else { return Ok(None) };
        self.skip(3);
        let mut update = Update::default();
        for _ in 0..count {
            let (Some(width), Some(height)) =
                (word(self.bytes, self.at + 4), word(self.bytes, self.at + 6))
            else {
                return Ok(None);
            };
            let Some(encoding) = long(self.bytes, self.at + 8) else { return Ok(None) };
            self.skip(12);
            let pixels = u64::from(width) * u64::from(height);
            match encoding {
                0 => self.skip(usize::try_from(pixels * 4)?),
                7 => {
                    if self.tight(width, height)?.is_none() {
                        return Ok(None);
                    }
                }
                other => bail!("the server uses the encoding {other}, which was not requested"),
            }
            if self.at > self.bytes.len() {
                return Ok(None);
            }
            update.pixels += pixels;
        }
        Ok(Some(update))
    }

    /// Skips a rectangle of the encoding Tight; see `rfbproto.rst`, "Tight Encoding".
    fn tight(&mut self, width: u16, height: u16) -> anyhow::Result<Option<()>> {
        const SMALLEST_COMPRESSED: usize = 12;
        let (width, height) = (usize::from(width), usize::from(height));
        let Some(control) = self.byte() else { return Ok(None) };
        let kind = control >> 4;
        let mut size = width * height * 3;
        match kind {
            // One colour.
            8 => {
                self.skip(3);
                return Ok(Some(()));
            }
            // JPEG.
            9 => return Ok(self.compact().map(|length| self.skip(length))),
            10.. => bail!("a rectangle has the unknown form {kind}"),
            _ if kind & 4 != 0 => {
                let Some(filter) = self.byte() else { return Ok(None) };
                if filter == 1 {
                    let Some(last) = self.byte() else { return Ok(None) };
                    let colours = usize::from(last) + 1;
                    self.skip(colours * 3);
                    size = if colours <= 2 { width.div_ceil(8) * height } else { width * height };
                }
            }
            _ => {}
        }
        if size < SMALLEST_COMPRESSED {
            self.skip(size);
            return Ok(Some(()));
        }
        Ok(self.compact().map(|length| self.skip(length)))
    }

    /// Reads a length of one to three bytes.
    fn compact(&mut self) -> Option<usize> {
        let mut length = 0;
        for shift in [0, 7, 14] {
            let byte = self.byte()?;
            let bits = if shift < 14 { byte & 0x7f } else { byte };
            length |= usize::from(bits) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        Some(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An update of these rectangles, each with its size and the bytes behind its head.
    fn message(rectangles: &[(u16, u16, i32, Vec<u8>)]) -> Vec<u8> {
        let count = u16::try_from(rectangles.len()).unwrap();
        let mut bytes = vec![0, 0];
        bytes.extend(count.to_be_bytes());
        for (width, height, encoding, content) in rectangles {
            bytes.extend([0; 4]);
            bytes.extend(width.to_be_bytes());
            bytes.extend(height.to_be_bytes());
            bytes.extend(encoding.to_be_bytes());
            bytes.extend(content);
        }
        bytes
    }

    #[test]
    fn an_update_is_read_when_its_last_byte_is_there() {
        let long = [vec![0x90, 0xac, 0x02], vec![1; 300]].concat();
        let two_colours = [vec![0x40, 1, 1], vec![9; 6], vec![4], vec![1; 4]].concat();
        let bytes = message(&[
            (10, 10, 7, vec![0x80, 1, 2, 3]),
            (4, 1, 0, vec![5; 16]),
            (100, 100, 7, long),
            (16, 8, 7, two_colours),
            (1, 2, 7, vec![0x00, 1, 2, 3, 4, 5, 6]),
        ]);
        for cut in 0..bytes.len() {
            assert_eq!(parse(&bytes[..cut]).unwrap(), None, "{cut} bytes");
        }
        let update = Update { pixels: 100 + 4 + 10_000 + 128 + 2 };
        assert_eq!(parse(&bytes).unwrap(), Some((bytes.len(), Some(update))));
        let more = [bytes.clone(), vec![2]].concat();
        assert_eq!(parse(&more).unwrap(), Some((bytes.len(), Some(update))));
    }

    #[test]
    fn other_messages_are_skipped_and_unknown_ones_refused() {
        assert_eq!(parse(&[2, 0]).unwrap(), Some((1, None)));
        let text = [3, 0, 0, 0, 0, 0, 0, 2, b'h', b'i'];
        assert_eq!(parse(&text).unwrap(), Some((10, None)));
        assert_eq!(parse(&text[..9]).unwrap(), None);
        assert!(parse(&[99]).is_err());
        assert!(parse(&message(&[(1, 1, 16, vec![])])).is_err());
        assert!(parse(&message(&[(1, 1, 7, vec![0xf0])])).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            if let Ok(Some((length, _))) = parse(&bytes) {
                assert!(length <= bytes.len());
            }
        }
    }
}
