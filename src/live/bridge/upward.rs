//! The direction from the viewer to the VNC server.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncWriteExt as _;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

use super::downward::Outbox;
use super::incoming::Incoming;
use super::terms::{Endpoint, Judging, Limits, OnInput, Why};
use crate::domain::rfb::{Area, ClientMessage, Gate, Key, Parser, Role, Verdict};
use crate::system::input::{Action, Input};

/// The time that the VNC server has to read the last releases of keys.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(1);

/// The actions of the extended clipboard (`notify` and `provide`) by which a viewer announces or
/// sends a text.
const GIVES_CLIPBOARD: u32 = 1 << 27 | 1 << 28;

/// Judges the viewer's messages, and passes them on.
pub(super) struct Upward {
    write: OwnedWriteHalf,
    /// Whole messages to the VNC server, of which the first may be sent in part.
    unsent: BytesMut,
    input: Input,
    /// Actions that wait for the keyboard and the pointer.
    undone: VecDeque<Action>,
    role: watch::Receiver<Role>,
    parser: Parser,
    gate: Gate,
    on_input: OnInput,
    stall: Duration,
    silence: Silence,
    /// A request for a picture, held back until the viewer has taken the previous ones.
    held_back: Option<(bool, Area)>,
    dropped: u64,
}

impl Upward {
    pub(super) fn new(
        write: OwnedWriteHalf,
        (role, policy, on_input): Judging,
        endpoint: &Endpoint,
        limits: &Limits,
    ) -> Self {
        Self {
            write,
            unsent: BytesMut::new(),
            input: endpoint.devices.viewer(),
            undone: VecDeque::new(),
            role,
            parser: Parser::new(endpoint.dialect, policy.clipboard.most_bytes),
            gate: Gate::new(policy, endpoint.dialect),
            on_input,
            stall: limits.upstream_stall,
            silence: Silence::new(endpoint, limits),
            held_back: None,
            dropped: 0,
        }
    }

    /// Returns the number of messages that the gate dropped.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    pub(super) async fn run(
        &mut self,
        incoming: &mut Incoming,
        outbox: &Outbox,
        pipelined: Bytes,
    ) -> Why {
        let mut bytes = pipelined;
        loop {
            if let Err(why) = self.take(&bytes, outbox) {
                return why;
            }
            match timeout(self.stall, self.flush()).await {
                Ok(Ok(())) => {}
                Ok(Err(why)) => return why,
                Err(_elapsed) => return Why::Unresponsive,
            }
            // While the VNC server was slow, the viewer's messages went unread.
            if !bytes.is_empty() {
                incoming.note_sign_of_life();
            }

            let role = self.role.clone();
            tokio::select! {
                biased;
                () = changed(role, self.gate.role()) => bytes = Bytes::new(),
                () = outbox.caught_up(), if self.held_back.is_some() => bytes = Bytes::new(),
                next = incoming.bytes() => match next {
                    Ok(next) => bytes = next,
                    Err(why) => return why,
                },
            }
        }
    }

    /// Judges `bytes` by the current role.
    fn take(&mut self, mut bytes: &[u8], outbox: &Outbox) -> Result<(), Why> {
        self.follow_role();
        while let Some(message) = self.parser.next(&mut bytes).map_err(Why::Malformed)? {
            match self.gate.judge(&message) {
                Verdict::Pass => {
                    if outbox.is_behind()
                        && let ClientMessage::UpdateRequest { incremental, area } = message
                    {
                        self.hold_back(incremental, area);
                    } else {
                        self.pass(&message, outbox);
                    }
                }
                Verdict::Drop(_) => self.dropped += 1,
                Verdict::Replace(others) => others.iter().for_each(|it| self.pass(it, outbox)),
            }
        }
        if !outbox.is_behind()
            && let Some((incremental, area)) = self.held_back.take()
        {
            self.queue(&ClientMessage::UpdateRequest { incremental, area });
        }
        Ok(())
    }

    fn follow_role(&mut self) {
        // Without the sender of roles, control could not be revoked later, so it is revoked here.
        let gone = self.role.has_changed().is_err();
        let role = if gone { Role::Watch } else { *self.role.borrow_and_update() };
        for message in self.gate.set_role(role) {
            self.queue(&message);
        }
    }

    fn pass(&mut self, message: &ClientMessage, outbox: &Outbox) {
        let is_input = match message {
            ClientMessage::Key { .. }
            | ClientMessage::QemuKey { .. }
            | ClientMessage::Pointer { .. }
            | ClientMessage::ExtendedClipboard { .. }
            | ClientMessage::CutText(_) => true,
            ClientMessage::SetPixelFormat(_)
            | ClientMessage::SetEncodings(_)
            | ClientMessage::UpdateRequest { .. }
            | ClientMessage::LongCutText { .. }
            | ClientMessage::ContinuousUpdates { .. }
            | ClientMessage::Fence { .. }
            | ClientMessage::Xvp { .. }
            | ClientMessage::SetDesktopSize { .. }
            | ClientMessage::Gii { .. } => false,
        };
        if is_input && !(self.on_input)(message) {
            return;
        }
        // A mere move of the pointer need not change the picture.
        if is_input && !matches!(message, ClientMessage::Pointer { buttons: 0, .. }) {
            self.silence.said(outbox.pushed());
        }
        self.queue(message);
    }

    fn hold_back(&mut self, incremental: bool, area: Area) {
        let held = self.held_back.map_or((incremental, area), |(before, other)| {
            (before && incremental, other.union(area))
        });
        self.held_back = Some(held);
    }

    /// Queues a message, for the display or for the VNC server.
    fn queue(&mut self, message: &ClientMessage) {
        let key = |keysym, scancode| Key { keysym, scancode };
        match message {
            ClientMessage::Key { down, keysym } => {
                self.undone.push_back(Action::Key { down: *down, key: key(*keysym, None) });
                return;
            }
            ClientMessage::QemuKey { down, keysym, keycode } => {
                let key = key(*keysym, Some(*keycode));
                self.undone.push_back(Action::Key { down: *down, key });
                return;
            }
            ClientMessage::Pointer { buttons, x, y, .. } => {
                self.undone.push_back(Action::Pointer { buttons: *buttons, x: *x, y: *y });
                return;
            }
            ClientMessage::CutText(_) => self.undone.push_back(Action::Clipboard),
            ClientMessage::ExtendedClipboard { flags, .. } if flags & GIVES_CLIPBOARD != 0 => {
                self.undone.push_back(Action::Clipboard);
            }
            ClientMessage::ExtendedClipboard { .. }
            | ClientMessage::SetPixelFormat(_)
            | ClientMessage::SetEncodings(_)
            | ClientMessage::UpdateRequest { .. }
            | ClientMessage::LongCutText { .. }
            | ClientMessage::ContinuousUpdates { .. }
            | ClientMessage::Fence { .. }
            | ClientMessage::Xvp { .. }
            | ClientMessage::SetDesktopSize { .. }
            | ClientMessage::Gii { .. } => {}
        }
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        self.unsent.extend_from_slice(&bytes);
    }

    /// Sends what is queued. Cancel safe: dropping the future loses nothing and sends nothing
    /// twice.
    ///
    /// Actions go first: the display's queue itself holds them until a clipboard sent before them
    /// has arrived.
    async fn flush(&mut self) -> Result<(), Why> {
        while let Some(action) = self.undone.front().copied() {
            self.input.send(action).await.map_err(|_gone| Why::NoInput)?;
            self.undone.pop_front();
            if action == Action::Clipboard {
                self.write_all().await?;
            }
        }
        self.write_all().await
    }

    async fn write_all(&mut self) -> Result<(), Why> {
        while !self.unsent.is_empty() {
            let written = self.write.write_buf(&mut self.unsent).await;
            written.map_err(|_broken| Why::UpstreamClosed)?;
        }
        Ok(())
    }

    /// Releases the keys and buttons that the viewer held, and closes the connection after the VNC
    /// server has read everything. A connection that is closed with unread bytes is reset, perhaps
    /// before the last releases are read.
    pub(super) async fn finish(mut self, mut read: OwnedReadHalf) {
        for message in self.gate.set_role(Role::Watch) {
            self.queue(&message);
        }
        let parting = async {
            let _gone = self.flush().await;
            self.write.shutdown().await?;
            tokio::io::copy(&mut read, &mut tokio::io::sink()).await
        };
        // A server that is gone holds no keys.
        let _outcome = timeout(RELEASE_TIMEOUT, parting).await;
    }
}

