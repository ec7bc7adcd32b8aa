//! The VNC password of a desktop that runs is replaced.
//!
//! ```text
//! file for the VNC server --> this server's own copy --> direct clients cut --> desktop.json, with the number
//! ```
//!
//! The number in `desktop.json` comes last: a server that takes over a desktop with an earlier number than the
//! row has does all of it again. Viewers by the bridge stay, unless a client of its own was connected: no VNC
//! server here cuts one client alone, so it starts again, or disconnects all.

use std::sync::Arc;

use secrecy::SecretString;

use super::directory::Directory;
use super::record::Record;
use crate::domain::session::Failure;
use crate::system::failure::{directory as directory_failed, failure};
use crate::system::settings::VncProgram;
use crate::system::vnc::{self, Password, Server};

/// The parts of a desktop that have to do with its VNC password.
pub(super) struct Rotating {
    pub directory: Directory,
    pub password: Password,
    pub vnc: Arc<dyn Server>,
    pub record: Arc<Record>,
}

impl Rotating {
    pub(super) async fn rotate(self, rotation: i64) -> Result<SecretString, Failure> {
        let Self { directory, password, vnc, record } = self;
        let program = match vnc.is_the_display() {
            true => VncProgram::Tigervnc,
            false => VncProgram::X11vnc,
        };
        let text = vnc::password::random();
        let path = directory.vnc_password();
        directory
            .replace_vnc_password(&vnc::password::file(program, &text))
            .map_err(|cause| directory_failed(&path, &cause))?;
        // The former rotation, until no client is connected with the former password.
        password.replace(text.clone(), password.rotation());
        let left = vnc.disconnect_direct().await;
        if !left.is_empty() {
            return Err(failure("vnc", "vnc_clients_left", left.join("; ")));
        }
        let plain = password.reveal();
        record
            .vnc_password(plain, rotation)
            .map_err(|cause| directory_failed(directory.path(), &cause))?;
        password.replace(text.clone(), rotation);
        Ok(text)
    }
}
