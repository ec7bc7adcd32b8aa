//! The VNC server of a desktop: on a loopback port of its own, with a password of its own.
//!
//! ```text
//!   actors, bridge                desktop
//!         |                          |
//!     VncServer  <-- is also --  Server ---- Seats     x11vnc beside the display, on demand
//!     (its viewers)              (its life)  Within    the X server itself, Xtigervnc
//! ```
//!
//! `Server` is the seam: everything that a desktop needs of its VNC server, whatever it is. A server
//! of our own, fed by the capture, would be a third implementation: its seats are what tell it
//! whether anybody watches, its port is a [`Reservation`], and what it starts and ends are tasks
//! instead of processes.

mod direct;
pub(super) mod password;
mod ports;
mod seats;
mod segments;
mod within;
mod x11vnc;

pub use direct::connections;
pub(super) use password::Password;
pub use ports::{Ports, Reservation};
pub(super) use seats::no_port_free;
pub use seats::{OnMended, OnStarted, Place, Seats, Told};
pub(super) use segments::{all as segments, remove as remove_segment, sweep as sweep_segments};
pub(super) use within::{Reach, Within};

use futures_util::future::BoxFuture;

use super::desktop::VncServer;
use super::failure::Stage;
use crate::domain::session::Failure;

pub(super) const STAGE: Stage = Stage { name: "vnc", package: "x11vnc" };

/// The VNC server of one desktop, as the desktop that owns it sees it; what viewers see of it is
/// [`VncServer`]. Each of these may be called at any time, and more than once.
pub(super) trait Server: VncServer {
    /// Whether the X server itself is the VNC server: then the one lives and dies with the other,
    /// and nothing here starts or ends a process.
    fn is_the_display(&self) -> bool;

    /// Resolves when it accepts connections, without anybody watching.
    fn start(&self) -> BoxFuture<'_, Result<(), Failure>>;

    /// Its display has died and is there again. Resolves when whoever watched can come back, on
    /// the same port.
    fn reset(&self) -> BoxFuture<'_, ()>;

    /// Its password was replaced: disconnects those that came with the former one. Resolves when they are
    /// disconnected, with a line for each thing that did not succeed.
    fn disconnect_direct(&self) -> BoxFuture<'_, Vec<String>>;

    /// Looks after its health: one that was stopped by a signal is ended, and comes back.
    fn kill_if_stopped(&self);

    /// The numbers of its own processes.
    fn numbers(&self) -> Vec<i32>;

    /// From now on nothing ends it but [`close`](Self::close): a later server takes it over.
    fn let_go(&self);

    /// Ends every process of its own, at once and without waiting.
    fn kill_now(&self);

    /// Ends it for good; whoever asks for a seat is refused from now on. Resolves when its
    /// processes and their remains are gone and its port is free, and says what is not. If it is
    /// the display, then after that has ended.
    fn close(&self) -> BoxFuture<'_, Vec<String>>;
}
