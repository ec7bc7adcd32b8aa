//! Any bytes as frames of a WebSocket, in any pieces: nothing is lost, added or put in another order.
#![no_main]

use bytes::Bytes;
use greenroom_fuzz::websocket::{Frames, Part};
use libfuzzer_sys::fuzz_target;

/// What passes, and the messages that were put aside, in the order in which they ended.
fn follow(stream: &[u8], pieces: &[u8], wanted: &[bool]) -> (Vec<u8>, Vec<(Vec<u8>, Vec<u8>)>) {
    let mut frames = Frames::default();
    let (mut passed, mut aside, mut rest) = (Vec::new(), Vec::new(), stream);
    let mut lengths = pieces.iter().map(|it| usize::from(*it) + 1).cycle();
    let mut wishes = wanted.iter().copied().cycle();
    while !rest.is_empty() {
        let length = lengths.next().unwrap_or(rest.len()).min(rest.len());
        let (piece, after) = rest.split_at(length);
        rest = after;
        let mut input = Bytes::copy_from_slice(piece);
        // The wish changes between messages only where the stream is cut: once for each piece.
        let wish = wishes.next().unwrap_or(false);
        loop {
            match frames.next(&mut input, wish) {
                Ok(Some(Part::Pass(bytes))) => passed.extend_from_slice(&bytes),
                Ok(Some(Part::Message { raw, payload })) => {
                    assert!(payload.len() <= raw.len());
                    aside.push((raw, payload));
                }
                Ok(None) => break,
                Err(_too_long) => return (passed, aside),
            }
        }
        assert!(input.is_empty(), "bytes were left lying");
    }
    let whole: usize = passed.len() + aside.iter().map(|(raw, _)| raw.len()).sum::<usize>();
    assert!(whole <= stream.len(), "bytes were added");
    (passed, aside)
}

fuzz_target!(|data: ([u8; 4], [bool; 4], &[u8])| {
    let (pieces, wanted, stream) = data;
    // What nobody asks for passes as it came.
    assert_eq!(follow(stream, &pieces, &[false]), (stream.to_vec(), Vec::new()));
    // What everybody asks for is the same however it is cut.
    assert_eq!(follow(stream, &pieces, &[true]), follow(stream, &[], &[true]));
    follow(stream, &pieces, &wanted);
});
