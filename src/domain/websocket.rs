//! The frames of a WebSocket (RFC 6455, section 5.2), as far as one who passes them on needs them.
//!
//! [`Frames`] follows a stream of bytes, however it is cut. What is not asked for passes as it
//! came, without a copy; a message that is asked for is put aside whole, to be judged. Frames of
//! control (ping, pong, close) pass at all times, also between the fragments of a message.
//!
//! What a message becomes is decided at its first byte: the bytes that have passed cannot be
//! called back.

use bytes::{Buf as _, Bytes};

/// The longest message that is put aside.
pub const LONGEST: usize = 64 << 20;

/// How much of a reason fits into the frame that closes (RFC 6455, section 5.5).
const LONGEST_REASON: usize = 123;

/// What the bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// To be passed on.
    Pass(Bytes),
    /// A whole message that was asked for.
    Message {
        /// As it came, to be passed on later.
        raw: Vec<u8>,
        /// What it says.
        payload: Vec<u8>,
    },
}

/// A message that was asked for is longer than [`LONGEST`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message is longer than {LONGEST} bytes")]
pub struct TooLong;

/// Follows the frames of one direction.
#[derive(Debug, Default)]
pub struct Frames {
    /// The header of the frame so far; empty between frames.
    header: Vec<u8>,
    /// How much of the frame's payload is to come, once the header is whole.
    rest: u64,
    /// Whether the header is whole and payload is to come.
    in_payload: bool,
    /// Whether a message has begun and has not ended.
    in_message: bool,
    /// Whether the present message is put aside.
    aside: bool,
    /// Whether the present frame is of control.
    control: bool,
    raw: Vec<u8>,
    payload: Vec<u8>,
    /// How much of the present frame's payload has been unmasked.
    unmasked: usize,
}

impl Frames {
    /// Whether nothing that passes has begun and not ended, so that another message may be put in
    /// between.
    pub fn is_between(&self) -> bool {
        let in_a_frame = self.in_payload || !self.header.is_empty();
        let passes = self.control || !self.aside;
        let in_one_that_passes = self.in_message && !self.aside;
        !(in_one_that_passes || in_a_frame && passes)
    }

    /// The next part of `input`, which is taken from its front; none when nothing is left. A
    /// message that begins now is put aside if it is `wanted`.
    pub fn next(&mut self, input: &mut Bytes, wanted: bool) -> Result<Option<Part>, TooLong> {
        let mut at = 0;
        loop {
            if self.header.is_empty() && !self.in_payload {
                let Some(first) = input.get(at).copied() else { break };
                let control = first & 0x08 != 0;
                let begins = !control && !self.in_message;
                let aside = if begins { wanted } else { self.aside };
                if aside && !control && at > 0 {
                    break; // What came before passes first.
                }
                self.control = control;
                self.aside = aside;
                if !control {
                    self.in_message = true;
                }
            }
            let collected = self.aside && !self.control;
            let taken = self.step(input.get(at..).unwrap_or_default());
            if taken == 0 && !self.frame_is_over() {
                break;
            }
            if collected {
                self.collect(input, taken)?;
            } else {
                at += taken;
            }
            if self.frame_is_over() && self.end_frame() {
                let (raw, payload) =
                    (std::mem::take(&mut self.raw), std::mem::take(&mut self.payload));
                return Ok(Some(Part::Message { raw, payload }));
            }
        }
        Ok((at > 0).then(|| Part::Pass(input.split_to(at))))
    }

    /// Takes what belongs to the header, or what belongs to the payload; says how much.
    fn step(&mut self, bytes: &[u8]) -> usize {
        if self.in_payload {
            let taken = usize::try_from(self.rest).unwrap_or(usize::MAX).min(bytes.len());
            self.rest -= u64::try_from(taken).unwrap_or(self.rest);
            return taken;
        }
        let mut taken = 0;
        for byte in bytes {
            self.header.push(*byte);
            taken += 1;
            if let Some(length) = self.length() {
                self.rest = length;
                self.in_payload = true;
                self.unmasked = 0;
                break;
            }
        }
        taken
    }

