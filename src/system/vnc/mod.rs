//! The VNC server of a desktop: on a loopback port of its own, with a password of its own, running
//! while somebody has a seat at it.
//!
//! [`Seats`] decides when it runs; `x11vnc` is how it is started. One that is X server and VNC
//! server in one program would be another implementation of the trait
//! [`VncServer`](super::desktop::VncServer), without anything to start.

mod ports;
mod seats;
mod segments;
mod x11vnc;

pub use ports::{Ports, Reservation};
pub(super) use seats::no_port_free;
pub use seats::{OnMended, OnStarted, Place, Seats, Told};
pub(super) use segments::sweep as sweep_segments;

use rand::Rng as _;
use rand::distr::Alphanumeric;
use secrecy::SecretString;

use super::failure::Stage;

pub(super) const STAGE: Stage = Stage { name: "vnc", package: "x11vnc" };

/// A new password: eight characters, which is all that the protocol can use.
pub fn password() -> SecretString {
    let characters = rand::rng().sample_iter(Alphanumeric).take(8).map(char::from);
    SecretString::from(characters.collect::<String>())
}
