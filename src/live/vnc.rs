//! `WS /v1/stream/vnc/browser_session/{id}`: a session's display, over RFB.
//!
//! A viewer with a `client_id` watches until that client takes control over the message channel, as
//! in the compatible API. A viewer without one, such as a native client, cannot take control. It
//! may type while the agent has control, as far as its credentials allow, and watches while a
//! person has it.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{Duration, Instant};
use tracing::debug;

use super::bridge::{self, Close, Endpoint, Limits, OnInput};
use super::state::Live;
use super::viewer::Viewer;
use crate::actors::session::{Connected, Watching};
use crate::domain::rfb::{ClientMessage, keysym};

/// The time in which a page that has sent its clipboard over RFB is not asked for it again.
const SENT_LATELY: Duration = Duration::from_secs(2);

/// Runs the bridge until either side disconnects. The VNC seat and the viewer's place in the
/// session are released when this returns.
pub async fn serve(socket: bridge::Socket, viewer: Viewer, watching: Watching) {
    let Watching { seat, devices, connected } = watching;
    let endpoint = Endpoint {
        address: seat.endpoint.address,
        password: seat.endpoint.password.clone(),
        dialect: seat.endpoint.dialect,
        doubts: Arc::clone(&seat.doubts),
        devices,
        metrics: Arc::clone(&viewer.live.world.metrics.streams),
    };
    let mut view = connected.view.clone();
    let (most, party) = (connected.role, connected.party.clone());
    let role_now = move |view: &mut watch::Receiver<_>| {
        let view: &crate::actors::views::SessionView = &view.borrow_and_update();
        view.control.role_of(most, party.as_ref())
    };
    let (role, followed) = watch::channel(role_now(&mut view));
    let follow = async {
        while view.changed().await.is_ok() {
            let now = role_now(&mut view);
            role.send_if_modified(|role| std::mem::replace(role, now) != now);
        }
        // The session's actor has ended; [`Viewer::over`] resolves with the reason.
        std::future::pending::<Close>().await
    };
    let stop = async {
        tokio::select! {
            close = viewer.over(&connected.ended, &connected.out) => close,
            close = follow => close,
        }
    };
    let on_input = on_input(&connected, &viewer.live);
    let (policy, limits) = (viewer.live.policy.clone(), Limits::default());
    let ended = bridge::run(socket, endpoint, followed, policy, limits, on_input, stop).await;
    debug!("a viewer has left: {}", ended.why);
    drop((seat, connected));
}

/// Returns a callback that records the viewer's activity and detects the paste key.
///
/// That key is withheld from the browser, which would paste its own clipboard. Instead the page is
/// asked for its clipboard, which is then inserted.
fn on_input(connected: &Connected, live: &Live) -> OnInput {
    let (activity, clock) = (connected.activity.clone(), live.world.clock);
    let (pastes, party) = (connected.pastes.clone(), connected.party.clone());
    let inward = live.policy.clipboard.inward;
    let mut keys = Keys::default();
    Box::new(move |message| {
        activity.note(clock.now());
        let pastes_now = keys.paste_with(message) && inward;
        let Some(party) = party.as_ref().filter(|_party| pastes_now) else { return true };
        // Without a message channel there is no receiver, and the key is forwarded.
        pastes.send(party.clone()).is_err()
    })
}

/// The modifiers that are down, as keysyms, and the time of the last clipboard.
#[derive(Debug, Default)]
struct Keys {
    held: Vec<u32>,
    sent: Option<Instant>,
}

impl Keys {
    #[expect(clippy::wildcard_enum_match_arm, reason = "no other message is about keys")]
    /// Returns true if this message presses the paste key.
    fn paste_with(&mut self, message: &ClientMessage) -> bool {
        let (down, keysym, scancode) = match message {
            ClientMessage::Key { down, keysym } => (*down, *keysym, None),
            ClientMessage::QemuKey { down, keysym, keycode } => (*down, *keysym, Some(*keycode)),
            ClientMessage::CutText(_) | ClientMessage::ExtendedClipboard { .. } => {
                self.sent = Some(Instant::now());
                return false;
            }
            _other => return false,
        };
        // Control, Meta, Alt and Super, left and right; a Mac's command key sends one of them.
        if matches!(keysym, 0xffe3 | 0xffe4 | 0xffe7..=0xffec) {
            self.held.retain(|held| *held != keysym);
            if down {
                self.held.push(keysym);
            }
            return false;
        }
        let sent_lately = self.sent.is_some_and(|sent| sent.elapsed() < SENT_LATELY);
        // On a keyboard for another script, the letter at the place of `v` counts.
        let v = keysym::place('v'.into());
        let is_v = keysym::place(keysym) == v || (keysym == 0 && scancode == v);
        down && is_v && !self.held.is_empty() && !sent_lately
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_key_that_pastes_is_known_on_every_keyboard() {
        let key = |keysym| ClientMessage::Key { down: true, keysym };
        let place = |keycode| ClientMessage::QemuKey { down: true, keysym: 0, keycode };
        for (message, pastes) in [
            (key(0x76), true),
            (key(0x56), true),
            (key(0x6cd), true), // Cyrillic_em, where V is.
            (key(0x0100_05d4), true),
            (place(0x2f), true),
            (key(0x6d7), false), // Cyrillic_ve, where D is.
            (key(0x63), false),
            (place(0x2e), false),
        ] {
            let mut keys = Keys::default();
            assert!(!keys.paste_with(&message), "{message:?} without Control");
            keys.paste_with(&key(0xffe3));
            assert_eq!(keys.paste_with(&message), pastes, "{message:?}");
        }
    }
}
