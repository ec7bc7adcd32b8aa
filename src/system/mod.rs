//! The outside world: processes, displays, browsers, pictures.
//!
//! This floor does not depend on actors, tables or HTTP. It reports to upper floors by return
//! values, or by channels whose senders it was given.

pub mod beneath;
pub mod browser;
pub mod capture;
pub mod cdp;
pub mod clipboard;
pub mod confine;
pub mod desktop;
pub mod display;
pub mod doctor;
pub mod egress;
mod executable;
pub mod extensions;
mod failure;
pub mod film;
pub mod handover;
pub mod input;
pub mod leaks;
pub mod limits;
pub mod objects;
mod proc;
pub mod process;
pub mod profile;
pub mod programs;
pub mod python;
mod readiness;
pub mod seam;
pub mod settings;
pub mod stand_ins;
pub mod storage_state;
pub mod vnc;
pub mod windows;

pub use settings::Settings;
