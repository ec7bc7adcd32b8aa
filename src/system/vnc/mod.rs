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
pub use seats::{OnRepaired, OnStarted, Seats, VncCallbacks, VncContext};
pub(super) use segments::{all as segments, remove as remove_segment, sweep as sweep_segments};
pub(super) use within::{Reach, Within};

use futures_util::future::BoxFuture;

use super::failure::LaunchStage;
use crate::domain::session::Failure;
use crate::system::seam::VncServer;

pub(super) const STAGE: LaunchStage = LaunchStage { name: "vnc", package: "x11vnc" };

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

    /// Handles a replacement of the password: disconnects the clients that used the former one. Resolves when they
    /// are disconnected, with a line for each failure.
    fn disconnect_direct(&self) -> BoxFuture<'_, Vec<String>>;

    /// Checks the server's health: a server that was stopped by a signal is killed and restarted.
    fn kill_if_stopped(&self);

    /// The pids of its own processes.
    fn numbers(&self) -> Vec<i32>;

    /// Detaches from the processes: from now on only [`close`](Self::close) ends them, and a later
    /// server can adopt them.
    fn detach(&self);

    /// Kills every process of its own without waiting.
    fn kill_now(&self);

    /// Ends the server for good; requests for a seat are refused from now on. Resolves when its
    /// processes and their remains are gone and its port is free, with a line for each exception.
    /// If the server is the display, this is called after that has ended.
    fn close(&self) -> BoxFuture<'_, Vec<String>>;
}
