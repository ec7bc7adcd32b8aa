//! Drives the pages of a browser over DevTools.
//!
//! [`Browser`] follows the tabs: it knows the current tab, answers dialogs, and counts requests in
//! progress. [`navigation`] opens pages, [`frame`] finds elements and waits for them, [`input`] acts
//! on them as a person would, and [`picture`] takes screenshots and prints. [`snapshot`] describes a
//! page as text, with references to its elements; [`tab_strip`] opens, selects and closes tabs. `watching` records
//! network traffic and console output where a client asks for it.
//!
//! Invariants:
//! 1. No call waits for ever: each takes a deadline, and a dialog is answered while it is open.
//! 2. Events are applied in the order in which they arrived, by one reader at a time. An action
//!    applies all events received before its answer, so its effects are known when it resolves.
//! 3. An action that is dropped half-way leaves no task behind.

mod boxes;
mod browser;
mod console;
mod cookies;
pub mod downloads;
mod dragging;
mod error;
mod forms;
pub mod frame;
pub mod history;
pub mod input;
pub mod keys;
pub mod locator;
mod marking;
pub mod navigation;
mod outline;
pub mod picture;
pub mod recent;
mod references;
mod seeking;
pub mod snapshot;
pub mod tab_strip;
mod tabs;
mod traffic;
mod watching;
mod worlds;

#[cfg(test)]
mod acting_tests;
#[cfg(test)]
mod agent_tests;
#[cfg(test)]
mod tests;

pub use browser::Browser;
pub use error::PageError;
pub use watching::{Wants, Watching};
