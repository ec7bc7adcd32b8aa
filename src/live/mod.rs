//! What flows between people, drivers and a session: the display over RFB, pictures, input, messages,
//! and DevTools.
//!
//! This floor gets sockets whose clients `http` has admitted, and serves them until either side
//! leaves or the client's credentials end. It reads no HTTP requests but those of handshakes, and
//! its errors are close codes.

pub mod bridge;
pub mod devtools;
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
