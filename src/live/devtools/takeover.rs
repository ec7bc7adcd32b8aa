//! The direction from a driver to the browser.
//!
//! At all times, commands that reach beyond the page are refused or rewritten, see
//! [`host`](super::host).
//!
//! While a person has control, commands that act on the browser are refused, or held back in their
//! order until the person releases control, see [`judging`](super::judging). Commands that read or
//! attach are forwarded. A driver that clicks by its own script is not detected, because drivers also
//! read by scripts. Such scripts run without the rights that a click gives to a page.
//!
//! `Browser.close` never reaches the browser, which is not the driver's to end: the driver gets its
//! answer and is disconnected.
//!
//! # Bounds
//!
//! At most [`MOST_HELD`] bytes are held back; further commands are refused. A message that is
//! judged has at most [`websocket::LONGEST`](crate::domain::websocket::LONGEST) bytes; a longer one
//! ends the connection. The unfinished messages of all drivers together have a bound, see
//! [`room`](super::room). At most [`MOST_ANSWERS`] refusals are queued for a driver; a driver that
//! does not take them is not read.

use std::collections::VecDeque;
use std::io;

use actix_web::web::Bytes;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use super::host::{Judge, Verdict, outside};
use super::judging::{Judgement, detaches, judge};
use super::message::Call;
use super::room::{NoRoom, PATIENCE, Share};
use crate::actors::views::SessionView;
use crate::domain::control::OnTakeover;
use crate::domain::websocket::{
    Frames, Message, Piece, Wanted, client_frame, client_head, text_frame,
};
use crate::live::bridge::{Close, CloseCode};

/// The maximum number of bytes of commands that are held back.
const MOST_HELD: usize = 16 << 20;

/// The maximum number of the server's own answers that are queued for the driver.
pub(super) const MOST_ANSWERS: usize = 64;

/// The maximum length, in bytes, of a message that is checked for `Browser.close` while nothing is
/// judged.
const SHORT: u64 = 4096;

/// The number of bytes for the browser that are gathered before they are written.
const CHUNK: usize = 64 << 10;

const REFUSED: &str = "a person has control of this session; retry when the person has released it";
const FULL: &str = "a person has control of this session, and 16 MiB of commands are held back \
                    already; retry when the person has released it";
const NO_ROOM: &str = "other drivers' unfinished commands use all memory for such commands";
const STALLED: &str = "a command of more than 1 MiB has begun and does not continue";

/// The reason for the end of a driver's connection.
#[derive(Debug)]
pub(super) enum Ended {
    /// One of the two sockets is broken.
    Lost,
    /// The driver is disconnected with this code and reason.
    By(Close),
}

impl From<io::Error> for Ended {
    fn from(_broken: io::Error) -> Self {
        Self::Lost
    }
}

/// Passes a driver's messages on to the browser, except for those that are refused or held back.
pub(super) struct Upward {
    to_browser: OwnedWriteHalf,
    /// The filter of commands at all times; `None` without rules, when every command passes while
    /// no person has control.
    host: Option<Judge>,
    share: Share,
    rule: OnTakeover,
    view: watch::Receiver<SessionView>,
    /// The server's own answers, as frames for the driver.
    answers: mpsc::Sender<Bytes>,
    frames: Frames,
    /// Gathered frames for the browser.
    out: Vec<u8>,
    held: VecDeque<Vec<u8>>,
    held_bytes: usize,
}

impl Upward {
    pub fn new(
        to_browser: OwnedWriteHalf,
        host: Option<Judge>,
        share: Share,
        rule: OnTakeover,
        view: watch::Receiver<SessionView>,
        answers: mpsc::Sender<Bytes>,
    ) -> Self {
        let (frames, out, held) = (Frames::default(), Vec::new(), VecDeque::new());
        Self { to_browser, host, share, rule, view, answers, frames, out, held, held_bytes: 0 }
    }

    fn is_taken_over(&self) -> bool {
        self.rule != OnTakeover::Share && self.view.borrow().control.user().is_some()
    }

    /// Reads a driver's bytes. Fails if the connection cannot continue.
    pub async fn take(&mut self, mut bytes: Bytes) -> Result<(), Ended> {
        let gathered = self.frames.gathered().saturating_add(bytes.len());
        let grown = self.share.grow(gathered).await;
        grown.map_err(|NoRoom| Ended::By(Close::new(CloseCode::TryAgainLater, NO_ROOM)))?;
        loop {
            let taken_over = self.is_taken_over() || !self.held.is_empty();
            let judged = self.host.is_some() || taken_over;
            let wanted = if judged { Wanted::All } else { Wanted::UpTo(SHORT) };
            let part = self.frames.next(&mut bytes, wanted).map_err(|too_long| {
                Ended::By(Close::new(CloseCode::TooBig, too_long.to_string()))
            })?;
            match part {
                None => break,
                Some(Piece::Pass(bytes)) => {
                    self.flush().await?;
                    self.to_browser.write_all(&bytes).await?;
                }
                Some(Piece::Message(message)) => self.message(message).await?,
            }
        }
        self.share.shrink(self.frames.gathered());
        self.release_held().await?;
        self.flush().await
    }

