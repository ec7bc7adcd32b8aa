//! Any bytes as frames of a WebSocket, in any pieces: nothing is lost, added or put in another order.
#![no_main]

use bytes::Bytes;
use greenroom_fuzz::websocket::{Frames, Message, Part, Wanted};
use libfuzzer_sys::fuzz_target;

/// Returns what passes and the messages that are put aside, in the order in which they end.
fn follow(stream: &[u8], pieces: &[u8], wanted: &[Wanted]) -> (Vec<u8>, Vec<Message>) {
    let mut frames = Frames::default();
    let (mut passed, mut aside, mut rest) = (Vec::new(), Vec::new(), stream);
    let mut lengths = pieces.iter().map(|it| usize::from(*it) + 1).cycle();
    let mut wishes = wanted.iter().copied().cycle();
    while !rest.is_empty() {
        let length = lengths.next().unwrap_or(rest.len()).min(rest.len());
        let (piece, after) = rest.split_at(length);
        rest = after;
        let mut input = Bytes::copy_from_slice(piece);
        // The wanted kind changes only at a cut of the stream: once for each piece.
        let wish = wishes.next().unwrap_or(Wanted::Nothing);
        loop {
            match frames.next(&mut input, wish) {
                Ok(Some(Part::Pass(bytes))) => passed.extend_from_slice(&bytes),
                Ok(Some(Part::Message(message))) => aside.push(message),
                Ok(None) => break,
                Err(_too_long) => return (passed, aside),
            }
        }
        assert!(input.is_empty(), "bytes were left lying");
    }
    let whole: usize = passed.len() + aside.iter().map(|it| it.payload.len()).sum::<usize>();
    assert!(whole <= stream.len(), "bytes were added");
    (passed, aside)
}

fuzz_target!(|data: ([u8; 4], [u8; 4], &[u8])| {
    let (pieces, wanted, stream) = data;
    // Unwanted messages pass unchanged, except an incomplete header at the end.
    let (passed, aside) = follow(stream, &pieces, &[Wanted::Nothing]);
    assert!(stream.starts_with(&passed) && stream.len() - passed.len() < 14 && aside.is_empty());
    // The wanted messages are the same for all cuts.
    for wish in [Wanted::All, Wanted::UpTo(u64::from(wanted[0]))] {
        assert_eq!(follow(stream, &pieces, &[wish]), follow(stream, &[], &[wish]));
    }
    let wishes = wanted.map(|it| match it % 3 {
        0 => Wanted::Nothing,
        1 => Wanted::UpTo(u64::from(it)),
        _ => Wanted::All,
    });
    follow(stream, &pieces, &wishes);
});
