//! The direction from the VNC server to the viewer.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_ws::{Message, Session};
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::close::Close;
use super::terms::{Limits, Why};
use super::wire::{self, Frame, Moved, Opcode, Wire};
use crate::metrics::StreamMetrics;

/// The maximum number of bytes that one read copies.
const PIECE: usize = 64 << 10;
/// A read of at least this many bytes switches to `splice`, if the viewer keeps up.
const SMALL: usize = 8 << 10;

/// The queue of frames to the viewer. It keeps their order, with two exceptions: pings and pongs
/// overtake, and spliced bytes bypass it while it is empty.
#[derive(Clone)]
pub(super) struct Outbox(Rc<Shared>);

struct Shared {
    state: RefCell<State>,
    metrics: Arc<StreamMetrics>,
    most: usize,
    behind_over: usize,
    filled: Notify,
    caught_up: Notify,
}

#[derive(Default)]
struct State {
    /// The rest of a frame that was sent in part: no other frame may come in between.
    begun: Option<(Opcode, Frame)>,
    /// The payload of the latest pong to send; older pings need no answer of their own.
    pong: Option<Bytes>,
    ping: bool,
    data: VecDeque<(Opcode, Bytes)>,
    /// Bytes of RFB that are queued.
    waiting: usize,
    pushed: u64,
}

impl State {
    fn is_empty(&self) -> bool {
        self.begun.is_none() && self.pong.is_none() && !self.ping && self.data.is_empty()
    }

    /// Takes the frame that is to be sent next.
    fn next(&mut self) -> Option<(Opcode, Frame)> {
        if let Some(rest) = self.begun.take() {
            return Some(rest);
        }
        if let Some(payload) = self.pong.take() {
            return Some((Opcode::Pong, wire::frame(Opcode::Pong, payload)));
        }
        if std::mem::take(&mut self.ping) {
            return Some((Opcode::Ping, wire::frame(Opcode::Ping, Bytes::new())));
        }
        let (opcode, payload) = self.data.pop_front()?;
        Some((opcode, wire::frame(opcode, payload)))
    }
}

