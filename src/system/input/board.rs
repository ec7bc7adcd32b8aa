//! The connection that presses keys and buttons on a display.

use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use x11rb::connection::Connection as _;
use x11rb::protocol::Event;
use x11rb::protocol::xfixes::{ConnectionExt as _, SelectionEventMask};
use x11rb::protocol::xkb::{ConnectionExt as _, Group, ID, SetMapAux, SetMapFlags, VMod};
use x11rb::protocol::xproto::{
    Atom, AtomEnum, AutoRepeatMode, BUTTON_PRESS_EVENT, BUTTON_RELEASE_EVENT,
    ChangeKeyboardControlAux, ChangeWindowAttributesAux, ClientMessageEvent, ConnectionExt as _,
    EventMask, KEY_PRESS_EVENT, KEY_RELEASE_EVENT, MOTION_NOTIFY_EVENT, ModMask, Window,
};
use x11rb::protocol::xtest::ConnectionExt as _;
use x11rb::rust_connection::RustConnection;

use super::action::Action;
use super::hands::{Hands, InputStep, Plan};
use super::keymap::Keymap;
use crate::system::display::{Cookie, client, socket};

/// The longest time for the programs of a display to read their events. A browser that takes longer
/// is busy or hangs, and may lose what is typed meanwhile.
const SETTLE_TIMEOUT: Duration = Duration::from_millis(500);
/// The longest time for a VNC server to put a clipboard on the display. A server that has put the
/// previous one there may replace it without an event.
const CLIPBOARD_TIMEOUT: Duration = Duration::from_millis(200);
/// The range of keycodes in X.
const FIRST_KEYCODE: u8 = 8;
const LAST_KEYCODE: u8 = 255;
/// The most windows that are examined, more than a browser has.
const MOST_WINDOWS: usize = 256;

/// An error after which a connection to a display is unusable.
pub(super) type Broken = Box<dyn std::error::Error + Send + Sync>;

/// A display on which keys are pressed.
pub(super) struct Board {
    connection: RustConnection,
    root: Window,
    hands: Hands,
    protocols: Atom,
    ping: Atom,
    clipboard: Atom,
    pings: u32,
    /// The keycodes that were pressed since all programs had last read their events.
    unread: Vec<u8>,
}

impl Board {
    pub fn connect(number: u16, cookie: &Cookie) -> Result<Self, Broken> {
        let connection = client(UnixStream::connect(socket(number))?, cookie)?;
        let root = connection.setup().roots.first().ok_or("the display has no screen")?.root;
        let atom = |name: &str| -> Result<Atom, Broken> {
            Ok(connection.intern_atom(false, name.as_bytes())?.reply()?.atom)
        };
        let (protocols, ping) = (atom("WM_PROTOCOLS")?, atom("_NET_WM_PING")?);
        let clipboard = atom("CLIPBOARD")?;
        // The extensions accept no other request before their versions are queried.
        connection.xfixes_query_version(5, 0)?.reply()?;
        connection.xtest_get_version(2, 2)?.reply()?;
        connection.xkb_use_extension(1, 0)?.reply()?;
        let (first, last) = (connection.setup().min_keycode, connection.setup().max_keycode);
        let count = last.saturating_sub(first).saturating_add(1);
        let map = connection.get_keyboard_mapping(first, count)?.reply()?;
        let keymap = Keymap::read(first, map.keysyms_per_keycode, &map.keysyms);
        let hands = Hands::new(keymap);
        let board = Self {
            connection,
            root,
            hands,
            protocols,
            ping,
            clipboard,
            pings: 0,
            unread: Vec::new(),
        };
        board.repeat(AutoRepeatMode::OFF)?;
        Ok(board)
    }

