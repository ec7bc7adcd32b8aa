//! The frames of a WebSocket (RFC 6455, section 5.2), as far as a proxy needs them.
//!
//! [`Frames`] follows a stream of bytes in pieces of any length. A message that is not wanted
//! passes unchanged, without a copy; a wanted message is set aside whole for inspection. Control
//! frames (ping, pong, close) always pass, also between the fragments of a message.
//!
//! The fate of a message is decided when the header of its first frame is complete. Until then no
//! byte of the message has passed.

use bytes::{Buf as _, Bytes};

/// The longest message that is set aside. Playwright sends files of up to 50 MB as Base64 in one
/// message.
pub const LONGEST: usize = 100 << 20;

/// The longest reason that fits into a close frame (RFC 6455, section 5.5).
const LONGEST_REASON: usize = 123;

/// The messages that are set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// No message at all.
    Nothing,
    /// Messages of one frame with at most this many bytes of payload.
    UpTo(u64),
    /// Every message, whatever its length.
    All,
}

/// A piece of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Bytes to be passed on.
    Pass(Bytes),
    /// A whole message that was wanted.
    Message(Message),
}

/// A message that was set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// 1 for text, 2 for binary.
    pub opcode: u8,
    /// The unmasked payload of all its frames.
    pub payload: Vec<u8>,
}

/// A message that was wanted is longer than [`LONGEST`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message is longer than {LONGEST} bytes")]
pub struct TooLong;

/// The header of a frame.
#[derive(Debug, Clone, Copy)]
struct Header {
    first: u8,
    /// Length of the payload.
    length: u64,
    mask: [u8; 4],
}

impl Header {
    /// Reads a header, once it is complete.
    fn read(bytes: &[u8]) -> Option<Self> {
        let (first, second) = (*bytes.first()?, *bytes.get(1)?);
        let extended = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let masked = second & 0x80 != 0;
        let digits = bytes.get(2..2 + extended)?;
        let length = match extended {
            0 => u64::from(second & 0x7f),
            _ => digits.iter().fold(0, |length, digit| (length << 8) | u64::from(*digit)),
        };
        let mask = match masked {
            true => *bytes.get(2 + extended..)?.first_chunk::<4>()?,
            false => [0; 4],
        };
        Some(Self { first, length, mask })
    }

    fn is_last(&self) -> bool {
        self.first & 0x80 != 0
    }

    fn is_control(&self) -> bool {
        self.first & 0x08 != 0
    }
}

/// A frame whose header is complete.
#[derive(Debug)]
struct Frame {
    header: Header,
    /// Bytes of the payload that are still to come.
    rest: u64,
    /// True if the frame belongs to a message that is set aside.
    aside: bool,
}

/// Follows the frames of one direction.
#[derive(Debug, Default)]
pub struct Frames {
    /// The incomplete header of the next frame. None of it has passed.
    header: Vec<u8>,
    frame: Option<Frame>,
    /// The message that has begun and not ended: true if it is set aside.
    message: Option<bool>,
    opcode: u8,
    payload: Vec<u8>,
}

impl Frames {
    /// Returns true if no passing message is incomplete, so that another message may be inserted.
    pub fn is_between(&self) -> bool {
        let in_frame = self.frame.as_ref().is_some_and(|frame| !frame.aside);
        !in_frame && self.message != Some(false)
    }

    /// Returns the number of bytes collected of the message that is set aside and has not ended.
    pub fn gathered(&self) -> usize {
        self.payload.len()
    }

