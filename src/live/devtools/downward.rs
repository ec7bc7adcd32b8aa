//! The direction from the browser to a driver; our own messages go between two of the browser's.
//!
//! The event of a finished download waits for its copy, see [`handover`](super::handover). The
//! browser's short messages are read only while a driver has a folder for downloads.
//!
//! A driver's admission may end while the browser continues. Then the current message is finished and
//! the WebSocket is closed with a code and a reason.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use actix_web::web::{Bytes, BytesMut};
use futures_util::{Stream, stream};
use tokio::io::AsyncReadExt as _;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::handover::{Handover, SHORT};
use crate::domain::websocket::{Frames, Message, Piece, Wanted, close_frame, server_frame};
use crate::live::bridge::Close;

/// The maximum number of bytes to read from the browser at once.
const CHUNK: usize = 64 * 1024;

/// A block with less free space than this, in bytes, is replaced before the next read.
const SMALL: usize = 4 * 1024;

/// The time that the browser's current message may take to finish, after the driver's admission has
/// ended.
const FINISHING: Duration = Duration::from_secs(1);

/// The maximum number of released messages that are queued for the driver.
const MOST_RELEASED: usize = 16;

/// The time without a message after which the driver gets a ping. Proxies close idle connections,
/// and drivers are idle while a person has control. Chromium ignores the pong (RFC 6455, section
/// 5.5.3).
const PING_AFTER: Duration = Duration::from_secs(20);
const PING: &[u8] = &[0x89, 0];

/// The direction from the browser to a driver.
pub(super) struct Downward {
    /// The bytes that the browser sent together with its answer to the handshake.
    pub early: Bytes,
    /// The socket that the browser's messages come from.
    pub from_browser: OwnedReadHalf,
    /// Copies finished downloads to the folder of a driver on this machine.
    pub handover: Option<Arc<Handover>>,
    /// The server's own answers to commands that the browser never received.
    pub answers: mpsc::Receiver<Bytes>,
    /// Receives the close code and reason when the driver's admission ends.
    pub over: mpsc::Receiver<Close>,
    /// Canceled when the driver has left, because its stream is dropped.
    pub _left: DropGuard,
    /// Canceled when the driver has answered the close frame, or has had the time to.
    pub parted: CancellationToken,
}

/// The phase of the connection.
enum Phase {
    Open,
    /// The driver's admission has ended; the browser may finish its current message until `until`.
    Finishing {
        close: Close,
        until: Instant,
    },
    /// The close frame has been sent.
    Closed,
}

struct State {
    downward: Downward,
    frames: Frames,
    phase: Phase,
    /// Bytes that were read and not yet passed on.
    chunk: Bytes,
    /// The buffer for reads. Bytes that were read are split off, and the rest of the block is
    /// reused.
    block: BytesMut,
    /// Messages that were held back and may now be sent.
    released: mpsc::Receiver<Bytes>,
    release: mpsc::Sender<Bytes>,
}

/// The next event of the connection.
enum Event {
    Over(Close),
    Answer(Bytes),
    Browser(io::Result<Bytes>),
    Quiet,
    TooLate,
}

impl Downward {
    /// Returns the stream of all bytes for the driver.
    pub fn stream(self) -> impl Stream<Item = io::Result<Bytes>> {
        let (release, released) = mpsc::channel(MOST_RELEASED);
        let state = State {
            released,
            release,
            downward: self,
            frames: Frames::default(),
            phase: Phase::Open,
            chunk: Bytes::new(),
            block: BytesMut::new(),
        };
        stream::unfold(state, |mut state| async move {
            let chunk = state.next().await?;
            Some((chunk, state))
        })
    }
}

impl State {
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        loop {
            // No message is read whole beyond `SHORT`, so that none is too long. An incomplete
            // frame header waits for its rest: no other frame may come in between.
            let reads = self.downward.handover.as_ref().is_some_and(|it| it.is_wanted());
            let wanted = if reads { Wanted::UpTo(SHORT) } else { Wanted::Nothing };
            match self.frames.next(&mut self.chunk, wanted) {
                Ok(Some(Piece::Pass(bytes))) => return Some(Ok(bytes)),
                Ok(Some(Piece::Message(message))) => match self.hold_back(message) {
                    Some(frame) => return Some(Ok(frame)),
                    None => continue,
                },
                Ok(None) | Err(_) => {}
            }
            match &self.phase {
                Phase::Finishing { close, .. } if self.frames.is_between() => {
                    // The answer to `Browser.close` comes before the disconnection that it causes.
                    if let Ok(answer) = self.downward.answers.try_recv() {
                        return Some(Ok(answer));
                    }
                    let frame = close_frame(close.code.number(), &close.reason);
                    self.phase = Phase::Closed;
                    return Some(Ok(frame.into()));
                }
                Phase::Closed => {
                    // A connection that is closed with unread bytes is reset, and the driver would
                    // not receive the close code.
                    self.downward.parted.cancelled().await;
                    return None;
                }
                Phase::Open | Phase::Finishing { .. } => {}
            }
            match self.event().await {
                Event::Over(close) => {
                    let until = Instant::now() + FINISHING;
                    self.phase = Phase::Finishing { close, until };
                }
                Event::Answer(answer) => return Some(Ok(answer)),
                Event::Quiet => return Some(Ok(Bytes::from_static(PING))),
                Event::Browser(Ok(chunk)) if chunk.is_empty() => return None,
                Event::Browser(Ok(chunk)) => self.chunk = chunk,
                Event::Browser(Err(cause)) => return Some(Err(cause)),
                Event::TooLate => return None,
            }
        }
    }

    /// Returns a message from the browser as a frame, or `None` if it waits for the copy of a
    /// download.
    fn hold_back(&self, message: Message) -> Option<Bytes> {
        let Message { opcode, payload } = message;
        let handover = self.downward.handover.as_ref();
        let finished = handover.and_then(|it| Some((Arc::clone(it), it.finished(&payload)?)));
        let Some((handover, download)) = finished else {
            return Some(server_frame(opcode, &payload).into());
        };
        let release = self.release.clone();
        tokio::spawn(async move {
            let payload = handover.hand_over(download, payload).await;
            let _ = release.send(server_frame(opcode, &payload).into()).await; // The driver may have left.
        });
        None
    }

    async fn event(&mut self) -> Event {
        let until = match &self.phase {
            Phase::Finishing { until, .. } => Some(*until),
            Phase::Open | Phase::Closed => None,
        };
        if !self.downward.early.is_empty() {
            return Event::Browser(Ok(std::mem::take(&mut self.downward.early)));
        }
        let too_late = async {
            match until {
                Some(until) => sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        let Downward { from_browser, answers, over, .. } = &mut self.downward;
        if self.block.capacity() < SMALL {
            self.block.reserve(CHUNK);
        }
        tokio::select! {
            biased;
            Some(close) = over.recv(), if until.is_none() => Event::Over(close),
            () = too_late => Event::TooLate,
            Some(answer) = answers.recv(), if self.frames.is_between() => Event::Answer(answer),
            Some(frame) = self.released.recv(), if self.frames.is_between() => Event::Answer(frame),
            read = from_browser.read_buf(&mut self.block) => {
                Event::Browser(read.map(|_length| self.block.split().freeze()))
            }
            () = sleep(PING_AFTER), if until.is_none() && self.frames.is_between() => Event::Quiet,
        }
    }
}