fn count(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

impl Outbox {
    pub(super) fn new(limits: &Limits, metrics: Arc<StreamMetrics>) -> Self {
        Self(Rc::new(Shared {
            metrics,
            state: RefCell::default(),
            most: limits.backlog,
            behind_over: limits.hold_updates_over,
            filled: Notify::new(),
            caught_up: Notify::new(),
        }))
    }

    /// Queues bytes and wakes the sender; fails if the backlog is over its limit.
    pub(super) fn push(&self, bytes: Bytes) -> Result<(), Why> {
        self.put(bytes)?;
        self.0.filled.notify_one();
        Ok(())
    }

    /// Queues bytes without waking the sender.
    fn put(&self, bytes: Bytes) -> Result<(), Why> {
        let mut state = self.0.state.borrow_mut();
        state.waiting += bytes.len();
        state.pushed += count(bytes.len());
        self.0.metrics.to_viewers.add(count(bytes.len()));
        if state.waiting > self.0.most {
            return Err(Why::TooSlow);
        }
        state.data.push_back((Opcode::Binary, bytes));
        Ok(())
    }

    /// Queues a ping with `mark` as its payload. The viewer's pong proves that it has received
    /// everything queued before.
    pub(super) fn ask(&self, mark: u8) {
        let ping = (Opcode::Ping, Bytes::copy_from_slice(&[mark]));
        self.0.state.borrow_mut().data.push_back(ping);
        self.0.filled.notify_one();
    }

    pub(super) fn ping(&self) {
        self.0.state.borrow_mut().ping = true;
        self.0.filled.notify_one();
    }

    pub(super) fn pong(&self, payload: Bytes) {
        self.0.state.borrow_mut().pong = Some(payload);
        self.0.filled.notify_one();
    }

    /// Counts bytes that the viewer has sent.
    pub(super) fn note_received(&self, bytes: u64) {
        self.0.metrics.from_viewers.add(bytes);
    }

    /// Returns the total number of bytes of RFB that were queued, or spliced past the queue.
    pub(super) fn pushed(&self) -> u64 {
        self.0.state.borrow().pushed
    }

    /// True if the backlog is so large that the viewer should get no new pictures.
    pub(super) fn is_behind(&self) -> bool {
        self.0.state.borrow().waiting > self.0.behind_over
    }

    /// Resolves when the viewer has caught up.
    pub(super) async fn caught_up(&self) {
        while self.is_behind() {
            self.0.caught_up.notified().await;
        }
    }

    /// Sends the queue through actix, until the viewer is gone or has taken nothing for `stall`.
    /// Pings and pongs wait until the handshake is over.
    pub(super) async fn send_by(&self, mut session: Session, stall: Duration) -> Why {
        loop {
            let next = self.0.state.borrow_mut().data.pop_front();
            let Some((opcode, bytes)) = next else {
                self.0.filled.notified().await;
                continue;
            };
            self.took(bytes.len(), opcode);
            let message = match opcode {
                Opcode::Ping => Message::Ping(bytes),
                // No other opcode is queued before the end of the handshake.
                Opcode::Binary | Opcode::Close | Opcode::Pong => Message::Binary(bytes),
            };
            match timeout(stall, futures_util::SinkExt::send(&mut session, message)).await {
                Ok(Ok(())) => {}
                Ok(Err(_closed)) => return Why::ViewerLeft,
                Err(_elapsed) => return Why::TooSlow,
            }
        }
    }

    /// Sends the queue through the viewer's socket, until the viewer is gone or has taken nothing
    /// for `stall`.
    pub(super) async fn send(&self, wire: &Wire, stall: Duration) -> Why {
        loop {
            match self.flush(wire) {
                Ok(true) => self.0.filled.notified().await,
                Ok(false) => match timeout(stall, wire.writable()).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_broken)) => return Why::ViewerLeft,
                    Err(_elapsed) => return Why::TooSlow,
                },
                Err(_broken) => return Why::ViewerLeft,
            }
        }
    }

    /// Sends as much of the queue as the socket takes now. Returns true if the queue is empty.
    fn flush(&self, wire: &Wire) -> io::Result<bool> {
        loop {
            let next = self.0.state.borrow_mut().next();
            let Some((opcode, mut frame)) = next else { return Ok(true) };
            let before = frame.last_ref().remaining();
            let all = wire.write(&mut frame)?;
            self.took(before.saturating_sub(frame.last_ref().remaining()), opcode);
            if !all {
                self.0.state.borrow_mut().begun = Some((opcode, frame));
                return Ok(false);
            }
        }
    }

    /// Subtracts bytes of a sent frame from the backlog. Control frames do not count.
    fn took(&self, bytes: usize, opcode: Opcode) {
        if opcode != Opcode::Binary {
            return;
        }
        let mut state = self.0.state.borrow_mut();
        let was_behind = state.waiting > self.0.behind_over;
        state.waiting = state.waiting.saturating_sub(bytes);
        if was_behind && state.waiting <= self.0.behind_over {
            self.0.caught_up.notify_one();
        }
    }

    /// Drops every frame that has not been started, and sends the close frame.
    pub(super) async fn close(&self, wire: &Wire, reason: Close) {
        let mut payload = BytesMut::with_capacity(2 + reason.reason.len());
        payload.put_u16(reason.code.number());
        payload.put_slice(reason.reason.as_bytes());
        payload.truncate(125); // RFC 6455, section 5.5
        {
            let mut state = self.0.state.borrow_mut();
            state.data.clear();
            state.data.push_back((Opcode::Close, payload.freeze()));
        }
        while let Ok(false) = self.flush(wire) {
            if wire.writable().await.is_err() {
                return;
            }
        }
    }

    /// Records a frame that was spliced to a viewer while the queue was empty, and queues its rest.
    fn moved(&self, length: usize, rest: Frame) {
        let mut state = self.0.state.borrow_mut();
        state.pushed += count(length);
        self.0.metrics.to_viewers.add(count(length));
        if rest.has_remaining() {
            state.waiting += rest.last_ref().len();
            state.begun = Some((Opcode::Binary, rest));
            self.0.filled.notify_one();
        }
    }
}

/// Reads everything that the VNC server sends, as soon as it arrives, and passes it to the viewer.
pub(super) async fn pass(from: &mut OwnedReadHalf, outbox: &Outbox, wire: &Wire) -> Why {
    let mut buffer = BytesMut::new();
    let mut large = false;
    loop {
        if from.readable().await.is_err() {
            return Why::UpstreamClosed;
        }
        let keeps_up = outbox.0.state.borrow().is_empty();
        if large && keeps_up {
            match wire.splice((*from).as_ref()) {
                Ok(Moved::Frame { length, rest }) => {
                    large = length >= SMALL;
                    outbox.moved(length, rest);
                }
                Ok(Moved::Nothing) => large = false,
                Ok(Moved::Ended) => return Why::UpstreamClosed,
                Err(_broken) => return Why::ViewerLeft,
            }
            continue;
        }
        // The rest of the block is used before a new one is allocated.
        if buffer.capacity() < SMALL {
            buffer.reserve(PIECE);
        }
        let most = if keeps_up { SMALL } else { PIECE };
        match from.try_read_buf(&mut (&mut buffer).limit(most)) {
            Ok(0) => return Why::UpstreamClosed,
            Ok(length) => {
                large = length >= SMALL;
                if let Err(why) = outbox.put(buffer.split().freeze()) {
                    return why;
                }
                // A viewer that keeps up gets it at once, without waking the task that sends.
                let sent = if keeps_up { outbox.flush(wire) } else { Ok(false) };
                match sent {
                    Ok(true) => {}
                    Ok(false) => outbox.0.filled.notify_one(),
                    Err(_broken) => return Why::ViewerLeft,
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_error) => return Why::UpstreamClosed,
        }
    }
}
