//! What a driver is sent: what its browser sends, and between two of its messages our own.
//!
//! A driver's time may be over while the browser goes on. Then the message that is under way is
//! finished and the WebSocket closed with a code and a word, so that the driver knows why.

use std::io;
use std::time::Duration;

use actix_web::web::{Bytes, BytesMut};
use futures_util::{Stream, stream};
use tokio::io::AsyncReadExt as _;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::domain::websocket::{Frames, Part, Wanted, close_frame};
use crate::http::bridge::Close;

/// How much is read from the browser at once.
const CHUNK: usize = 64 * 1024;

/// The rest of a block that is too small to be read into.
const SMALL: usize = 4 * 1024;

/// How long a message of the browser's that is under way may take, once the driver's time is over.
const FINISHING: Duration = Duration::from_secs(1);

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
    /// The answers to commands that it never saw.
    pub answers: mpsc::Receiver<Bytes>,
    /// Says when the driver's time is over, and why.
    pub over: mpsc::Receiver<Close>,
    /// Canceled when the driver has left: it drops the stream.
    pub _left: DropGuard,
    /// Tells the session that one driver fewer is connected.
    pub _drives: DropGuard,
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
        let state = State {
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
            // No message is wanted, so that none is put aside and none is too long. The incomplete
            // header of a frame waits for its rest: nothing may come in between.
            if let Ok(Some(Part::Pass(bytes))) = self.frames.next(&mut self.chunk, Wanted::Nothing)
            {
                return Some(Ok(bytes));
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
            read = from_browser.read_buf(&mut self.block) => {
                Event::Browser(read.map(|_length| self.block.split().freeze()))
            }
            () = sleep(PING_AFTER), if until.is_none() && self.frames.is_between() => Event::Quiet,
        }
    }
}
