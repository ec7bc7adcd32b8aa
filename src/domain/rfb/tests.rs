//! Tests of the codec and the gate, by table and by property.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const CUT_CAP: u32 = 1000;

fn bytes(messages: &[ClientMessage]) -> Vec<u8> {
    let mut out = Vec::new();
    messages.iter().for_each(|it| it.encode(&mut out));
    out
}

/// Parses `stream` in pieces of these lengths, and then the rest.
fn parse(
    dialect: Dialect,
    stream: &[u8],
    pieces: &[usize],
) -> (Vec<ClientMessage>, Option<ParseError>) {
    let mut parser = Parser::new(dialect, CUT_CAP);
    let mut messages = Vec::new();
    let mut rest = stream;
    for length in pieces.iter().copied().chain([usize::MAX]) {
        let (mut piece, after) = rest.split_at(length.min(rest.len()));
        rest = after;
        loop {
            match parser.next(&mut piece) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => return (messages, Some(error)),
            }
        }
        assert!(piece.is_empty(), "the parser left bytes lying");
    }
    (messages, None)
}

fn any_area() -> impl Strategy<Value = Area> {
    any::<(u16, u16, u16, u16)>().prop_map(|(x, y, width, height)| Area { x, y, width, height })
}

/// Generates any message that can be encoded, for a server that reads six-byte pointer events.
fn any_message() -> impl Strategy<Value = ClientMessage> {
    use ClientMessage as M;
    prop_oneof![
        any::<[u8; 16]>().prop_map(M::SetPixelFormat),
        vec(prop_oneof![any::<i32>(), Just(-316), Just(-258)], 0..40).prop_map(M::SetEncodings),
        (any::<bool>(), any_area())
            .prop_map(|(incremental, area)| M::UpdateRequest { incremental, area }),
        any_key(),
        (0..256u16, any::<u16>(), any::<u16>()).prop_map(|(buttons, x, y)| M::Pointer {
            buttons,
            x,
            y,
            extended: false
        }),
        vec(any::<u8>(), 0..200).prop_map(M::CutText),
        (any::<u32>(), vec(any::<u8>(), 0..200))
            .prop_map(|(flags, payload)| M::ExtendedClipboard { flags, payload }),
        (any::<bool>(), any_area())
            .prop_map(|(enable, area)| M::ContinuousUpdates { enable, area }),
        (any::<u32>(), vec(any::<u8>(), 0..=64))
            .prop_map(|(flags, payload)| M::Fence { flags, payload }),
        any::<(u8, u8)>().prop_map(|(version, code)| M::Xvp { version, code }),
        (any::<u16>(), any::<u16>(), vec(any::<[u8; 16]>(), 0..5))
            .prop_map(|(width, height, screens)| M::SetDesktopSize { width, height, screens }),
        (any::<bool>(), 0..0x200u32, 0..0x60u32).prop_map(|(down, keysym, keycode)| M::QemuKey {
            down,
            keysym,
            keycode
        }),
        // Scancodes that no keyboard has.
        (any::<bool>(), any_keysym()).prop_map(|(down, keysym)| M::QemuKey {
            down,
            keysym,
            keycode: 0x7fff
        }),
    ]
}

/// A small set of keys, so that they recur.
fn any_keysym() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0xffe3), Just(0xffe4), Just(0x6f), Just(0x4f), 0x60..0x90u32]
}

fn any_key() -> impl Strategy<Value = ClientMessage> {
    (any::<bool>(), any_keysym()).prop_map(|(down, keysym)| ClientMessage::Key { down, keysym })
}

