//! Debug sessions: the long-lived session that a person has for a workflow.
//!
//! A debug session that has died, expired or been closed is replaced at the next use. The database
//! decides between servers, [`Turns`] between requests of one server.

mod keeping;
mod opened;
mod turns;

pub use self::keeping::{end, live, open, replace, sweep, used};
pub use self::opened::{Opened, Reason, Replaced};
pub use self::turns::{Owner, Turns};
