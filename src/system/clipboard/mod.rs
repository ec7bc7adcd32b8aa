//! The clipboard of a display, delivered to the user who has control.
//!
//! The X server reports when the selection `CLIPBOARD` changes its owner (extension XFIXES). Its
//! text is then requested in UTF-8, as described in section 2 of the ICCCM. RFB carries the
//! clipboard too, but a VNC server sends it to every viewer and cannot limit it to some of them.
//!
//! Each follower has one thread that waits in a read. Only a user who has control is followed, so
//! there is at most one and usually none.

mod pieces;

use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use x11rb::connection::Connection as _;
use x11rb::protocol::Event;
use x11rb::protocol::res::{ClientIdMask, ClientIdSpec, ConnectionExt as _};
use x11rb::protocol::xfixes::{ConnectionExt as _, SelectionEventMask, SelectionNotifyEvent};
use x11rb::protocol::xproto::{
    Atom, ConnectionExt as _, CreateWindowAux, EventMask, Property, Window, WindowClass,
};
use x11rb::rust_connection::RustConnection;

use self::pieces::Pieces;
use super::display::{Cookie, client, socket};
use crate::system::seam::Copies;

/// An error after which a connection to a display is unusable.
type Broken = Box<dyn std::error::Error + Send + Sync>;

/// Follows the texts that the program `owner` copies on a display. Texts from other clients, such
/// as a VNC server that acts for a viewer, are ignored.
pub fn follow(number: u16, cookie: Cookie, owner: i32, runtime: &Handle) -> Copies {
    let (sender, texts) = watch::channel(String::new());
    let left = CancellationToken::new();
    let guard = left.clone().drop_guard();
    let ended = CancellationToken::new();
    let over = ended.clone().drop_guard();
    match UnixStream::connect(socket(number)).and_then(|it| Ok((it.try_clone()?, it))) {
        Ok((handle, stream)) => {
            runtime.spawn(async move {
                tokio::select! {
                    () = left.cancelled() => {}
                    () = ended.cancelled() => {}
                }
                // The thread waits in a read, which ends with this.
                let _ = handle.shutdown(Shutdown::Both);
            });
            let work = move || {
                let _over = over;
                if let Err(cause) = serve(stream, &cookie, owner, &sender)
                    && !sender.is_closed()
                {
                    tracing::debug!(display = number, error = %cause, "the clipboard is no longer followed");
                }
            };
            let thread = std::thread::Builder::new().name(format!("clipboard :{number}"));
            if let Err(cause) = thread.spawn(work) {
                tracing::error!(error = %cause, "the thread for the clipboard cannot be started");
            }
        }
        // The display has ended, which its session notices by itself.
        Err(cause) => {
            tracing::debug!(display = number, error = %cause, "the clipboard cannot be followed")
        }
    }
    Copies { texts, guard }
}

/// Takes over the selections of a display from their owners, and removes the texts that the display
/// itself keeps. Blocks until the display has processed this.
pub fn clear(number: u16, cookie: &Cookie) -> Result<(), String> {
    let stream = UnixStream::connect(socket(number)).map_err(|cause| cause.to_string())?;
    empty(stream, cookie).map_err(|cause| cause.to_string())
}

fn empty(stream: UnixStream, cookie: &Cookie) -> Result<(), Broken> {
    let connection = client(stream, cookie)?;
    let root = connection.setup().roots.first().ok_or("the display has no screen")?.root;
    let atom = |name: &str| -> Result<Atom, Broken> {
        Ok(connection.intern_atom(false, name.as_bytes())?.reply()?.atom)
    };
    for name in ["CLIPBOARD", "PRIMARY", "SECONDARY"] {
        connection.set_selection_owner(x11rb::NONE, atom(name)?, x11rb::CURRENT_TIME)?.check()?;
    }
    for buffer in 0..8 {
        connection.delete_property(root, atom(&format!("CUT_BUFFER{buffer}"))?)?.check()?;
    }
    Ok(())
}

/// Publishes each copied text; returns when the connection ends.
fn serve(
    stream: UnixStream,
    cookie: &Cookie,
    owner: i32,
    sender: &watch::Sender<String>,
) -> Result<(), Broken> {
    let mut reader = Reader::new(stream, cookie, owner)?;
    loop {
        let event = reader.connection.wait_for_event()?;
        if let Some(text) = reader.take(&event)? {
            sender.send_replace(text);
        }
    }
}