proptest! {
    #[test]
    fn what_is_written_is_read_again_however_it_is_cut(
        messages in vec(any_message(), 0..20),
        pieces in vec(0..40usize, 0..200),
    ) {
        let read = parse(Dialect::X11VNC, &bytes(&messages), &pieces);
        prop_assert_eq!(read, (messages, None));
    }

    #[test]
    fn any_bytes_give_the_same_messages_however_they_are_cut(
        start in vec(any_message(), 0..4),
        noise in vec(prop_oneof![Just(0u8), Just(6), Just(253), Just(255), any::<u8>()], 0..300),
        pieces in vec(0..40usize, 0..200),
        nine_buttons in any::<bool>(),
    ) {
        let stream = [bytes(&start), noise].concat();
        let dialect = Dialect { extended_mouse_buttons: nine_buttons, qemu_keys: true };
        prop_assert_eq!(parse(dialect, &stream, &pieces), parse(dialect, &stream, &[]));
    }

    #[test]
    fn nine_buttons_are_read_and_written_once_they_are_announced(
        buttons in 0..512u16, x in any::<u16>(), y in any::<u16>(), pieces in vec(0..3usize, 0..20)
    ) {
        let messages = [
            ClientMessage::SetEncodings(vec![7, pseudo_encoding::EXTENDED_MOUSE_BUTTONS]),
            ClientMessage::Pointer { buttons, x, y, extended: true },
            ClientMessage::Key { down: true, keysym: 0x61 },
        ];
        let read = parse(Dialect::TIGERVNC, &bytes(&messages), &pieces);
        prop_assert_eq!(read, (messages.to_vec(), None));
    }

    #[test]
    fn the_parser_never_holds_more_than_its_largest_message(
        start in vec(any_message(), 0..4), head in any::<[u8; 9]>(), kind in 0..12usize,
    ) {
        let kinds = [0, 2, 3, 4, 5, 6, 150, 248, 250, 251, 253, 255];
        let stream = [&bytes(&start)[..], &[kinds[kind]], &head, &[0; 50_000]].concat();
        let mut parser = Parser::new(Dialect::TIGERVNC, CUT_CAP);
        let mut rest = stream.as_slice();
        while let Ok(Some(_)) = parser.next(&mut rest) {
            prop_assert!(parser.held() <= 8192, "{} bytes", parser.held());
        }
        prop_assert!(parser.held() <= 8192, "{} bytes", parser.held());
    }

    #[test]
    fn a_watcher_changes_nothing_whatever_it_sends(
        messages in vec(any_message(), 0..40),
        dialect in prop_oneof![Just(Dialect::X11VNC), Just(Dialect::TIGERVNC)],
    ) {
        let mut gate = Gate::new(Policy { resize: true, ..Policy::default() }, dialect);
        for message in &messages {
            for passed in passed(&mut gate, message) {
                prop_assert!(is_harmless(&passed), "{:?} of {:?}", passed, message);
            }
        }
    }

    #[test]
    fn whoever_loses_control_leaves_nothing_pressed(
        messages in vec(prop_oneof![4 => any_key(), 1 => any_message()], 0..120),
        turns in vec(any::<bool>(), 120),
        dialect in prop_oneof![Just(Dialect::X11VNC), Just(Dialect::TIGERVNC)],
    ) {
        let mut gate = Gate::new(Policy::default(), dialect);
        let mut server = Server::default();
        for (message, turn) in messages.iter().zip(&turns) {
            let role = if *turn { Role::Control } else { Role::Watch };
            gate.set_role(role).iter().for_each(|it| server.take(it));
            if role == Role::Watch {
                prop_assert_eq!(&server, &Server::default());
            }
            passed(&mut gate, message).iter().for_each(|it| server.take(it));
            prop_assert!(!server.has_ctrl_o(), "{:?}", server);
            prop_assert_eq!(server.buttons & 0b100, 0);
        }
        gate.set_role(Role::Watch).iter().for_each(|it| server.take(it));
        prop_assert_eq!(server, Server::default());
    }

    #[test]
    fn both_handshakes_come_to_the_same_however_they_are_cut(
        pieces in vec(1..9usize, 0..60), stream in vec(any::<u8>(), 0..80)
    ) {
        let server = [b"RFB 003.008\n\x02\x10\x02".to_vec(), vec![9; 16], vec![0; 4], init(), stream]
            .concat();
        prop_assert_eq!(connect(&server, &pieces), connect(&server, &[]));
        let viewer = [b"RFB 003.008\n\x01\x00".to_vec(), vec![4; 8]].concat();
        prop_assert_eq!(view(&viewer, &pieces), view(&viewer, &[]));
    }

    #[test]
    fn no_bytes_break_a_handshake(stream in vec(any::<u8>(), 0..200), ours in any::<bool>()) {
        let greeting = if ours { VERSION.to_vec() } else { Vec::new() };
        let stream = [greeting, stream].concat();
        let _outcomes = (connect(&stream, &[]), view(&stream, &[]));
    }
}