    /// Performs the actions of viewers, in their order.
    pub fn perform(&mut self, mut actions: &[(u64, Action)]) -> Result<(), Broken> {
        if actions.is_empty() {
            return Ok(());
        }
        // Other clients may have set a lock or a keyboard group.
        self.lock(ModMask::LOCK, false, true)?;
        self.hands.forget_locks();
        while !actions.is_empty() {
            let Plan { count, assigned } = self.hands.plan(actions);
            self.assign(&assigned)?;
            let (now, later) = actions.split_at(count.min(actions.len()));
            for (viewer, action) in now {
                for step in self.hands.act(*viewer, *action) {
                    self.take(step)?;
                }
                if *action == Action::Clipboard {
                    self.await_clipboard()?;
                }
            }
            actions = later;
        }
        self.connection.flush()?;
        // Unsolicited events of the server are discarded.
        while self.connection.poll_for_event()?.is_some() {}
        Ok(())
    }

    /// Returns when the X server has processed all requests. Key repeat is enabled again for
    /// viewers that are connected to the VNC server directly.
    pub fn close(self) -> Result<(), Broken> {
        self.repeat(AutoRepeatMode::ON)?;
        self.connection.get_input_focus()?.reply()?;
        Ok(())
    }

    fn take(&mut self, step: InputStep) -> Result<(), Broken> {
        let (kind, detail, x, y) = match step {
            InputStep::Key(keycode, true) => {
                self.unread.push(keycode);
                (KEY_PRESS_EVENT, keycode, 0, 0)
            }
            InputStep::Key(keycode, false) => (KEY_RELEASE_EVENT, keycode, 0, 0),
            InputStep::Button(button, true) => (BUTTON_PRESS_EVENT, button, 0, 0),
            InputStep::Button(button, false) => (BUTTON_RELEASE_EVENT, button, 0, 0),
            InputStep::Move(x, y) => {
                let within = |at: u16| i16::try_from(at).unwrap_or(i16::MAX);
                (MOTION_NOTIFY_EVENT, 0, within(x), within(y))
            }
            InputStep::NumLock(on) => return self.lock(ModMask::M2, on, false),
        };
        self.connection.xtest_fake_input(kind, detail, 0, self.root, x, y, 0)?;
        Ok(())
    }

    fn lock(&self, modifier: ModMask, on: bool, first_group: bool) -> Result<(), Broken> {
        let locked = if on { modifier } else { ModMask::from(0_u16) };
        let none = ModMask::from(0_u16);
        self.connection.xkb_latch_lock_state(
            ID::USE_CORE_KBD.into(),
            modifier,
            locked,
            first_group,
            Group::M1,
            none,
            false,
            0,
        )?;
        Ok(())
    }

    /// Sets whether the X server repeats held keys. Viewers repeat keys themselves, and the server
    /// would repeat a key while its release is in transit.
    fn repeat(&self, mode: AutoRepeatMode) -> Result<(), Broken> {
        let wanted = ChangeKeyboardControlAux::new().auto_repeat_mode(mode);
        self.connection.change_keyboard_control(&wanted)?;
        Ok(())
    }

    /// Assigns signs to spare keys. When this returns, the programs of the display know them.
    fn assign(&mut self, assigned: &[(u8, u32)]) -> Result<(), Broken> {
        if assigned.is_empty() {
            return Ok(());
        }
        // A program that has yet to read a key press must not see another sign for it.
        if assigned.iter().any(|(keycode, _)| self.unread.contains(keycode)) {
            self.settle()?;
        }
        // Chromium reloads the map only for a new keyboard, which a changed number of keys indicates.
        self.keys_up_to(LAST_KEYCODE)?;
        for (keycode, keysym) in assigned {
            // The same sign with Shift, which may be held.
            self.connection.change_keyboard_mapping(1, *keycode, 2, &[*keysym, *keysym])?;
        }
        self.keys_up_to(LAST_KEYCODE - 1)?;
        self.settle()
    }

    fn keys_up_to(&self, last: u8) -> Result<(), Broken> {
        let (keyboard, none) = (ID::USE_CORE_KBD.into(), SetMapAux::new());
        let flags = SetMapFlags::from(0_u16);
        let vmods = VMod::from(0_u16);
        self.connection.xkb_set_map(
            keyboard,
            flags,
            FIRST_KEYCODE,
            last,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            vmods,
            &none,
        )?;
        Ok(())
    }