/// A client of the display that converts the clipboard to text.
struct Reader {
    connection: RustConnection,
    /// An invisible window; texts are delivered as its properties.
    window: Window,
    clipboard: Atom,
    utf8: Atom,
    incremental: Atom,
    /// The names of the properties, used alternately: a remainder of an older text has the other name.
    handed_over: [Atom; 2],
    owner: u32,
    /// The text that is being transferred in pieces.
    pieces: Option<Pieces>,
}

impl Reader {
    fn new(stream: UnixStream, cookie: &Cookie, owner: i32) -> Result<Self, Broken> {
        let connection = client(stream, cookie)?;
        let root = connection.setup().roots.first().ok_or("the display has no screen")?.root;
        let atom = |name: &str| -> Result<Atom, Broken> {
            Ok(connection.intern_atom(false, name.as_bytes())?.reply()?.atom)
        };
        let (clipboard, utf8) = (atom("CLIPBOARD")?, atom("UTF8_STRING")?);
        let incremental = atom("INCR")?;
        let handed_over = [atom("GREENROOM_COPIED")?, atom("GREENROOM_COPIED_NEXT")?];
        let window = connection.generate_id()?;
        let wanted = CreateWindowAux::new().event_mask(EventMask::PROPERTY_CHANGE);
        connection.create_window(
            0,
            window,
            root,
            -1,
            -1,
            1,
            1,
            0,
            WindowClass::INPUT_ONLY,
            x11rb::COPY_FROM_PARENT,
            &wanted,
        )?;
        // The extensions accept no other request before their version is queried.
        connection.xfixes_query_version(5, 0)?.reply()?;
        connection.res_query_version(1, 2)?.reply()?;
        connection.xfixes_select_selection_input(
            window,
            clipboard,
            SelectionEventMask::SET_SELECTION_OWNER,
        )?;
        connection.flush()?;
        Ok(Self {
            connection,
            window,
            clipboard,
            utf8,
            incremental,
            handed_over,
            owner: owner.unsigned_abs(),
            pieces: None,
        })
    }

    /// Returns the text that this event completes, if any.
    fn take(&mut self, event: &Event) -> Result<Option<String>, Broken> {
        #[expect(clippy::wildcard_enum_match_arm, reason = "nothing else was asked for")]
        match event {
            Event::XfixesSelectionNotify(SelectionNotifyEvent { owner, timestamp, .. }) => {
                self.pieces = None;
                self.handed_over.reverse();
                if *owner != x11rb::NONE && self.is_of_the_owner(*owner)? {
                    self.connection.convert_selection(
                        self.window,
                        self.clipboard,
                        self.utf8,
                        self.property_name(),
                        *timestamp,
                    )?;
                    self.connection.flush()?;
                }
                Ok(None)
            }
            Event::SelectionNotify(answer) if answer.property == self.property_name() => {
                let (kind, bytes) = self.property()?;
                if kind == self.incremental {
                    // Deleting the previous piece requests the next one (ICCCM, section 2.7.2).
                    self.pieces = Some(Pieces::default());
                    return Ok(None);
                }
                Ok(Pieces::whole(bytes))
            }
            Event::PropertyNotify(change)
                if change.atom == self.property_name() && change.state == Property::NEW_VALUE =>
            {
                let Some(mut pieces) = self.pieces.take() else { return Ok(None) };
                let (_kind, piece) = self.property()?;
                if piece.is_empty() {
                    return Ok(pieces.end());
                }
                pieces.add(&piece);
                self.pieces = Some(pieces);
                Ok(None)
            }
            _other => Ok(None),
        }
    }

    fn property_name(&self) -> Atom {
        let [now, _before] = self.handed_over;
        now
    }

    /// Reads and deletes the delivered property; returns its type and value.
    fn property(&self) -> Result<(Atom, Vec<u8>), Broken> {
        let any = x11rb::NONE;
        let most = u32::MAX / 4; // In units of four bytes. The server has all data already.
        let name = self.property_name();
        let taken = self.connection.get_property(true, self.window, name, any, 0, most)?;
        let taken = taken.reply()?;
        self.connection.flush()?;
        Ok((taken.type_, taken.value))
    }

    /// True if a window belongs to the followed program.
    fn is_of_the_owner(&self, window: Window) -> Result<bool, Broken> {
        let asked = ClientIdSpec { client: window, mask: ClientIdMask::LOCAL_CLIENT_PID };
        let reply = self.connection.res_query_client_ids(&[asked])?.reply();
        // The window may have been destroyed meanwhile, and the text with it.
        let ids = reply.map(|reply| reply.ids).unwrap_or_default();
        Ok(ids.iter().any(|id| id.value.contains(&self.owner)))
    }
}
