//! The password of a session's VNC server, which a rotation replaces.

use std::sync::Arc;

use parking_lot::Mutex;
use rand::Rng as _;
use rand::distr::Alphanumeric;
use secrecy::{ExposeSecret as _, SecretString};

use crate::domain::rfb::vnc_authentication;
use crate::system::settings::VncProgram;

/// The present password, and the number of the rotation that it belongs to. Clones are the same.
#[derive(Debug, Clone)]
pub struct Password(Arc<Mutex<(SecretString, i64)>>);

impl Password {
    /// A password that exists already.
    pub fn new(text: SecretString, rotation: i64) -> Self {
        Self(Arc::new(Mutex::new((text, rotation))))
    }

    /// A new password of eight characters, the most that the protocol can use.
    pub fn fresh(rotation: i64) -> Self {
        Self::new(random(), rotation)
    }

    pub fn text(&self) -> SecretString {
        self.0.lock().0.clone()
    }

    /// The text in clear, for the files of the desktop.
    pub fn reveal(&self) -> String {
        self.0.lock().0.expose_secret().to_owned()
    }

    /// The rotation that it belongs to.
    pub fn rotation(&self) -> i64 {
        self.0.lock().1
    }

    /// Puts another one in its place.
    pub fn replace(&self, text: SecretString, rotation: i64) {
        *self.0.lock() = (text, rotation);
    }
}

/// Returns a new password of eight letters and digits.
pub fn random() -> SecretString {
    let characters = rand::rng().sample_iter(Alphanumeric).take(8).map(char::from);
    SecretString::from(characters.collect::<String>())
}

/// The contents of the file with the password: for x11vnc a line, for TigerVNC the eight bytes that
/// `vncpasswd` would write, which is DES with a key that everybody knows. Both read it again for each client.
pub fn file(program: VncProgram, password: &SecretString) -> Vec<u8> {
    /// RealVNC's, as in TigerVNC's `Password.cxx`; there the bits of each byte are reversed.
    const KNOWN_TO_ALL: [u8; 8] = [23, 82, 107, 6, 35, 78, 88, 7];
    match program {
        VncProgram::X11vnc => format!("{}\n", password.expose_secret()).into_bytes(),
        VncProgram::Tigervnc => {
            let mut plain = [0; 16];
            for (to, from) in plain.iter_mut().take(8).zip(password.expose_secret().bytes()) {
                *to = from;
            }
            vnc_authentication(plain, &KNOWN_TO_ALL).into_iter().take(8).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_written_as_each_server_reads_it() {
        let password = SecretString::from("password");
        assert_eq!(file(VncProgram::X11vnc, &password), b"password\n");
        // As `vncpasswd -f` writes it.
        let obscured = [0xdb, 0xd8, 0x3c, 0xfd, 0x72, 0x7a, 0x14, 0x58];
        assert_eq!(file(VncProgram::Tigervnc, &password), obscured);
    }

    #[test]
    fn every_clone_has_the_present_password_and_none_shows_it() {
        let password = Password::fresh(0);
        let clone = password.clone();
        password.replace("hunter2!".into(), 3);
        assert_eq!((clone.reveal().as_str(), clone.rotation()), ("hunter2!", 3));
        assert!(!format!("{clone:?}").contains("hunter2"));
    }
}