    /// Returns the next part, taken from the front of `input`; none when nothing is left. `wanted`
    /// decides about a message that begins now.
    ///
    /// # Errors
    ///
    /// Fails for a wanted message that is longer than [`LONGEST`]. The stream cannot continue.
    pub fn next(&mut self, input: &mut Bytes, wanted: Wanted) -> Result<Option<Piece>, TooLong> {
        let mut passes = 0; // The number of leading bytes that pass.
        loop {
            let Some(frame) = &mut self.frame else {
                let (earlier, begin) = (self.header.len(), passes);
                let read = self.read_header(input.get(begin..).unwrap_or_default());
                let Some((taken, header)) = read else {
                    let part = input.split_to(passes);
                    input.clear();
                    return Ok((!part.is_empty()).then_some(Piece::Pass(part)));
                };
                let aside = self.begin(header, wanted);
                let bytes = std::mem::take(&mut self.header);
                let mut part = None;
                if aside {
                    part = (passes > 0).then(|| input.split_to(passes));
                    input.advance(taken);
                    passes = 0;
                } else if earlier > 0 {
                    input.advance(taken);
                    part = Some(bytes.into());
                } else {
                    passes += taken;
                }
                if let Some(part) = part {
                    return Ok(Some(Piece::Pass(part)));
                }
                continue;
            };
            let here = input.len() - passes;
            let taken = usize::try_from(frame.rest).unwrap_or(usize::MAX).min(here);
            if taken == 0 && frame.rest > 0 {
                break;
            }
            let at = frame.header.length - frame.rest;
            frame.rest -= u64::try_from(taken).unwrap_or(frame.rest);
            let (rest, header, aside) = (frame.rest, frame.header, frame.aside);
            if aside {
                self.collect(&input.split_to(taken), at, rest, header.mask)?;
            } else {
                passes += taken;
            }
            if rest == 0
                && let Some(message) = self.end(header, aside)
            {
                return Ok(Some(Piece::Message(message)));
            }
        }
        Ok((passes > 0).then(|| Piece::Pass(input.split_to(passes))))
    }

    /// Takes bytes until the header is complete, and returns it with their number; none if the
    /// header is not complete.
    fn read_header(&mut self, bytes: &[u8]) -> Option<(usize, Header)> {
        for (at, byte) in bytes.iter().enumerate() {
            self.header.push(*byte);
            if let Some(header) = Header::read(&self.header) {
                return Some((at + 1, header));
            }
        }
        None
    }

    /// Begins a frame, and returns true if it is set aside.
    fn begin(&mut self, header: Header, wanted: Wanted) -> bool {
        let aside = !header.is_control()
            && self.message.unwrap_or(match wanted {
                Wanted::Nothing => false,
                Wanted::UpTo(most) => header.is_last() && header.length <= most,
                Wanted::All => true,
            });
        if !header.is_control() && self.message.is_none() {
            self.message = Some(aside);
            self.opcode = header.first & 0x0f;
        }
        self.frame = Some(Frame { header, rest: header.length, aside });
        aside
    }

    /// Keeps a piece of a payload, which begins `at` bytes after the payload's beginning.
    fn collect(&mut self, bytes: &[u8], at: u64, rest: u64, mask: [u8; 4]) -> Result<(), TooLong> {
        let to_come = usize::try_from(rest).unwrap_or(usize::MAX);
        if self.payload.len().saturating_add(bytes.len()).saturating_add(to_come) > LONGEST {
            return Err(TooLong);
        }
        let mut mask = mask;
        mask.rotate_left(usize::try_from(at % 4).unwrap_or(0));
        let begin = self.payload.len();
        self.payload.extend_from_slice(bytes);
        let added = self.payload.get_mut(begin..).unwrap_or_default();
        let (words, rest) = added.as_chunks_mut::<4>();
        for word in words {
            *word = (u32::from_ne_bytes(*word) ^ u32::from_ne_bytes(mask)).to_ne_bytes();
        }
        for (byte, key) in rest.iter_mut().zip(mask) {
            *byte ^= key;
        }
        Ok(())
    }

    /// Ends the frame, and returns the message that it completes if that was set aside.
    fn end(&mut self, header: Header, aside: bool) -> Option<Message> {
        self.frame = None;
        if header.is_control() || !header.is_last() {
            return None;
        }
        self.message = None;
        let payload = std::mem::take(&mut self.payload);
        aside.then_some(Message { opcode: self.opcode, payload })
    }
}

/// Appends the length as RFC 6455, section 5.2, writes it. `flag` is the mask bit or 0.
fn put_length(frame: &mut Vec<u8>, length: usize, flag: u8) {
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length @ ..=125), _) => frame.push(flag | length),
        (_, Ok(length)) => {
            frame.push(flag | 126);
            frame.extend(length.to_be_bytes());
        }
        (_, Err(_)) => {
            frame.push(flag | 127);
            frame.extend(u64::try_from(length).unwrap_or(u64::MAX).to_be_bytes());
        }
    }
}

/// Returns a text message as a server sends it: one frame, not masked.
pub fn text_frame(text: &str) -> Vec<u8> {
    server_frame(1, text.as_bytes())
}

/// Returns a message as a server sends it: one frame, not masked.
pub fn server_frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = server_head(opcode, payload.len());
    frame.extend_from_slice(payload);
    frame
}

