//! From the VNC server to the viewer.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use actix_ws::{Message, Session};
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::close::Close;
use super::wire::{self, Frame, Moved, Opcode, Wire};
use super::{Limits, Why};

/// The largest piece that is copied.
const PIECE: usize = 64 << 10;
/// More than this at once is moved by the kernel, if the viewer keeps up.
const SMALL: usize = 8 << 10;

/// What waits to be sent to the viewer. Everything that is sent goes through it, in order, but for
/// pings and pongs, which go before, and for what is moved while nothing waits.
#[derive(Clone)]
pub(super) struct Outbox(Rc<Shared>);

struct Shared {
    state: RefCell<State>,
    most: usize,
    behind_over: usize,
    filled: Notify,
    caught_up: Notify,
}

#[derive(Default)]
struct State {
    /// The rest of a frame, of which the viewer has a part: nothing may come in between.
    begun: Option<(Opcode, Frame)>,
    /// The latest one only: an answer to an older ping says nothing more.
    pong: Option<Bytes>,
    ping: bool,
    data: VecDeque<(Opcode, Bytes)>,
    /// Bytes of RFB that wait.
    waiting: usize,
    pushed: u64,
}

impl State {
    fn is_empty(&self) -> bool {
        self.begun.is_none() && self.pong.is_none() && !self.ping && self.data.is_empty()
    }

    /// What is to be sent next.
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
    pub(super) fn new(limits: &Limits) -> Self {
        Self(Rc::new(Shared {
            state: RefCell::default(),
            most: limits.backlog,
            behind_over: limits.hold_updates_over,
            filled: Notify::new(),
            caught_up: Notify::new(),
        }))
    }

    /// Puts bytes behind those that wait, or says that too many do.
    pub(super) fn push(&self, bytes: Bytes) -> Result<(), Why> {
        self.put(bytes)?;
        self.0.filled.notify_one();
        Ok(())
    }

    /// The same, without waking who sends.
    fn put(&self, bytes: Bytes) -> Result<(), Why> {
        let mut state = self.0.state.borrow_mut();
        state.waiting += bytes.len();
        state.pushed += count(bytes.len());
        if state.waiting > self.0.most {
            return Err(Why::TooSlow);
        }
        state.data.push_back((Opcode::Binary, bytes));
        Ok(())
    }

    /// Asks whether the viewer has got all that was pushed before; it answers with `mark`.
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

    /// How many bytes were ever put in, or moved past it.
    pub(super) fn pushed(&self) -> u64 {
        self.0.state.borrow().pushed
    }

    /// Whether the viewer has so much to take that it should get no new pictures.
    pub(super) fn is_behind(&self) -> bool {
        self.0.state.borrow().waiting > self.0.behind_over
    }

    /// Resolves when the viewer is no longer behind.
    pub(super) async fn caught_up(&self) {
        while self.is_behind() {
            self.0.caught_up.notified().await;
        }
    }

    /// Sends what waits by way of actix, until the viewer is gone or has taken nothing for `stall`.
    /// Pings and pongs wait until hands are shaken.
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
                // The others are not put in before hands are shaken.
                Opcode::Binary | Opcode::Close | Opcode::Pong => Message::Binary(bytes),
            };
            match timeout(stall, futures_util::SinkExt::send(&mut session, message)).await {
                Ok(Ok(())) => {}
                Ok(Err(_closed)) => return Why::ViewerLeft,
                Err(_elapsed) => return Why::TooSlow,
            }
        }
    }

    /// Sends what waits, until the viewer is gone or has taken nothing for `stall`.
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

    /// Sends what the socket takes now, and says whether that was all.
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

    /// Bytes of a frame wait no longer. Those of control frames were never counted.
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

    /// Leaves out whatever was not begun, and sends the close frame.
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

    /// Notes that a frame was moved to a viewer for which nothing waited, and what is left of it.
    fn moved(&self, length: usize, rest: Frame) {
        let mut state = self.0.state.borrow_mut();
        state.pushed += count(length);
        if rest.has_remaining() {
            state.waiting += rest.last_ref().len();
            state.begun = Some((Opcode::Binary, rest));
            self.0.filled.notify_one();
        }
    }
}

/// Takes all that the VNC server sends, as soon as it comes.
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
        // The rest of the block is used before there is a new one.
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
                // Who keeps up gets it at once, and nobody else has to be woken for that.
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
