//! Any input of a viewer: parsed in any pieces, filtered in either role, and written again.
#![no_main]

use greenroom_fuzz::rfb::{
    ClientMessage, Dialect, Gate, ParseError, Parser, Policy, Role, Verdict,
};
use libfuzzer_sys::fuzz_target;

const LONGEST_TEXT: u32 = 4096;
/// The largest message, and the excess capacity of a vector.
const MOST_HELD: usize = 20_000;

/// The result of the parser for `stream`, in pieces of these lengths in turn.
fn parse(
    dialect: Dialect,
    stream: &[u8],
    pieces: &[u8],
) -> (Vec<ClientMessage>, Option<ParseError>) {
    let mut parser = Parser::new(dialect, LONGEST_TEXT);
    let (mut messages, mut rest) = (Vec::new(), stream);
    let mut lengths = pieces.iter().map(|it| usize::from(*it) + 1).cycle();
    while !rest.is_empty() {
        let length = lengths.next().unwrap_or(rest.len()).min(rest.len());
        let (mut piece, after) = rest.split_at(length);
        rest = after;
        loop {
            match parser.next(&mut piece) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => return (messages, Some(error)),
            }
            assert!(parser.held() <= MOST_HELD, "{} bytes are held", parser.held());
        }
        assert!(parser.held() <= MOST_HELD, "{} bytes are held", parser.held());
        assert!(piece.is_empty(), "bytes were left lying");
    }
    (messages, None)
}

fn judged(gate: &mut Gate, message: &ClientMessage) -> Vec<ClientMessage> {
    match gate.judge(message) {
        Verdict::Pass => vec![message.clone()],
        Verdict::Drop(_) => Vec::new(),
        Verdict::Replace(others) => others,
    }
}

fn is_harmless(message: &ClientMessage) -> bool {
    use ClientMessage as M;
    matches!(
        message,
        M::SetPixelFormat(_)
            | M::SetEncodings(_)
            | M::UpdateRequest { .. }
            | M::ContinuousUpdates { .. }
            | M::Fence { .. }
    )
}

fn written(messages: &[ClientMessage]) -> Vec<u8> {
    let mut bytes = Vec::new();
    messages.iter().for_each(|message| message.encode(&mut bytes));
    bytes
}

fuzz_target!(|data: (bool, [u8; 4], [bool; 8], &[u8])| {
    let (tiger, pieces, turns, stream) = data;
    let dialect = if tiger { Dialect::TIGERVNC } else { Dialect::X11VNC };
    let (messages, error) = parse(dialect, stream, &[]);
    assert_eq!(parse(dialect, stream, &pieces), (messages.clone(), error), "cut differently");

    // Skipped messages cannot be written; all others are parsed again to the same value.
    let kept: Vec<_> = messages
        .iter()
        .filter(|it| !matches!(it, ClientMessage::LongCutText { .. } | ClientMessage::Gii { .. }))
        .cloned()
        .collect();
    assert_eq!(parse(dialect, &written(&kept), &pieces), (kept, None), "written and read again");

    let mut watcher = Gate::new(Policy::default(), dialect);
    for message in &messages {
        assert!(judged(&mut watcher, message).iter().all(is_harmless), "{message:?} passed");
    }

    // With any changes of control, the server reads exactly the messages that were passed on.
    let mut gate = Gate::new(Policy::default(), dialect);
    let mut passed = Vec::new();
    for (message, control) in messages.iter().zip(turns.iter().cycle()) {
        let role = if *control { Role::Control } else { Role::Watch };
        passed.extend(gate.set_role(role));
        passed.extend(judged(&mut gate, message));
    }
    passed.extend(gate.set_role(Role::Watch));
    assert_eq!(
        parse(dialect, &written(&passed), &[]),
        (passed, None),
        "the server reads otherwise"
    );
});
