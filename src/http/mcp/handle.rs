//! Handles: the names by which agents hold browsers.
//!
//! A handle is the id of a session with a random suffix, `pbs_….k3x9q2bd`. It names a lease whose secret the server
//! derives from it on behalf of the client's key, so that a handle is short, is of no use without the key, and
//! outlives a restart of the server, which stores no handles.

use std::fmt;
use std::str::FromStr;

use actix_web::http::StatusCode;

use crate::domain::ids::SessionId;
use crate::http::problem::Problem;

/// The characters of suffixes: no vowels, so that no words appear.
const LETTERS: &[u8] = b"bcdfghjkmnpqrstvwxz23456789";
const SUFFIX: usize = 8;

/// The name by which an agent holds a browser.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Handle {
    /// The session that is held.
    pub session: SessionId,
    suffix: String,
}

impl Handle {
    /// Makes a new handle for a session.
    pub fn new(session: SessionId) -> Self {
        let letter = || LETTERS.get(rand::random_range(0..LETTERS.len())).copied().map(char::from);
        Self { session, suffix: (0..SUFFIX).filter_map(|_index| letter()).collect() }
    }

    /// Returns a name for the holder that others see. It does not reveal the handle.
    pub fn tag(&self) -> String {
        let hash = blake3::hash(self.to_string().as_bytes()).to_hex();
        hash.chars().take(6).collect()
    }

    /// Returns the part of the name of a lease that is this handle's.
    pub fn suffix(&self) -> &str {
        &self.suffix
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.session, self.suffix)
    }
}

impl FromStr for Handle {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let wrong = || {
            let detail = format!(
                "`{text}` is not a handle: `session_create` and `session_open` answer one, as `pbs_….xxxxxxxx`"
            );
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "handle_invalid", detail)
        };
        let (session, suffix) = text.trim().split_once('.').ok_or_else(wrong)?;
        let is_suffix = suffix.len() == SUFFIX && suffix.bytes().all(|it| LETTERS.contains(&it));
        if !is_suffix {
            return Err(wrong());
        }
        let session = session.parse().map_err(|_odd| wrong())?;
        Ok(Self { session, suffix: suffix.to_owned() })
    }
}

/// 409 for a handle that does not hold its session any more.
pub(super) fn lapsed(handle: &Handle) -> Problem {
    let detail = format!(
        "{handle} does not hold its browser any more: it was released, or no call came in time. Take the session \
         again with `session_open`"
    );
    Problem::new(StatusCode::CONFLICT, "handle_lapsed", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_are_read_as_they_are_written() {
        let handle = Handle::new(SessionId::from(7));
        assert_eq!(handle.to_string().parse::<Handle>().unwrap(), handle);
        assert_ne!(Handle::new(SessionId::from(7)), handle);
        for wrong in
            ["", "pbs_7", "pbs_7.short", "pbs_7.UPPERCAS", "x.bcdfghjk", "pbs_7.bcdfghjk.x"]
        {
            let refused = wrong.parse::<Handle>().unwrap_err();
            assert_eq!(refused.code, "handle_invalid", "{wrong}");
        }
    }
}
