//! Both handshakes, with a VNC server and with a viewer, in any pieces.
#![no_main]

use greenroom_fuzz::rfb::{Connecting, HandshakeError, Step, Viewing};
use libfuzzer_sys::fuzz_target;

/// All output, the outcome, and the number of bytes after the handshake.
type Outcome<T> = (Vec<u8>, Option<Result<T, HandshakeError>>, usize);

fn shaken<T>(
    stream: &[u8],
    pieces: &[u8],
    mut next: impl FnMut(&mut &[u8]) -> Result<Step<T>, HandshakeError>,
) -> Outcome<T> {
    let (mut sent, mut rest) = (Vec::new(), stream);
    let mut lengths = pieces.iter().map(|it| usize::from(*it) + 1).cycle();
    loop {
        let length = lengths.next().unwrap_or(rest.len()).min(rest.len());
        let (mut piece, after) = rest.split_at(length);
        rest = after;
        loop {
            match next(&mut piece) {
                Ok(Step::More) => break,
                Ok(Step::Send(bytes)) => sent.extend(bytes),
                Ok(Step::Done(done)) => return (sent, Some(Ok(done)), piece.len() + rest.len()),
                // Bytes after an error are unused.
                Err(error) => return (sent, Some(Err(error)), 0),
            }
        }
        assert!(piece.is_empty(), "bytes were left lying");
        if rest.is_empty() {
            return (sent, None, 0);
        }
    }
}

fuzz_target!(|data: ([u8; 4], &[u8])| {
    let (pieces, stream) = data;
    let of_server = |pieces: &[u8]| {
        let mut connecting = Connecting::new(b"secret12");
        shaken(stream, pieces, |input| connecting.next(input))
    };
    assert_eq!(of_server(&[]), of_server(&pieces), "the VNC server's bytes cut differently");
    let of_viewer = |pieces: &[u8]| {
        let mut viewing = Viewing::default();
        shaken(stream, pieces, |input| viewing.next(input))
    };
    assert_eq!(of_viewer(&[]), of_viewer(&pieces), "the viewer's bytes cut differently");
});