/// Returns the head of a frame as a server sends it before a payload of this length.
pub fn server_head(opcode: u8, length: usize) -> Vec<u8> {
    let mut head = Vec::with_capacity(10);
    head.push(0x80 | opcode);
    put_length(&mut head, length, 0);
    head
}

/// Returns the head of a frame as a client sends it before a payload of this length. Its mask is
/// zero, which is sufficient for a connection that no cache can see.
pub fn client_head(opcode: u8, length: usize) -> Vec<u8> {
    let mut head = Vec::with_capacity(14);
    head.push(0x80 | opcode);
    put_length(&mut head, length, 0x80);
    head.extend([0; 4]);
    head
}

/// Returns a message as a client sends it: one frame.
pub fn client_frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = client_head(opcode, payload.len());
    frame.extend_from_slice(payload);
    frame
}

/// Returns the close frame of a server, with the reason truncated to what fits.
pub fn close_frame(code: u16, reason: &str) -> Vec<u8> {
    let fits = |end: &usize| reason.is_char_boundary(*end);
    let end = (0..=reason.len().min(LONGEST_REASON)).rev().find(fits).unwrap_or(0);
    let reason = reason.get(..end).unwrap_or_default();
    let length = u8::try_from(2 + reason.len()).unwrap_or(2);
    let mut frame = vec![0x88, length];
    frame.extend(code.to_be_bytes());
    frame.extend_from_slice(reason.as_bytes());
    frame
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A frame with `fin` and `opcode`, as a client sends it.
    fn frame(fin: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![if fin { 0x80 | opcode } else { opcode }];
        put_length(&mut frame, payload.len(), 0x80);
        let mask = [7, 1, 200, 3];
        frame.extend(mask);
        frame.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]));
        frame
    }

    fn read(stream: &[u8], cuts: &[usize], wanted: Wanted) -> (Vec<u8>, Vec<Vec<u8>>) {
        let mut frames = Frames::default();
        let (mut passed, mut messages) = (Vec::new(), Vec::new());
        let mut from = 0;
        for to in cuts.iter().copied().chain([stream.len()]) {
            let mut input = Bytes::copy_from_slice(&stream[from..to.max(from)]);
            from = to.max(from);
            while let Some(part) = frames.next(&mut input, wanted).unwrap() {
                match part {
                    Piece::Pass(bytes) => passed.extend_from_slice(&bytes),
                    Piece::Message(message) => messages.push(message.payload),
                }
            }
            assert!(input.is_empty(), "something was left");
        }
        assert!(frames.is_between(), "the stream ends in a message");
        (passed, messages)
    }

    #[derive(Debug)]
    struct Script {
        stream: Vec<u8>,
        said: Vec<Vec<u8>>,
        pings: Vec<u8>,
        /// The bytes that pass, and the messages set aside, if messages of one frame up to 125
        /// bytes are wanted.
        long: Vec<u8>,
        short: Vec<Vec<u8>>,
    }

    fn any_stream() -> impl Strategy<Value = Script> {
        let payload = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..8),
            prop::collection::vec(any::<u8>(), 120..130),
            prop::collection::vec(any::<u8>(), 65_530..65_540),
        ];
        let fragments = prop::collection::vec(payload, 1..4);
        let message = (fragments, any::<bool>());
        prop::collection::vec(message, 1..4).prop_map(|messages| {
            let (mut stream, mut said, mut pings) = (Vec::new(), Vec::new(), Vec::new());
            let (mut long, mut short) = (Vec::new(), Vec::new());
            for (fragments, ping) in messages {
                let count = fragments.len();
                let is_short = count == 1 && fragments[0].len() <= 125;
                for (at, fragment) in fragments.iter().enumerate() {
                    let piece = frame(at + 1 == count, if at == 0 { 1 } else { 0 }, fragment);
                    stream.extend(&piece);
                    if !is_short {
                        long.extend(&piece);
                    }
                    if ping {
                        let ping = frame(true, 9, b"hello");
                        pings.extend(&ping);
                        stream.extend(&ping);
                        long.extend(&ping);
                    }
                }
                said.push(fragments.concat());
                if is_short {
                    short.push(fragments.concat());
                }
            }
            Script { stream, said, pings, long, short }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn however_a_stream_is_cut_it_passes_unchanged_or_gives_the_same_messages(
            script in any_stream(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(script.stream.len())).collect();
            cuts.sort_unstable();
            let (passed, messages) = read(&script.stream, &cuts, Wanted::Nothing);
            prop_assert!(passed == script.stream && messages.is_empty(), "not passed as it came");

            let (passed, messages) = read(&script.stream, &cuts, Wanted::All);
            prop_assert!(passed == script.pings, "not only the pings passed");
            prop_assert!(messages == script.said, "other messages");

            let (passed, messages) = read(&script.stream, &cuts, Wanted::UpTo(125));
            prop_assert!(passed == script.long, "not only the long ones passed");
            prop_assert!(messages == script.short, "not the short ones");
        }
    }

    #[test]
    fn a_stream_cut_into_single_bytes_gives_the_same_messages() {
        let stream = [frame(false, 1, b"ab"), frame(true, 0, b""), frame(true, 2, &[5; 300])];
        let stream = stream.concat();
        let cuts: Vec<_> = (1..stream.len()).collect();
        let (_, messages) = read(&stream, &cuts, Wanted::All);
        assert_eq!(messages, [b"ab".to_vec(), vec![5; 300]]);
        assert_eq!(read(&stream, &cuts, Wanted::Nothing).0, stream);
    }

    #[test]
    fn a_message_that_has_begun_to_pass_goes_on_passing() {
        let mut frames = Frames::default();
        let (first, last) = (frame(false, 1, b"a"), frame(true, 0, b"b"));
        let mut input = Bytes::from(first.clone());
        assert_eq!(frames.next(&mut input, Wanted::Nothing), Ok(Some(Piece::Pass(first.into()))));
        assert!(!frames.is_between());
        let mut input = Bytes::from(last.clone());
        assert_eq!(frames.next(&mut input, Wanted::All), Ok(Some(Piece::Pass(last.into()))));
        assert!(frames.is_between());
    }

    #[test]
    fn half_a_header_has_not_passed_and_half_a_ping_has() {
        let mut frames = Frames::default();
        let ping = frame(true, 9, b"hello");
        let mut input = Bytes::copy_from_slice(&ping[..3]);
        assert_eq!(frames.next(&mut input, Wanted::All), Ok(None));
        assert!(frames.is_between());
        let mut input = Bytes::copy_from_slice(&ping[3..7]);
        let passed = Bytes::copy_from_slice(&ping[..6]);
        assert_eq!(frames.next(&mut input, Wanted::All), Ok(Some(Piece::Pass(passed))));
        let passed = Bytes::copy_from_slice(&ping[6..7]);
        assert_eq!(frames.next(&mut input, Wanted::All), Ok(Some(Piece::Pass(passed))));
        assert!(!frames.is_between());
    }

    #[test]
    fn a_length_that_cannot_be_is_refused_before_it_is_waited_for() {
        let long = [0x81, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5];
        let mut input = Bytes::copy_from_slice(&long);
        assert_eq!(Frames::default().next(&mut input, Wanted::All), Err(TooLong));
        // A message that is not wanted passes.
        let mut input = Bytes::copy_from_slice(&long);
        let passed = Bytes::copy_from_slice(&long);
        assert_eq!(
            Frames::default().next(&mut input, Wanted::UpTo(9)),
            Ok(Some(Piece::Pass(passed)))
        );
    }

    #[test]
    fn a_head_says_how_long_its_frame_is() {
        let head = |length| server_head(2, length);
        assert_eq!(head(0), [0x82, 0]);
        assert_eq!(head(125), [0x82, 125]);
        assert_eq!(head(126), [0x82, 126, 0, 126]);
        assert_eq!(head(65_535), [0x82, 126, 0xff, 0xff]);
        assert_eq!(head(65_536), [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn a_close_frame_has_its_code_and_as_much_of_its_reason_as_fits() {
        assert_eq!(close_frame(1000, "over"), b"\x88\x06\x03\xe8over");
        let long = close_frame(1000, &"é".repeat(100));
        assert_eq!((long.len(), long[1]), (2 + 2 + 122, 124));
    }

    #[test]
    fn what_is_written_is_read_back() {
        for length in [0, 125, 126, 65_535, 65_536] {
            let text = "x".repeat(length);
            let bytes = text.clone().into_bytes();
            assert_eq!(read(&text_frame(&text), &[], Wanted::All).1, std::slice::from_ref(&bytes));
            let sent = client_frame(2, &bytes);
            assert_eq!(sent[1] & 0x80, 0x80, "a client's frame is masked");
            assert_eq!(read(&sent, &[], Wanted::All).1, [bytes]);
        }
    }
}