    async fn message(&mut self, message: Message) -> Result<(), Ended> {
        // Held messages go first, so that commands keep their order.
        self.release_held().await?;
        let Message { opcode, mut payload } = message;
        if let Some(host) = &self.host {
            match host.judge(&payload) {
                Verdict::Passes => {}
                Verdict::PassesAs(rewritten) => payload = rewritten,
                Verdict::Files(call, files) => {
                    if !host.admits(&files).await {
                        return self.answer(&outside(call)).await;
                    }
                }
                Verdict::Refused(answer) => return self.answer(&answer).await,
                Verdict::Detaches(call) => return self.detach(call).await,
            }
        }
        if !self.is_taken_over() {
            // With rules, `host` has already found a request to close the browser.
            let ends = if self.host.is_some() { None } else { detaches(&payload) };
            return match ends {
                Some(call) => self.detach(call).await,
                None => self.pass(opcode, &payload).await,
            };
        }
        let window = self.view.borrow().record.spec.size;
        match judge(&payload, window) {
            Judgement::Passes => self.pass(opcode, &payload).await,
            Judgement::PassesAs(payload) => self.pass(opcode, &payload).await,
            Judgement::Detaches(call) => self.detach(call).await,
            Judgement::Acts(call) => match self.rule {
                OnTakeover::Hold if self.held_bytes.saturating_add(payload.len()) > MOST_HELD => {
                    self.answer(&call.refused(FULL)).await
                }
                OnTakeover::Hold => {
                    let frame = client_frame(opcode, &payload);
                    self.held_bytes += frame.len();
                    self.held.push_back(frame);
                    Ok(())
                }
                OnTakeover::Refuse | OnTakeover::Share => self.answer(&call.refused(REFUSED)).await,
            },
        }
    }

    async fn pass(&mut self, opcode: u8, payload: &[u8]) -> Result<(), Ended> {
        self.out.extend(client_head(opcode, payload.len()));
        if payload.len() >= CHUNK {
            // A long message is written directly, without another copy.
            self.flush().await?;
            self.to_browser.write_all(payload).await?;
            return Ok(());
        }
        self.out.extend_from_slice(payload);
        if self.out.len() < CHUNK { Ok(()) } else { self.flush().await }
    }

    async fn flush(&mut self) -> Result<(), Ended> {
        if !self.out.is_empty() {
            self.to_browser.write_all(&std::mem::take(&mut self.out)).await?;
        }
        Ok(())
    }

    /// Queues an answer; waits while the driver does not take its answers.
    async fn answer(&self, answer: &Value) -> Result<(), Ended> {
        let frame = text_frame(&answer.to_string()).into();
        self.answers.send(frame).await.map_err(|_left| Ended::Lost)
    }

    async fn detach(&mut self, call: Call) -> Result<(), Ended> {
        self.flush().await?;
        self.answer(&call.done()).await?;
        Err(Ended::By(Close::new(CloseCode::Normal, "detached")))
    }

    /// Sends the held messages, if no person has control any more.
    pub async fn release_held(&mut self) -> Result<(), Ended> {
        while !self.is_taken_over() && self.frames.is_between() {
            let Some(frame) = self.held.pop_front() else { break };
            self.held_bytes = self.held_bytes.saturating_sub(frame.len());
            self.flush().await?;
            self.to_browser.write_all(&frame).await?;
        }
        Ok(())
    }

    /// Resolves when held messages may be sent. In the middle of a frame none may:
    /// [`take`](Self::take) first reads the rest of the frame.
    pub fn changed(&self) -> impl Future<Output = ()> + use<> {
        let waits = !self.held.is_empty() && self.frames.is_between();
        let mut view = self.view.clone();
        async move {
            let back = async { view.wait_for(|view| view.control.user().is_none()).await.is_ok() };
            if !waits || !back.await {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Resolves when a long command stalls that holds memory other drivers may wait for.
    pub fn stalled(&self) -> impl Future<Output = Ended> + use<> {
        let counts = self.share.is_counted();
        async move {
            if !counts {
                std::future::pending::<()>().await;
            }
            sleep(PATIENCE).await;
            Ended::By(Close::new(CloseCode::TryAgainLater, STALLED))
        }
    }

    /// Closes the direction to the browser. Held messages are never sent.
    pub async fn finish(mut self) {
        let _ = self.to_browser.shutdown().await; // The browser may have gone first.
    }
}
