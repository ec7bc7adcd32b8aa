//! What a driver is sent: what its browser sends, and between two of its messages our own.
//!
//! The news of a finished download waits for its copy, see [`handover`](super::handover). Only while a
//! driver has a folder for that, the browser's short messages are read.
//!
//! A driver's time may be over while the browser goes on. Then the message that is under way is
//! finished and the WebSocket closed with a code and a word, so that the driver knows why.

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
use crate::actors::quotas::Place;
use crate::domain::websocket::{Frames, Message, Part, Wanted, close_frame, server_frame};
use crate::http::bridge::Close;

/// How much is read from the browser at once.
const CHUNK: usize = 64 * 1024;

/// The rest of a block that is too small to be read into.
const SMALL: usize = 4 * 1024;

/// How long a message of the browser's that is under way may take, once the driver's time is over.
const FINISHING: Duration = Duration::from_secs(1);

/// The most messages that wait while they are held back.
const MOST_RELEASED: usize = 16;

/// A driver that was sent nothing for so long is sent a ping: proxies end connections on which
/// nothing passes, and while a person has control, drivers wait. Chromium ignores the pong (RFC 6455,
/// section 5.5.3).
const PING_AFTER: Duration = Duration::from_secs(20);
const PING: &[u8] = &[0x89, 0];

/// One direction of a driver's connection.
pub(super) struct Downward {
    /// What the browser sent right behind its answer to the handshake.
    pub early: Bytes,
    /// What it sends.
    pub from_browser: OwnedReadHalf,
    /// Hands finished downloads over, for a driver of this machine.
    pub handover: Option<Arc<Handover>>,
    /// The answers to commands that it never saw.
    pub answers: mpsc::Receiver<Bytes>,
    /// Says when the driver's time is over, and why.
    pub over: mpsc::Receiver<Close>,
    /// Canceled when the driver has left: it drops the stream.
    pub _left: DropGuard,
    /// Tells the session that one driver fewer is connected, and frees its place within the quota.
    pub _drives: (DropGuard, Place),
    /// Canceled when the driver has answered the close frame, or has had the time to.
    pub parted: CancellationToken,
}

/// Where the connection stands.
enum Phase {
    Open,
    /// The driver's time is over, and the browser in the middle of a message until then at most.
    Finishing {
        close: Close,
        until: Instant,
    },
    /// The close frame was sent.
    Closed,
}

struct State {
    downward: Downward,
    frames: Frames,
    phase: Phase,
    /// What was read and is not passed on yet.
    chunk: Bytes,
    /// What is read into. What was read is split off, and the rest of the block used again.
    block: BytesMut,
    /// Messages that were held back, and may go.
    released: mpsc::Receiver<Bytes>,
    release: mpsc::Sender<Bytes>,
}

/// What comes next.
enum Event {
    Over(Close),
    Answer(Bytes),
    Browser(io::Result<Bytes>),
    Quiet,
    TooLate,
}

impl Downward {
    /// All that the driver is sent.
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
            // No long message is wanted, so that none is too long. The incomplete header of a frame
            // waits for its rest: nothing may come in between.
            let reads = self.downward.handover.as_ref().is_some_and(|it| it.is_wanted());
            let wanted = if reads { Wanted::UpTo(SHORT) } else { Wanted::Nothing };
            match self.frames.next(&mut self.chunk, wanted) {
                Ok(Some(Part::Pass(bytes))) => return Some(Ok(bytes)),
                Ok(Some(Part::Message(message))) => match self.hold_back(message) {
                    Some(frame) => return Some(Ok(frame)),
                    None => continue,
                },
                Ok(None) | Err(_) => {}
            }
            match &self.phase {
                Phase::Finishing { close, .. } if self.frames.is_between() => {
                    // The answer to `Browser.close` comes before the end that it asked for.
                    if let Ok(answer) = self.downward.answers.try_recv() {
                        return Some(Ok(answer));
                    }
                    let frame = close_frame(close.code.number(), &close.reason);
                    self.phase = Phase::Closed;
                    return Some(Ok(frame.into()));
                }
                Phase::Closed => {
                    // A connection that is closed with bytes unread is reset, and the driver would
                    // not learn why.
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

    /// Returns a message of the browser's as a frame, unless it waits for the copy of a download.
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