    /// The payload's length, once the header is whole.
    fn length(&self) -> Option<u64> {
        let second = *self.header.get(1)?;
        let extended = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let masked = second & 0x80 != 0;
        let whole = 2 + extended + if masked { 4 } else { 0 };
        if self.header.len() < whole {
            return None;
        }
        if extended == 0 {
            return Some(u64::from(second & 0x7f));
        }
        let digits = self.header.get(2..2 + extended)?;
        Some(digits.iter().fold(0, |length, digit| (length << 8) | u64::from(*digit)))
    }

    fn collect(&mut self, input: &mut Bytes, taken: usize) -> Result<(), TooLong> {
        let bytes = input.get(..taken).unwrap_or_default();
        self.raw.extend_from_slice(bytes);
        let to_come = usize::try_from(self.rest).unwrap_or(usize::MAX);
        if self.raw.len().saturating_add(to_come) > LONGEST {
            return Err(TooLong);
        }
        // The header's own bytes come through here too, before `unmasked` counts any.
        let of_payload = self.payload_of(bytes.len());
        let mask = self.mask();
        for byte in bytes.iter().skip(bytes.len().saturating_sub(of_payload)) {
            let key = mask.get(self.unmasked % 4).copied().unwrap_or(0);
            self.payload.push(byte ^ key);
            self.unmasked += 1;
        }
        input.advance(taken);
        Ok(())
    }

    /// How many of the bytes just taken are payload: a step takes either header or payload.
    fn payload_of(&self, taken: usize) -> usize {
        let whole = self.length().unwrap_or(0);
        let so_far = whole.saturating_sub(self.rest);
        let counted = u64::try_from(self.unmasked).unwrap_or(u64::MAX);
        usize::try_from(so_far.saturating_sub(counted)).unwrap_or(0).min(taken)
    }

    fn mask(&self) -> [u8; 4] {
        let masked = self.header.get(1).is_some_and(|second| second & 0x80 != 0);
        let key = self.header.last_chunk::<4>().filter(|_key| masked && self.in_payload);
        key.copied().unwrap_or_default()
    }

    fn frame_is_over(&self) -> bool {
        self.in_payload && self.rest == 0
    }

    /// Ends the frame; says whether a message that was put aside is whole.
    fn end_frame(&mut self) -> bool {
        let last = self.header.first().is_some_and(|first| first & 0x80 != 0);
        self.header.clear();
        self.in_payload = false;
        if self.control {
            self.control = false;
            return false;
        }
        if last {
            self.in_message = false;
        }
        last && self.aside
    }
}

