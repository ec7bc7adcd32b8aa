//! The messages of a viewer, and the closing handshake.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use actix_ws::{Item, Message, MessageStream};
use bytes::{Buf as _, Bytes, BytesMut};
use tokio::time::{Instant, timeout};

use super::downward::Outbox;
use super::terms::Why;
use crate::domain::rfb::{Step, VERSION, Viewing};

/// The maximum number of bytes that a viewer may send before it has answered the ping behind our
/// last handshake message.
const MOST_BEYOND: usize = 1 << 20;

/// The time that the viewer has to take the close frame, and to answer it.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The bytes that the viewer sends, without their WebSocket frames.
pub(super) struct Incoming {
    stream: MessageStream,
    outbox: Outbox,
    heard: Rc<Cell<Instant>>,
    received: u64,
    /// The latest mark that the viewer has answered, see [`Outbox::ask`].
    answered: u8,
}

impl Incoming {
    pub(super) fn new(stream: MessageStream, outbox: Outbox, heard: Rc<Cell<Instant>>) -> Self {
        Self { stream, outbox, heard, received: 0, answered: 0 }
    }

    /// Records that the viewer is alive, although it has sent nothing.
    pub(super) fn note_sign_of_life(&self) {
        self.heard.set(Instant::now());
    }

    /// Returns the number of bytes of RFB received.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Returns the next bytes, and answers pings meanwhile. Cancel safe: nothing is lost when the
    /// future is dropped.
    pub(super) async fn bytes(&mut self) -> Result<Bytes, Why> {
        loop {
            if let Some(bytes) = self.message().await? {
                return Ok(bytes);
            }
        }
    }

    /// Reads the next message, and returns its bytes if it carries RFB.
    async fn message(&mut self) -> Result<Option<Bytes>, Why> {
        let message = match self.stream.recv().await {
            Some(Ok(message)) => message,
            Some(Err(actix_ws::ProtocolError::Io(_))) | None => return Err(Why::ViewerLeft),
            Some(Err(error)) => return Err(Why::Socket(error)),
        };
        self.heard.set(Instant::now());
        match message {
            Message::Binary(bytes)
            | Message::Continuation(
                Item::FirstBinary(bytes) | Item::Continue(bytes) | Item::Last(bytes),
            ) => {
                let count = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                self.received += count;
                self.outbox.note_received(count);
                return Ok(Some(bytes));
            }
            Message::Text(_) | Message::Continuation(Item::FirstText(_)) => {
                return Err(Why::Text);
            }
            Message::Ping(payload) => self.outbox.pong(payload),
            Message::Pong(payload) => {
                if let [mark] = *payload {
                    self.answered = mark;
                }
            }
            Message::Nop => {}
            Message::Close(_) => return Err(Why::ViewerLeft),
        }
        Ok(None)
    }

    /// Reads until the viewer has closed its side.
    async fn drain(&mut self) {
        while let Some(Ok(message)) = self.stream.recv().await {
            if matches!(message, Message::Close(_)) {
                return;
            }
        }
    }

    /// Runs the viewer's handshake, until the viewer waits for `ServerInit` and actix has nothing
    /// left to write. Returns the bytes that the viewer sent beyond that.
    ///
    /// A viewer that does not wait for answers may have sent its whole part before actix has
    /// written ours. Only a pong proves that it has received something, so a ping follows each
    /// answer.
    pub(super) async fn greet(&mut self) -> Result<Bytes, Why> {
        self.outbox.push(Bytes::from_static(&VERSION))?;
        let mut viewing = Viewing::default();
        let mut bytes = Bytes::new();
        let mut asked = 0;
        loop {
            let mut input: &[u8] = &bytes;
            let step =
                viewing.next(&mut input).map_err(|error| Why::ViewerHandshake(Some(error)))?;
            let rest = input.len();
            bytes.advance(bytes.len().saturating_sub(rest));
            match step {
                Step::More => bytes = self.bytes().await?,
                Step::Send(answer) => {
                    self.outbox.push(answer.into())?;
                    asked += 1;
                    self.outbox.ask(asked);
                }
                Step::Done(()) => break,
            }
        }
        let mut beyond = BytesMut::from(bytes);
        while self.answered != asked {
            if let Some(more) = self.message().await? {
                beyond.extend_from_slice(&more);
            }
            if beyond.len() > MOST_BEYOND {
                return Err(Why::ViewerHandshake(None));
            }
        }
        Ok(beyond.freeze())
    }
}

/// Sends the close frame and waits for the answer. A connection that is closed with unread bytes is
/// reset, and the viewer would not receive the code.
pub(super) async fn close(sent: impl Future<Output = ()>, incoming: &mut Incoming) {
    let parting = async {
        sent.await;
        incoming.drain().await;
    };
    // A viewer that does not read is left to the connection's own timeout.
    let _late = timeout(CLOSE_TIMEOUT, parting).await;
}
