//! The content of an object as a stream.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use tokio::time::timeout;

use super::error::ObjectError;

/// The content of an object, or a range of it.
pub struct Reading {
    /// The size of the whole object in bytes.
    pub size: u64,
    /// The range of bytes that follows.
    pub range: Range<u64>,
    /// The bytes of the range. The stream ends with an error unless all of them arrived.
    pub bytes: BoxStream<'static, Result<Bytes, ObjectError>>,
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading").field("size", &self.size).field("range", &self.range).finish()
    }
}

/// A stream that fails if a piece takes longer than `pause`, or if the length is not `length`.
pub(super) fn checked<E: 'static>(
    store: String,
    pieces: BoxStream<'static, Result<Bytes, E>>,
    length: u64,
    pause: Duration,
    failure: impl Fn(E) -> ObjectError + Send + 'static,
) -> BoxStream<'static, Result<Bytes, ObjectError>> {
    let away = move |cause: String| ObjectError::StoreAway { store: store.clone(), cause };
    let start = (pieces, 0_u64, away, failure);
    stream::try_unfold(start, move |(mut pieces, mut sent, away, failure)| async move {
        let piece = match timeout(pause, pieces.next()).await {
            Err(_late) => {
                let seconds = pause.as_secs();
                return Err(away(format!("nothing more was sent within {seconds} s")));
            }
            Ok(None) if sent == length => return Ok(None),
            Ok(None) => return Err(away(format!("only {sent} of {length} bytes were sent"))),
            Ok(Some(Err(cause))) => return Err(failure(cause)),
            Ok(Some(Ok(piece))) => piece,
        };
        sent = sent.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        if sent > length {
            return Err(away(format!("more than {length} bytes were sent")));
        }
        Ok(Some((piece, (pieces, sent, away, failure))))
    })
    .boxed()
}
