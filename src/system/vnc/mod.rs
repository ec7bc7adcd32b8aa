//! The VNC server of a desktop, on its own loopback port and with its own password.
//!
//! ```text
//!   actors, bridge                desktop
//!         |                          |
//!     VncServer  <-- is also --  Server ---- Seats     x11vnc beside the display, on demand
//!     (its viewers)              (its life)  Within    the X server itself, Xtigervnc
//! ```
//!
//! `Server` is the interface between a desktop and any kind of VNC server. A built-in server that
//! uses the capture would be a third implementation. Its seats would report whether there are
//! viewers, and its port would be a [`Reservation`]. It would start and end tasks instead of
//! processes.

mod direct;
mod ports;
mod seats;
mod segments;
mod within;
mod x11vnc;

pub use direct::connections;
pub use ports::{Ports, Reservation};
pub(super) use seats::no_port_free;
pub use seats::{OnMended, OnStarted, Place, Seats, Told};
pub(super) use segments::{all as segments, remove as remove_segment, sweep as sweep_segments};
pub(super) use within::Within;

use futures_util::future::BoxFuture;
use rand::Rng as _;
use rand::distr::Alphanumeric;
use secrecy::{ExposeSecret as _, SecretString};

use super::desktop::VncServer;
use super::failure::Stage;
use super::settings::VncProgram;
use crate::domain::rfb::vnc_authentication;
use crate::domain::session::Failure;

pub(super) const STAGE: Stage = Stage { name: "vnc", package: "x11vnc" };

/// The VNC server of one desktop, as its owner uses it; viewers use it as [`VncServer`]. Each
/// method may be called at any time, and more than once.
pub(super) trait Server: VncServer {
    /// True if the X server itself is the VNC server. Then both share one process, and this trait
    /// starts and ends none.
    fn is_the_display(&self) -> bool;

    /// Resolves when the server accepts connections, even without viewers.
    fn start(&self) -> BoxFuture<'_, Result<(), Failure>>;

    /// Handles a restart of the display. Resolves when viewers can reconnect, on the same port.
    fn reset(&self) -> BoxFuture<'_, ()>;

    /// Kills a server that a signal has stopped, so that it is restarted.
    fn kill_if_stopped(&self);

    /// The pids of its own processes.
    fn numbers(&self) -> Vec<i32>;

    /// Detaches from the processes: from now on only [`close`](Self::close) ends them, and a later
    /// server can adopt them.
    fn let_go(&self);

    /// Kills every process of its own without waiting.
    fn kill_now(&self);

    /// Ends the server for good; requests for a seat are refused from now on. Resolves when its
    /// processes and their remains are gone and its port is free, with a line for each exception.
    /// If the server is the display, this is called after that has ended.
    fn close(&self) -> BoxFuture<'_, Vec<String>>;
}

/// Returns a new password of eight characters, the most that the protocol can use.
pub fn password() -> SecretString {
    let characters = rand::rng().sample_iter(Alphanumeric).take(8).map(char::from);
    SecretString::from(characters.collect::<String>())
}

/// The content of the password file. For x11vnc it is a line of text. For TigerVNC it is the eight
/// bytes that `vncpasswd` would write: DES with a publicly known key.
pub(super) fn password_file(program: VncProgram, password: &SecretString) -> Vec<u8> {
    /// RealVNC's key, as in TigerVNC's `Password.cxx`; there the bits of each byte are reversed.
    const KNOWN_TO_ALL: [u8; 8] = [23, 82, 107, 6, 35, 78, 88, 7];
    match program {
        VncProgram::X11vnc => format!("{}\n", password.expose_secret()).into_bytes(),
        VncProgram::Tigervnc => {
            let mut plain = [0; 16];
            for (to, from) in plain.iter_mut().take(8).zip(password.expose_secret().bytes()) {
                *to = from;
            }
            vnc_authentication(plain, &KNOWN_TO_ALL).into_iter().take(8).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_written_as_each_server_reads_it() {
        let password = SecretString::from("password");
        assert_eq!(password_file(VncProgram::X11vnc, &password), b"password\n");
        // The bytes that `vncpasswd -f` writes.
        let obscured = [0xdb, 0xd8, 0x3c, 0xfd, 0x72, 0x7a, 0x14, 0x58];
        assert_eq!(password_file(VncProgram::Tigervnc, &password), obscured);
    }
}