/// A viewer that does nothing for this time has received what it waited for.
const PAUSE: Duration = Duration::from_secs(3);

/// A detector of VNC servers that send nothing to a viewer that keeps typing or clicking.
///
/// Not every key changes the picture, so silence proves nothing; it is a reason to check the
/// server.
struct Silence {
    doubts: Arc<Notify>,
    limit: Duration,
    spell: Option<Spell>,
}

/// A period in which the server has sent nothing.
struct Spell {
    since: Instant,
    /// The time of the viewer's latest input in it.
    latest: Instant,
    /// The number of bytes that the server had sent by then.
    sent: u64,
}

impl Silence {
    fn new(endpoint: &Endpoint, limits: &Limits) -> Self {
        let doubts = Arc::clone(&endpoint.doubts);
        Self { doubts, limit: limits.doubt_after, spell: None }
    }

    /// Records an input of the viewer; the server has sent `sent` bytes until now.
    fn said(&mut self, sent: u64) {
        let now = Instant::now();
        let goes_on = |spell: &&Spell| spell.sent == sent && now < spell.latest + PAUSE;
        let since = self.spell.as_ref().filter(goes_on).map_or(now, |spell| spell.since);
        let is_long = now >= since + self.limit;
        if is_long {
            self.doubts.notify_one();
        }
        let since = if is_long { now } else { since };
        self.spell = Some(Spell { since, latest: now, sent });
    }
}

/// Resolves when the role is no longer `now`. If the sender is gone, the role counts as `Watch`.
async fn changed(mut role: watch::Receiver<Role>, now: Role) {
    if role.changed().await.is_err() && now == Role::Watch {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::time::advance;

    use super::*;
    use crate::domain::rfb::Dialect;
    use crate::system::input::Devices;

    #[tokio::test(start_paused = true)]
    async fn who_goes_on_typing_to_a_server_that_says_nothing_has_doubts() {
        let doubts = Arc::new(Notify::new());
        let endpoint = Endpoint {
            address: ([127, 0, 0, 1], 9).into(),
            password: "".into(),
            dialect: Dialect::X11VNC,
            doubts: Arc::clone(&doubts),
            devices: Devices::recorded().0,
            metrics: Arc::default(),
        };
        let mut silence = Silence::new(&endpoint, &Limits::default());
        let doubted = || doubts.notified().now_or_never().is_some();
        let second = Duration::from_secs(1);
        for typed in 0..=10 {
            silence.said(7);
            assert_eq!(doubted(), typed == 10, "after {typed} s");
            advance(second).await;
        }
        // The server sends something now and then, or the viewer pauses.
        for sent in 0..60 {
            silence.said(sent / 9);
            advance(second).await;
        }
        advance(15 * second).await;
        silence.said(7);
        assert!(!doubted());
    }
}