    /// Returns when the programs of the display have read all events so far, or after a timeout.
    fn settle(&mut self) -> Result<(), Broken> {
        self.hear_of_windows(EventMask::SUBSTRUCTURE_NOTIFY)?;
        self.pings = self.pings.wrapping_add(1);
        let mut asked = Vec::new();
        for window in self.who_answers()? {
            let data = [self.ping, self.pings, window, 0, 0];
            let message = ClientMessageEvent::new(32, window, self.protocols, data);
            self.connection.send_event(false, window, EventMask::NO_EVENT, message)?;
            asked.push(window);
        }
        let (protocols, ping, number) = (self.protocols, self.ping, self.pings);
        let settled = self.wait(SETTLE_TIMEOUT, |event| {
            if let Some(Event::ClientMessage(answer)) = event
                && answer.type_ == protocols
                && let [what, serial, window, ..] = answer.data.as_data32()
                && what == ping
                && serial == number
            {
                asked.retain(|it| *it != window);
            }
            asked.is_empty()
        })?;
        if !settled {
            tracing::debug!("a program of the display does not read its events");
        }
        self.hear_of_windows(EventMask::NO_EVENT)?;
        self.unread.clear();
        Ok(())
    }

    /// Selects events of the root window, where answers to pings arrive.
    fn hear_of_windows(&self, mask: EventMask) -> Result<(), Broken> {
        let wanted = ChangeWindowAttributesAux::new().event_mask(mask);
        self.connection.change_window_attributes(self.root, &wanted)?;
        Ok(())
    }

    /// Returns for each connection to the display one window that answers pings. A browser has two
    /// connections, because GTK, which turns its keys into text, has its own.
    fn who_answers(&self) -> Result<Vec<Window>, Broken> {
        let windows = self.connection.query_tree(self.root)?.reply()?.children;
        let asked: Vec<_> = windows
            .into_iter()
            .rev()
            .take(MOST_WINDOWS)
            .map(|window| {
                let kind = AtomEnum::ATOM;
                let protocols = self.protocols;
                let asked = self.connection.get_property(false, window, protocols, kind, 0, 32)?;
                Ok((window, asked))
            })
            .collect::<Result<_, Broken>>()?;
        let connection_of = |window: Window| window & !self.connection.setup().resource_id_mask;
        let mut found: Vec<Window> = Vec::new();
        for (window, asked) in asked {
            // The window may have been destroyed meanwhile.
            let Ok(answer) = asked.reply() else { continue };
            let answers = answer.value32().is_some_and(|mut all| all.any(|it| it == self.ping));
            let is_known = found.iter().any(|it| connection_of(*it) == connection_of(window));
            if answers && !is_known {
                found.push(window);
            }
        }
        Ok(found)
    }

    /// Waits until a VNC server has put a clipboard on the display, or until a timeout.
    fn await_clipboard(&mut self) -> Result<(), Broken> {
        let follow = |mask| -> Result<(), Broken> {
            self.connection.xfixes_select_selection_input(self.root, self.clipboard, mask)?;
            Ok(())
        };
        follow(SelectionEventMask::SET_SELECTION_OWNER)?;
        self.wait(CLIPBOARD_TIMEOUT, |event| {
            matches!(event, Some(Event::XfixesSelectionNotify(_)))
        })?;
        follow(SelectionEventMask::from(0_u32))
    }

    /// Reads events until `is_enough` returns true or `timeout` is over. `is_enough` is called once
    /// before the first event. Returns true if it was enough.
    fn wait(
        &self,
        timeout: Duration,
        mut is_enough: impl FnMut(Option<&Event>) -> bool,
    ) -> Result<bool, Broken> {
        let deadline = Instant::now() + timeout;
        self.connection.flush()?;
        if is_enough(None) {
            return Ok(true);
        }
        loop {
            while let Some(event) = self.connection.poll_for_event()? {
                if is_enough(Some(&event)) {
                    return Ok(true);
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            let mut stream = [PollFd::new(self.connection.stream(), PollFlags::IN)];
            let _interrupted = poll(&mut stream, Some(&Timespec::try_from(left)?));
        }
    }
}
