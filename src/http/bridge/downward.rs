//! From the VNC server to the viewer.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use actix_ws::{Message, Session};
use bytes::{Bytes, BytesMut};
use futures_util::SinkExt as _;
use tokio::io::AsyncReadExt as _;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::{Limits, Why};

/// The largest frame that is sent. actix-ws holds up to 64 frames of its own.
const FRAME: usize = 64 << 10;

/// What waits to be sent to the viewer. Everything that is sent goes through it, in order, but for
/// pings and pongs, which go before.
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
    /// The latest one only: an answer to an older ping says nothing more.
    pong: Option<Bytes>,
    ping: bool,
    data: VecDeque<Bytes>,
    waiting: usize,
    pushed: u64,
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
        let mut state = self.0.state.borrow_mut();
        state.waiting += bytes.len();
        state.pushed += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if state.waiting > self.0.most {
            return Err(Why::TooSlow);
        }
        state.data.push_back(bytes);
        self.0.filled.notify_one();
        Ok(())
    }

    pub(super) fn ping(&self) {
        self.0.state.borrow_mut().ping = true;
        self.0.filled.notify_one();
    }

    pub(super) fn pong(&self, payload: Bytes) {
        self.0.state.borrow_mut().pong = Some(payload);
        self.0.filled.notify_one();
    }

    /// How many bytes were ever put in.
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

    fn pop(&self) -> Option<Message> {
        let mut state = self.0.state.borrow_mut();
        if let Some(payload) = state.pong.take() {
            return Some(Message::Pong(payload));
        }
        if std::mem::take(&mut state.ping) {
            return Some(Message::Ping(Bytes::new()));
        }
        let bytes = state.data.pop_front()?;
        let was_behind = state.waiting > self.0.behind_over;
        state.waiting = state.waiting.saturating_sub(bytes.len());
        if was_behind && state.waiting <= self.0.behind_over {
            self.0.caught_up.notify_one();
        }
        Some(Message::Binary(bytes))
    }

    /// Sends what waits, until the viewer is gone or has taken nothing for `stall`.
    pub(super) async fn send_to(&self, mut session: Session, stall: Duration) -> Why {
        loop {
            let Some(message) = self.pop() else {
                self.0.filled.notified().await;
                continue;
            };
            match timeout(stall, session.send(message)).await {
                Ok(Ok(())) => {}
                Ok(Err(_closed)) => return Why::ViewerLeft,
                Err(_elapsed) => return Why::TooSlow,
            }
        }
    }
}

/// Takes all that the VNC server sends, as soon as it comes.
pub(super) async fn read(from: &mut OwnedReadHalf, outbox: &Outbox) -> Why {
    let mut buffer = BytesMut::new();
    loop {
        // The rest of the block is used before there is a new one.
        if buffer.capacity() < FRAME / 8 {
            buffer.reserve(FRAME);
        }
        match from.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return Why::UpstreamClosed,
            Ok(_) => {
                if let Err(why) = outbox.push(buffer.split().freeze()) {
                    return why;
                }
            }
        }
    }
}
