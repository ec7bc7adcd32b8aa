//! Drives the pages of a browser over DevTools.
//!
//! [`Browser`] follows the tabs: it knows which one is being worked in, answers dialogs, and counts
//! what is being loaded. [`navigation`] opens pages, [`frame`] finds elements and waits for them,
//! [`input`] acts on them as a person's hands would, and [`picture`] takes pictures and prints;
//! `watching` keeps what pages ask of the network and say, where that is wanted.
//!
//! Invariants:
//! 1. No call waits for ever: each takes a deadline, and a dialog is answered while it is open.
//! 2. Events are taken up in the order in which they came, by one reader at a time; an action looks
//!    at all that came before its answer, so that what it caused is known when it resolves.
//! 3. Whatever is dropped half-way leaves no task behind.

mod browser;
mod console;
mod cookies;
pub mod downloads;
mod error;
pub mod frame;
pub mod input;
pub mod keys;
pub mod locator;
pub mod navigation;
pub mod picture;
mod tabs;
mod traffic;
mod watching;

#[cfg(test)]
mod tests;

pub use browser::Browser;
pub use error::PageError;
pub use watching::Wants;
