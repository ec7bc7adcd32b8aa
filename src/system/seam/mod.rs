//! The interface between the actors and the programs of a session.
//!
//! [`Launch`] starts or adopts a desktop; [`Desktop`] is one that is up. The other traits are its
//! parts. [`desktop`](super::desktop) and the modules of its parts implement them; the tests of
//! actors replace them, and need no real processes.

mod desktop;
mod egress;
mod profile;
mod screen;
mod stages;
mod vnc;

pub use desktop::{
    AdoptError, Death, Desktop, Files, Launch, LaunchError, Order, Repair, RestartFailed,
    Restarted, Sanitized,
};
pub use egress::{Egress, EgressError, EgressOutcome, EgressStatus};
pub use profile::{AfterPacking, PackAtEnd, PackedProfile};
pub use screen::{CaptureError, Copies, Following, Format, Picture, Reel, Screen};
pub use stages::{Stages, Staging};
pub use vnc::{VncEndpoint, VncSeat, VncServer};
