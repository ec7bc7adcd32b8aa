//! The cookie of a display: the secret that its clients present.

use std::os::unix::net::UnixStream;

use x11rb::errors::ConnectError;
use x11rb::rust_connection::{DefaultStream, RustConnection};

/// The name of the only authorization protocol that is used.
pub(in crate::system) const COOKIE_NAME: &[u8] = b"MIT-MAGIC-COOKIE-1";

/// The secret that a client of a display presents.
pub type Cookie = [u8; 16];

/// The content of an authority file with one cookie for every address and every display. The format
/// is described in `Xau(3)`: big-endian lengths before address, number, name and data.
pub fn authority(cookie: &Cookie) -> Vec<u8> {
    const FAMILY_WILD: [u8; 2] = [0xff, 0xff];
    const NO_ADDRESS: [u8; 2] = [0, 0];
    const NO_NUMBER: [u8; 2] = [0, 0];
    const NAME_LENGTH: [u8; 2] = [0, 18];
    const COOKIE_LENGTH: [u8; 2] = [0, 16];
    [
        FAMILY_WILD.as_slice(),
        &NO_ADDRESS,
        &NO_NUMBER,
        &NAME_LENGTH,
        COOKIE_NAME,
        &COOKIE_LENGTH,
        cookie,
    ]
    .concat()
}

/// The cookie in an authority file that [`authority`] made.
pub fn cookie_of(authority: &[u8]) -> Option<Cookie> {
    authority.last_chunk().copied().filter(|cookie| self::authority(cookie) == authority)
}

/// Connects to an X server over a socket, as a client of its display.
pub(in crate::system) fn client(
    stream: UnixStream,
    cookie: &Cookie,
) -> Result<RustConnection, ConnectError> {
    let (stream, _peer) = DefaultStream::from_unix_stream(stream)?;
    let (name, cookie) = (COOKIE_NAME.to_vec(), cookie.to_vec());
    RustConnection::connect_to_stream_with_auth_info(stream, 0, name, cookie)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_file_holds_one_cookie_for_everything() {
        let cookie = [7; 16];
        let bytes = authority(&cookie);
        assert_eq!(&bytes[..8], b"\xff\xff\0\0\0\0\0\x12");
        assert_eq!(&bytes[8..26], b"MIT-MAGIC-COOKIE-1");
        assert_eq!(&bytes[26..], [&[0, 16][..], &cookie].concat());
        assert_eq!(usize::from(bytes[7]), COOKIE_NAME.len());
        assert_eq!(cookie_of(&bytes), Some(cookie));
        assert_eq!(cookie_of(&bytes[1..]), None);
    }
}
