//! A copied text as another client of the display transfers it: in one piece or several (ICCCM,
//! section 2.7.2). Its bytes are untrusted.

/// The longest text that is read, in bytes; no other part of the server accepts more.
pub const LONGEST: usize = 1 << 20;

/// The pieces of a text that have arrived so far.
#[derive(Debug, Default)]
pub struct Pieces(Vec<u8>);

impl Pieces {
    /// Adds a piece. A text that is too long is still received to its end, because its owner would
    /// block otherwise. At most one piece beyond [`LONGEST`] is kept of it.
    pub fn add(&mut self, piece: &[u8]) {
        if self.0.len() <= LONGEST {
            self.0.extend_from_slice(piece);
        }
    }

    /// The text, if it can be passed on: it is neither empty nor too long.
    pub fn end(self) -> Option<String> {
        Self::whole(self.0)
    }

    /// The text of a transfer in one piece, under the same limits.
    pub fn whole(bytes: Vec<u8>) -> Option<String> {
        if bytes.is_empty() || bytes.len() > LONGEST {
            return None;
        }
        Some(
            String::from_utf8(bytes)
                .unwrap_or_else(|wrong| String::from_utf8_lossy(wrong.as_bytes()).into_owned()),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_the_longest_length_is_passed_on_and_no_longer_one() {
        let mut pieces = Pieces::default();
        pieces.add(&vec![b'a'; LONGEST]);
        assert_eq!(pieces.end().map(|text| text.len()), Some(LONGEST));
        let mut pieces = Pieces::default();
        for _ in 0..3 {
            pieces.add(&vec![b'a'; LONGEST]);
        }
        assert_eq!(pieces.0.len(), 2 * LONGEST);
        assert_eq!(pieces.end(), None);
        assert_eq!(Pieces::default().end(), None);
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        assert_eq!(Pieces::whole(b"a\xffb".to_vec()).as_deref(), Some("a\u{fffd}b"));
    }
}
