//! The streams between people, drivers and a session: the display over RFB, pictures, input, messages,
//! and DevTools.
//!
//! `http` admits the clients and passes their sockets to this floor, which serves them until either side
//! leaves or the client's credentials end. Of HTTP, this floor reads only requests of handshakes. Its
//! errors are close codes.

pub mod agents;
pub mod bridge;
pub mod devtools;
mod dropping;
pub mod input;
mod keepalive;
mod line;
pub mod messages;
mod pages;
pub mod pictures;
mod run;
mod screencast;
pub mod state;
mod subject;
pub mod viewer;
pub mod vnc;
