//! A session's desktop: Xvfb, a VNC server, Chromium, and their directory.
//!
//! [`Desktops`] starts and adopts them. The actors use them by the traits of [`seam`](super::seam).

mod adopting;
pub(in crate::system) mod client_certificates;
mod closing;
mod confining;
mod directories;
mod directory;
pub mod downloads;
mod emulation;
mod equipping;
mod examining;
mod extending;
pub mod files;
mod first_state;
mod former;
mod keeper;
mod launch;
mod managed;
mod memory;
mod network;
mod networking;
mod pages;
mod profile;
mod record;
mod repairs;
mod restarting;
mod rotating;
mod running;
mod sanitizing;
#[cfg(test)]
mod tests;

pub use directories::Directories;
pub use directory::{Directory, Saved};
pub use downloads::{Arrival, Downloads, Notice};
pub use launch::Desktops;

pub use crate::system::limits::{NoRoom, Usage};
pub use crate::system::seam::{
    AdoptError, CaptureError, Copies, Death, Desktop, Egress, EgressError, EgressOutcome,
    EgressStatus, Files, Following, Format, Launch, LaunchError, Order, PackAtEnd, PackedProfile,
    Picture, Reel, Repair, RestartFailed, Restarted, Sanitized, Screen, VncEndpoint, VncSeat,
    VncServer,
};
