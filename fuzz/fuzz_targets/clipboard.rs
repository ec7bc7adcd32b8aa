//! A copied text in any pieces is the same as the whole text, within bounded memory.
#![no_main]

use greenroom_fuzz::pieces::{LONGEST, Pieces};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: (&[u8], Vec<u8>, u16)| {
    let (unit, cuts, times) = data;
    let text = unit.repeat(usize::from(times).min(4 * LONGEST / unit.len().max(1)));
    let mut pieces = Pieces::default();
    let mut rest = text.as_slice();
    let mut lengths = cuts.iter().map(|it| (usize::from(*it) << 8) + 1).cycle();
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(lengths.next().unwrap_or(rest.len()).min(rest.len()));
        pieces.add(piece);
        rest = after;
    }
    let passed = pieces.end();
    assert_eq!(passed.is_some(), !text.is_empty() && text.len() <= LONGEST);
    assert_eq!(passed, Pieces::whole(text));
});
