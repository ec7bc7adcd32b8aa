//! The end of a message body (RFC 9112, section 6). Bytes are forwarded unchanged, and counted.

/// The delimiter of a body, and the amount that is still to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Framing {
    /// A body with `Content-Length`: the bytes that are still to come.
    Length(u64),
    /// A body with `Transfer-Encoding: chunked`.
    Chunked(Chunked),
    /// A body that ends with the stream.
    UntilClose,
}

/// The parser's position in a chunked body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chunked {
    /// In the digits of a chunk size; `digits` bounds their number.
    Size {
        size: u64,
        digits: u8,
    },
    /// In an extension, up to the line's end.
    Extension {
        size: u64,
    },
    /// Before the line feed of a size.
    SizeLineFeed {
        size: u64,
    },
    Data {
        left: u64,
    },
    /// After the data of a chunk.
    DataReturn,
    DataLineFeed,
    /// At the start of a line of the trailer; an empty one is the end.
    TrailerStart,
    TrailerLine,
    TrailerLineFeed,
    Complete,
    Broken,
}

impl Framing {
    /// The framing of a message without a body.
    pub const NONE: Self = Self::Length(0);

    /// A chunked body at its start.
    pub const CHUNKED: Self = Self::Chunked(Chunked::Size { size: 0, digits: 0 });

    /// Returns the number of these bytes that belong to the body.
    pub fn take(&mut self, bytes: &[u8]) -> usize {
        match self {
            Self::UntilClose => bytes.len(),
            Self::Length(left) => {
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left = left.saturating_sub(u64::try_from(count).unwrap_or(u64::MAX));
                count
            }
            Self::Chunked(place) => place.take(bytes),
        }
    }

    /// True if the whole body has been read.
    pub fn is_complete(&self) -> bool {
        match self {
            Self::UntilClose => false,
            Self::Length(left) => *left == 0,
            Self::Chunked(place) => *place == Chunked::Complete,
        }
    }

    /// True if the stream may end here.
    pub fn ended(&self) -> bool {
        *self == Self::UntilClose || self.is_complete()
    }

    /// True after bytes that are not a valid chunked body.
    pub fn is_broken(&self) -> bool {
        *self == Self::Chunked(Chunked::Broken)
    }
}

impl Chunked {
    fn take(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while let Some(rest) = bytes.get(taken..).filter(|rest| !rest.is_empty()) {
            match *self {
                Self::Complete | Self::Broken => break,
                Self::Data { left } => {
                    let count = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                    let left = left.saturating_sub(u64::try_from(count).unwrap_or(u64::MAX));
                    *self = if left == 0 { Self::DataReturn } else { Self::Data { left } };
                    taken += count;
                }
                Self::Size { .. }
                | Self::Extension { .. }
                | Self::SizeLineFeed { .. }
                | Self::DataReturn
                | Self::DataLineFeed
                | Self::TrailerStart
                | Self::TrailerLine
                | Self::TrailerLineFeed => {
                    let Some(byte) = rest.first() else { break };
                    *self = self.after(*byte);
                    taken += 1;
                }
            }
        }
        taken
    }

    fn after(self, byte: u8) -> Self {
        let started = |size: u64| match size {
            0 => Self::TrailerStart,
            left => Self::Data { left },
        };
        match (self, byte) {
            (Self::Size { size, digits }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F')
                if digits < 15 =>
            {
                let digit = char::from(byte).to_digit(16).map_or(0, u64::from);
                Self::Size { size: size * 16 + digit, digits: digits + 1 }
            }
            (Self::Size { size, digits: 1.. }, b'\r') => Self::SizeLineFeed { size },
            (Self::Size { size, digits: 1.. }, b';' | b' ' | b'\t') => Self::Extension { size },
            (Self::Extension { size }, b'\r') => Self::SizeLineFeed { size },
            (Self::Extension { .. }, b'\n') => Self::Broken,
            (Self::Extension { size }, _) => Self::Extension { size },
            (Self::SizeLineFeed { size }, b'\n') => started(size),
            (Self::DataReturn, b'\r') => Self::DataLineFeed,
            (Self::DataLineFeed, b'\n') => Self::Size { size: 0, digits: 0 },
            (Self::TrailerStart, b'\r') => Self::TrailerLineFeed,
            (Self::TrailerStart | Self::TrailerLine, b'\n') => {
                if self == Self::TrailerStart {
                    Self::Broken
                } else {
                    Self::TrailerStart
                }
            }
            (Self::TrailerStart | Self::TrailerLine, _) => Self::TrailerLine,
            (Self::TrailerLineFeed, b'\n') => Self::Complete,
            (
                Self::Size { .. }
                | Self::SizeLineFeed { .. }
                | Self::DataReturn
                | Self::DataLineFeed
                | Self::TrailerLineFeed
                | Self::Data { .. }
                | Self::Complete
                | Self::Broken,
                _,
            ) => Self::Broken,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn body(chunks: &[Vec<u8>], trailer: &str) -> Vec<u8> {
        let mut body = Vec::new();
        for chunk in chunks.iter().filter(|chunk| !chunk.is_empty()) {
            body.extend_from_slice(format!("{:x};a=b\r\n", chunk.len()).as_bytes());
            body.extend_from_slice(chunk);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(format!("0\r\n{trailer}\r\n").as_bytes());
        body
    }

    #[test]
    fn what_is_not_chunked_is_broken() {
        for text in ["x", "\r\n", "5\n", "5\r\nabcdeX", "0\r\n\n", "ffffffffffffffff\r\n", "-1\r\n"]
        {
            let mut framing = Framing::CHUNKED;
            framing.take(text.as_bytes());
            assert!(framing.is_broken(), "{text:?}: {framing:?}");
        }
    }

    proptest! {
        #[test]
        fn a_body_ends_at_the_same_byte_however_it_is_cut(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6),
            has_trailer: bool,
            cuts in prop::collection::vec(1usize..9, 1..200),
        ) {
            let expected = body(&chunks, if has_trailer { "a: b\r\nc: d\r\n" } else { "" });
            let mut whole = expected.clone();
            whole.extend_from_slice(b"GET / HTTP/1.1\r\n");
            let mut framing = Framing::CHUNKED;
            let (mut taken, mut cuts) = (0, cuts.iter().cycle());
            while !framing.is_complete() {
                prop_assert!(!framing.is_broken());
                let end = (taken + cuts.next().unwrap()).min(whole.len());
                taken += framing.take(&whole[taken..end]);
            }
            prop_assert_eq!(taken, expected.len());
        }

        #[test]
        fn a_length_takes_no_more(length in 0u64..50, bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let mut framing = Framing::Length(length);
            let taken = framing.take(&bytes);
            prop_assert_eq!(taken, bytes.len().min(usize::try_from(length).unwrap()));
        }
    }
}