/// Returns the messages that reach the server for `message`.
fn passed(gate: &mut Gate, message: &ClientMessage) -> Vec<ClientMessage> {
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

/// The keys and buttons pressed at a server that applies every message.
#[derive(Debug, Default, PartialEq, Eq)]
struct Server {
    keysyms: std::collections::BTreeSet<u32>,
    scancodes: std::collections::BTreeSet<u32>,
    buttons: u16,
}

impl Server {
    fn take(&mut self, message: &ClientMessage) {
        use ClientMessage as M;
        // The server uses the keysym if its keyboard has no such scancode, as TigerVNC does.
        if let M::Key { down, keysym } | M::QemuKey { down, keysym, keycode: 0 | 0x54.. } = message
        {
            set(&mut self.keysyms, *down, *keysym);
        } else if let M::QemuKey { down, keycode, .. } = message {
            set(&mut self.scancodes, *down, *keycode);
        } else if let M::Pointer { buttons, .. } = message {
            self.buttons = *buttons;
        }
    }

    fn has_ctrl_o(&self) -> bool {
        let ctrl = self.keysyms.contains(&0xffe3)
            || self.keysyms.contains(&0xffe4)
            || self.scancodes.contains(&0x1d);
        let o = self.keysyms.contains(&0x6f)
            || self.keysyms.contains(&0x4f)
            || self.scancodes.contains(&0x18);
        ctrl && o
    }
}

fn set(keys: &mut std::collections::BTreeSet<u32>, down: bool, key: u32) {
    if down {
        keys.insert(key);
    } else {
        keys.remove(&key);
    }
}

fn init() -> Vec<u8> {
    let mut out = Vec::new();
    let init = ServerInit { width: 640, height: 480, format: [7; 16], name: b"desk".to_vec() };
    init.encode(&mut out);
    out
}

/// The bytes that a handshake sent, its result, and the input that it left.
type Outcome<T> = (Vec<u8>, Option<Result<T, HandshakeError>>, Vec<u8>);

fn connect(stream: &[u8], pieces: &[usize]) -> Outcome<ServerInit> {
    let mut connecting = Connecting::new(b"secret");
    drive(stream, pieces, |input| connecting.next(input))
}

fn view(stream: &[u8], pieces: &[usize]) -> Outcome<()> {
    let mut viewing = Viewing::default();
    drive(stream, pieces, |input| viewing.next(input))
}

fn drive<T>(
    stream: &[u8],
    pieces: &[usize],
    mut next: impl FnMut(&mut &[u8]) -> Result<Step<T>, HandshakeError>,
) -> Outcome<T> {
    let mut sent = Vec::new();
    let mut rest = stream;
    for length in pieces.iter().copied().chain([usize::MAX]) {
        let (mut piece, after) = rest.split_at(length.min(rest.len()));
        rest = after;
        loop {
            let ended = match next(&mut piece) {
                Ok(Step::More) => break,
                Ok(Step::Send(bytes)) => {
                    sent.extend(bytes);
                    continue;
                }
                Ok(Step::Done(done)) => Ok(done),
                Err(error) => Err(error),
            };
            let left = if ended.is_ok() { [piece, rest].concat() } else { Vec::new() };
            return (sent, Some(ended), left);
        }
    }
    (sent, None, Vec::new())
}

#[test]
fn a_server_that_wants_a_password_is_given_the_response_to_its_challenge() {
    let challenge = *b"0123456789abcdef";
    let stream =
        [VERSION.to_vec(), vec![1, 2], challenge.to_vec(), vec![0; 4], init(), vec![1, 2, 3]]
            .concat();
    let (sent, ended, left) = connect(&stream, &[]);
    let expected = [vec![2], vnc_authentication(challenge, b"secret").to_vec(), vec![1]].concat();
    assert_eq!(sent, expected);
    assert_eq!(ended.unwrap().unwrap().name, b"desk");
    assert_eq!(left, [1, 2, 3]);
}

#[test]
fn the_response_is_the_one_that_other_clients_give() {
    // An empty password is a key of zeros; the expected response to zeros is a published DES
    // vector.
    assert_eq!(
        vnc_authentication([0; 16], b""),
        [
            0x8c, 0xa6, 0x4d, 0xe9, 0xc1, 0xb1, 0x23, 0xa7, 0x8c, 0xa6, 0x4d, 0xe9, 0xc1, 0xb1,
            0x23, 0xa7
        ]
    );
    // Key 0123456789abcdef, text "Now is t": 3fa40e8a984d4815 (FIPS 81). The password is the key
    // with the bits of each byte reversed.
    let password = [0x01u8, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef].map(u8::reverse_bits);
    let response = vnc_authentication(*b"Now is tNow is t", &password);
    assert_eq!(response[..8], [0x3f, 0xa4, 0x0e, 0x8a, 0x98, 0x4d, 0x48, 0x15]);
    assert_eq!(
        vnc_authentication([5; 16], b"12345678"),
        vnc_authentication([5; 16], b"12345678 and more"),
        "only eight bytes count"
    );
}

#[test]
fn a_refusal_is_told_in_the_servers_words() {
    let refused = |reason: &str| Some(Err(HandshakeError::Refused { reason: reason.into() }));
    let stream =
        [VERSION.to_vec(), vec![1, 2], vec![0; 16], vec![0, 0, 0, 1], b"\0\0\0\x02no".to_vec()];
    assert_eq!(connect(&stream.concat(), &[]).1, refused("no"));
    assert_eq!(connect(b"RFB 003.008\n\0\0\0\0\x03too", &[]).1, refused("too"));
    assert_eq!(connect(b"RFB 003.003\n", &[]).1, Some(Err(HandshakeError::Version)));
    assert_eq!(connect(b"HTTP/1.1 200", &[]).1, Some(Err(HandshakeError::Version)));
    assert_eq!(connect(b"RFB 003.008\n\x01\x13", &[]).1, Some(Err(HandshakeError::Security)));
    let long = [b"RFB 003.008\n\0".to_vec(), vec![0xff; 4]].concat();
    assert_eq!(connect(&long, &[]).1, Some(Err(HandshakeError::LongText(u32::MAX))));
}

#[test]
fn a_viewer_is_offered_none_and_nothing_else() {
    let (sent, ended, left) = view(b"RFB 003.008\n\x01\x00rest", &[]);
    assert_eq!((sent, ended), (vec![1, 1, 0, 0, 0, 0], Some(Ok(()))));
    assert_eq!(left, b"rest");
    assert_eq!(view(b"RFB 003.008\n\x02", &[]).1, Some(Err(HandshakeError::Security)));
    assert_eq!(view(b"RFB 003.003\n", &[]).1, Some(Err(HandshakeError::Version)));
    assert_eq!(view(b"GET / HTTP/1", &[]).1, Some(Err(HandshakeError::Version)));
}

#[track_caller]
fn check_refused(stream: &[u8], expected: ParseError) {
    assert_eq!(parse(Dialect::X11VNC, stream, &[]), (Vec::new(), Some(expected)));
}

#[test]
fn what_cannot_be_understood_is_refused() {
    check_refused(&[7, 0, 0], ParseError::UnknownType(7));
    check_refused(&[255, 1, 0, 0], ParseError::UnknownQemuType(1));
    check_refused(&[2, 0, 0xff, 0xff], ParseError::TooManyEncodings(0xffff));
    check_refused(&[248, 0, 0, 0, 0, 0, 0, 0, 65], ParseError::LongFence(65));
    check_refused(&[6, 0, 0, 0, 0xff, 0xff, 0xff, 0xfd], ParseError::ShortClipboard(3));
}

#[test]
fn a_long_clipboard_and_other_devices_are_skipped_and_what_follows_is_read() {
    let key = ClientMessage::Key { down: true, keysym: 0x61 };
    for (length, sign) in [(5000u32, 1), (5000, -1)] {
        let announced = i32::try_from(length).unwrap() * sign;
        let text = vec![4; 5000];
        let stream = [
            &[6, 0, 0, 0][..],
            &announced.to_be_bytes(),
            &text,
            &bytes(std::slice::from_ref(&key)),
        ];
        let expected = vec![ClientMessage::LongCutText { length }, key.clone()];
        assert_eq!(parse(Dialect::X11VNC, &stream.concat(), &[3, 9, 70]), (expected, None));
    }
    for head in [[253, 0x81, 0, 9], [253, 0x01, 9, 0]] {
        let stream = [&head[..], &[5; 9], &bytes(std::slice::from_ref(&key))].concat();
        let expected = vec![ClientMessage::Gii { length: 9 }, key.clone()];
        assert_eq!(parse(Dialect::X11VNC, &stream, &[2, 5]), (expected, None));
    }
}

/// Creates a gate in control with this policy, for a server with this dialect.
fn in_control(policy: Policy, dialect: Dialect) -> Gate {
    let mut gate = Gate::new(policy, dialect);
    assert_eq!(gate.set_role(Role::Control), []);
    gate
}

fn key(down: bool, keysym: u32) -> ClientMessage {
    ClientMessage::Key { down, keysym }
}

fn pointer(buttons: u16) -> ClientMessage {
    ClientMessage::Pointer { buttons, x: 3, y: 4, extended: false }
}

#[test]
fn a_server_that_reads_six_bytes_is_not_told_of_nine_buttons() {
    let mut gate = Gate::new(Policy::default(), Dialect::X11VNC);
    let announced = ClientMessage::SetEncodings(vec![16, -316, 7]);
    let told = vec![ClientMessage::SetEncodings(vec![16, 7])];
    assert_eq!(gate.judge(&announced), Verdict::Replace(told));
    let mut gate = Gate::new(Policy::default(), Dialect::TIGERVNC);
    assert_eq!(gate.judge(&announced), Verdict::Pass);
}

#[test]
fn a_refused_chord_is_never_complete_in_whichever_order_it_is_pressed() {
    let mut gate = in_control(Policy::default(), Dialect::X11VNC);
    assert_eq!(gate.judge(&key(true, 0xffe4)), Verdict::Pass);
    assert_eq!(gate.judge(&key(true, 0x4f)), Verdict::Drop(Dropped::Chord));
    assert_eq!(gate.judge(&key(true, 0x63)), Verdict::Pass);
    assert_eq!(gate.judge(&key(false, 0xffe4)), Verdict::Pass);
    assert_eq!(gate.judge(&key(true, 0x6f)), Verdict::Pass);
    assert_eq!(gate.judge(&key(true, 0xffe3)), Verdict::Drop(Dropped::Chord));

    // The gate uses the scancode if the server does.
    let mut gate = in_control(Policy::default(), Dialect::TIGERVNC);
    let qemu = |keysym, keycode| ClientMessage::QemuKey { down: true, keysym, keycode };
    assert_eq!(gate.judge(&qemu(0x61, 0x1d)), Verdict::Pass);
    assert_eq!(gate.judge(&qemu(0x62, 0x18)), Verdict::Drop(Dropped::Chord));
    // It also uses the keysym, whatever the key produced before.
    assert_eq!(gate.judge(&qemu(0x62, 0x30)), Verdict::Pass);
    assert_eq!(gate.judge(&qemu(0x62, 0x30)), Verdict::Pass, "it repeats");
    assert_eq!(gate.judge(&qemu(0x6f, 0x30)), Verdict::Drop(Dropped::Chord));
    // It uses the keysym alone if the keyboard has no such key.
    assert_eq!(gate.judge(&qemu(0x61, 0x7fff)), Verdict::Replace(vec![key(true, 0x61)]));
    assert_eq!(gate.judge(&qemu(0x6f, 0x7fff)), Verdict::Drop(Dropped::Chord));
}

#[test]
fn the_policy_names_the_chords_and_the_buttons_that_are_refused() {
    let policy = Policy {
        refused_chords: vec!["ctrl+shift+i".parse().unwrap(), "f12".parse().unwrap()],
        refused_buttons: 0,
        ..Policy::default()
    };
    let mut gate = in_control(policy, Dialect::X11VNC);
    assert_eq!(gate.judge(&pointer(0b100)), Verdict::Pass);
    assert_eq!(gate.judge(&key(true, 0xffc9)), Verdict::Drop(Dropped::Chord));
    assert_eq!(gate.judge(&key(true, 0xffe3)), Verdict::Pass);
    assert_eq!(gate.judge(&key(true, 0x6f)), Verdict::Pass, "Ctrl+O is not among them");
    assert_eq!(gate.judge(&key(true, 0x49)), Verdict::Pass, "with Caps Lock");
    assert_eq!(gate.judge(&key(true, 0xffe1)), Verdict::Drop(Dropped::Chord));
}

#[test]
fn a_drag_that_began_while_watching_presses_nothing_until_it_is_let_go() {
    let mut gate = Gate::new(Policy::default(), Dialect::X11VNC);
    assert_eq!(gate.judge(&pointer(1)), Verdict::Drop(Dropped::Watching));
    assert_eq!(gate.set_role(Role::Control), []);
    assert_eq!(gate.judge(&pointer(1)), Verdict::Replace(vec![pointer(0)]));
    assert_eq!(gate.judge(&pointer(0)), Verdict::Pass);
    assert_eq!(gate.judge(&pointer(1)), Verdict::Pass);
    assert_eq!(gate.set_role(Role::Watch), [pointer(0)]);
    // Conversely, a button held at the loss of control is not pressed again when control returns.
    assert_eq!(gate.set_role(Role::Control), []);
    assert_eq!(gate.judge(&pointer(1)), Verdict::Replace(vec![pointer(0)]));
}

#[test]
fn qemu_keys_reach_a_server_that_does_not_know_them_as_plain_ones() {
    let mut gate = in_control(Policy::default(), Dialect::X11VNC);
    let qemu = ClientMessage::QemuKey { down: true, keysym: 0x61, keycode: 0x1e };
    assert_eq!(gate.judge(&qemu), Verdict::Replace(vec![key(true, 0x61)]));
    assert_eq!(gate.set_role(Role::Watch), [key(false, 0x61)]);
    let nameless = ClientMessage::QemuKey { down: true, keysym: 0, keycode: 0x1e };
    assert_eq!(gate.judge(&nameless), Verdict::Drop(Dropped::NoKeysym));
}

#[test]
fn what_a_watcher_said_of_its_clipboard_is_told_when_it_gets_control() {
    let caps = ClientMessage::ExtendedClipboard { flags: 1 << 24 | 1, payload: vec![0; 4] };
    let mut gate = Gate::new(Policy::default(), Dialect::X11VNC);
    assert_eq!(gate.judge(&caps), Verdict::Drop(Dropped::Watching));
    assert_eq!(gate.set_role(Role::Control), [caps]);
    assert_eq!(gate.set_role(Role::Watch), []);
    assert_eq!(gate.set_role(Role::Control), [], "it was sent before");
}

#[test]
fn the_clipboard_goes_only_where_the_policy_lets_it() {
    let action =
        |bit: u32| ClientMessage::ExtendedClipboard { flags: 1 << bit | 1, payload: vec![] };
    let [request, notify, provide] = [25, 27, 28].map(action);
    let text = ClientMessage::CutText(b"x".to_vec());
    for (inward, outward) in [(true, false), (false, true)] {
        let clipboard = Clipboard { inward, outward, ..Clipboard::default() };
        let policy = Policy { clipboard, ..Policy::default() };
        let mut gate = in_control(policy, Dialect::X11VNC);
        let expected =
            |may: bool| if may { Verdict::Pass } else { Verdict::Drop(Dropped::Clipboard) };
        for message in [&notify, &provide, &text] {
            assert_eq!(gate.judge(message), expected(inward), "{message:?}");
        }
        assert_eq!(gate.judge(&request), expected(outward));
    }
}