/// A whole text message as a server sends it: one frame, not masked.
pub fn text_frame(text: &str) -> Vec<u8> {
    let mut frame = vec![0x81];
    match (u8::try_from(text.len()), u16::try_from(text.len())) {
        (Ok(length @ ..=125), _) => frame.push(length),
        (_, Ok(length)) => {
            frame.push(126);
            frame.extend(length.to_be_bytes());
        }
        (_, Err(_)) => {
            frame.push(127);
            frame.extend(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
        }
    }
    frame.extend_from_slice(text.as_bytes());
    frame
}

/// The frame by which a server closes, with the reason cut to what fits.
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

    /// `fin`, opcode, payload, as a client sends it.
    fn frame(fin: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![if fin { 0x80 | opcode } else { opcode }];
        let length = payload.len();
        match (u8::try_from(length), u16::try_from(length)) {
            (Ok(short @ 0..=125), _) => frame.push(0x80 | short),
            (_, Ok(middling)) => {
                frame.push(0x80 | 126);
                frame.extend(middling.to_be_bytes());
            }
            (_, Err(_)) => {
                frame.push(0x80 | 127);
                frame.extend(u64::try_from(length).unwrap().to_be_bytes());
            }
        }
        let mask = [7, 1, 200, 3];
        frame.extend(mask);
        frame.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]));
        frame
    }

    fn read(stream: &[u8], cuts: &[usize], wanted: bool) -> (Vec<u8>, Vec<Vec<u8>>, Vec<u8>) {
        let mut frames = Frames::default();
        let (mut passed, mut messages, mut raws) = (Vec::new(), Vec::new(), Vec::new());
        let mut from = 0;
        for to in cuts.iter().copied().chain([stream.len()]) {
            let mut input = Bytes::copy_from_slice(&stream[from..to.max(from)]);
            from = to.max(from);
            while let Some(part) = frames.next(&mut input, wanted).unwrap() {
                match part {
                    Part::Pass(bytes) => passed.extend_from_slice(&bytes),
                    Part::Message { raw, payload } => {
                        raws.extend(raw);
                        messages.push(payload);
                    }
                }
            }
            assert!(input.is_empty(), "something was left");
        }
        assert!(frames.is_between(), "the stream ends in a message");
        (passed, messages, raws)
    }

    fn any_stream() -> impl Strategy<Value = (Vec<u8>, Vec<Vec<u8>>, Vec<u8>)> {
        let payload = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..8),
            prop::collection::vec(any::<u8>(), 120..130),
            prop::collection::vec(any::<u8>(), 65_530..65_540),
        ];
        let fragments = prop::collection::vec(payload, 1..4);
        let message = (fragments, any::<bool>());
        prop::collection::vec(message, 1..4).prop_map(|messages| {
            let (mut stream, mut said, mut pings) = (Vec::new(), Vec::new(), Vec::new());
            for (fragments, ping) in messages {
                let count = fragments.len();
                for (at, fragment) in fragments.iter().enumerate() {
                    stream.extend(frame(at + 1 == count, if at == 0 { 1 } else { 0 }, fragment));
                    if ping {
                        pings.extend(frame(true, 9, b"hello"));
                        stream.extend(frame(true, 9, b"hello"));
                    }
                }
                said.push(fragments.concat());
            }
            (stream, said, pings)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn however_a_stream_is_cut_it_passes_unchanged_or_gives_the_same_messages(
            (stream, said, pings) in any_stream(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len())).collect();
            cuts.sort_unstable();
            let (passed, messages, _) = read(&stream, &cuts, false);
            prop_assert!(passed == stream && messages.is_empty(), "not passed as it came");

            let (passed, messages, raws) = read(&stream, &cuts, true);
            prop_assert!(passed == pings, "not only the pings passed");
            prop_assert!(messages == said, "other messages");
            prop_assert_eq!(raws.len() + pings.len(), stream.len());
        }
    }

    #[test]
    fn a_stream_cut_into_single_bytes_gives_the_same_messages() {
        let stream = [frame(false, 1, b"ab"), frame(true, 0, b""), frame(true, 2, &[5; 300])];
        let stream = stream.concat();
        let cuts: Vec<_> = (1..stream.len()).collect();
        let (_, messages, raws) = read(&stream, &cuts, true);
        assert_eq!(messages, [b"ab".to_vec(), vec![5; 300]]);
        assert_eq!(raws, stream);
    }

    #[test]
    fn a_message_that_has_begun_to_pass_goes_on_passing() {
        let mut frames = Frames::default();
        let (first, last) = (frame(false, 1, b"a"), frame(true, 0, b"b"));
        let mut input = Bytes::from(first.clone());
        assert_eq!(frames.next(&mut input, false), Ok(Some(Part::Pass(first.into()))));
        assert!(!frames.is_between());
        let mut input = Bytes::from(last.clone());
        assert_eq!(frames.next(&mut input, true), Ok(Some(Part::Pass(last.into()))));
        assert!(frames.is_between());
    }

    #[test]
    fn a_length_that_cannot_be_is_refused_before_it_is_waited_for() {
        let mut input = Bytes::from_static(&[0x81, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]);
        assert_eq!(Frames::default().next(&mut input, true), Err(TooLong));
    }

    #[test]
    fn a_close_frame_has_its_code_and_as_much_of_its_reason_as_fits() {
        assert_eq!(close_frame(1000, "over"), b"\x88\x06\x03\xe8over");
        let long = close_frame(1000, &"é".repeat(100));
        assert_eq!((long.len(), long[1]), (2 + 2 + 122, 124));
    }

    #[test]
    fn a_text_frame_is_read_back() {
        for length in [0, 125, 126, 65_535, 65_536] {
            let text = "x".repeat(length);
            let (_, messages, _) = read(&text_frame(&text), &[], true);
            assert_eq!(messages, [text.into_bytes()]);
        }
    }
}
