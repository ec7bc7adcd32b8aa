//! Tests of the bridge against a real x11vnc on a real Xvfb.

mod world;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use self::world::{Recorder, World, eventually, serve};
use super::{Close, CloseCode, Limits, REFUSAL_DELAY, Why};
use crate::domain::rfb::{Area, ClientMessage, Key, Role};
use crate::system::input::Action;

fn bytes(messages: &[ClientMessage]) -> Vec<u8> {
    let mut out = Vec::new();
    messages.iter().for_each(|it| it.encode(&mut out));
    out
}

fn key(down: bool) -> ClientMessage {
    ClientMessage::Key { down, keysym: 0x61 }
}

fn pointer(buttons: u16, x: u16, y: u16) -> ClientMessage {
    ClientMessage::Pointer { buttons, x, y, extended: false }
}

fn whole_picture() -> ClientMessage {
    picture(false)
}

fn picture(incremental: bool) -> ClientMessage {
    let area = Area { x: 0, y: 0, width: world::WIDTH, height: world::HEIGHT };
    ClientMessage::UpdateRequest { incremental, area }
}

/// Returns every message by which a viewer could change something.
fn attack() -> Vec<u8> {
    bytes(&[
        key(true),
        pointer(1, 7, 9),
        ClientMessage::CutText(b"stolen".to_vec()),
        ClientMessage::ExtendedClipboard { flags: 1 << 28 | 1, payload: vec![0; 9] },
        ClientMessage::QemuKey { down: true, keysym: 0x61, keycode: 0x1e },
        ClientMessage::SetDesktopSize { width: 9, height: 9, screens: vec![[0; 16]] },
    ])
}

#[actix_web::test]
async fn a_viewer_sees_what_is_on_the_display() {
    let world = World::new().await;
    let server = world.serve(Limits::default()).await;
    let mut viewer = server.viewer().await;
    for colour in [0xff_8040, 0x10_20f0] {
        world.x.fill(colour);
        viewer.sees(colour).await;
    }
}

#[actix_web::test]
async fn nothing_that_a_watcher_sends_reaches_the_display_however_it_is_cut() {
    let world = World::new().await;
    let server = world.serve(Limits::default()).await;
    let mut viewer = server.viewer().await;
    let before = world.x.pointer();
    viewer.send(&attack()).await;
    for byte in attack() {
        viewer.send(&[byte]).await;
    }
    for piece in [attack(), attack(), attack()].concat().chunks(7) {
        viewer.send(piece).await;
    }
    // The answer comes after every earlier message has been judged and, if it passed, applied.
    world.x.fill(0x123456);
    viewer.sees(0x123456).await;
    viewer.sees(0x123456).await;
    assert_eq!(world.x.pointer(), before);
    assert!(!world.x.any_key_down());
}

/// Returns the bytes that the VNC server receives and the actions that the display gets, when a
/// viewer in `role` sends `attack` in pieces of `length`. Waits for the expected number of actions, because they
/// take another path than the bytes.
async fn heard(role: Role, length: usize, expected: usize) -> (Vec<u8>, Vec<Action>) {
    let mut recorder = Recorder::new().await;
    let server = serve(recorder.endpoint.clone(), Limits::default()).await;
    server.role.send_replace(role);
    let mut viewer = server.viewer().await;
    let last = bytes(&[whole_picture()]);
    for piece in [attack(), last.clone()].concat().chunks(length) {
        viewer.send(piece).await;
    }
    let heard = recorder.heard_until(&last).await;
    // The first 28 bytes are each test viewer's pixel format and encodings.
    let mut done = Vec::new();
    while done.len() < expected {
        let next = tokio::time::timeout(Duration::from_secs(10), recorder.done.recv()).await;
        let (_viewer, action) = next.expect("an action comes").expect("the recorder lives");
        done.push(action);
    }
    while let Ok((_viewer, action)) = recorder.done.try_recv() {
        done.push(action);
    }
    (heard[28..heard.len() - last.len()].to_vec(), done)
}

#[actix_web::test]
async fn nothing_of_what_a_watcher_must_not_send_goes_anywhere() {
    let messages = bytes(&[
        ClientMessage::CutText(b"stolen".to_vec()),
        ClientMessage::ExtendedClipboard { flags: 1 << 28 | 1, payload: vec![0; 9] },
    ]);
    let pressed = |scancode| Action::Key { down: true, key: Key { keysym: 0x61, scancode } };
    let actions = vec![
        pressed(None),
        Action::Pointer { buttons: 1, x: 7, y: 9 },
        Action::Clipboard,
        Action::Clipboard,
        pressed(Some(0x1e)),
    ];
    for length in [1, 3, 1000] {
        assert_eq!(heard(Role::Watch, length, 0).await, (Vec::new(), Vec::new()));
        // With control the same messages arrive: clipboards at the VNC server, everything else at
        // the display. The policy withholds only the new size.
        assert_eq!(
            heard(Role::Control, length, actions.len()).await,
            (messages.clone(), actions.clone())
        );
    }
}

#[actix_web::test]
async fn what_a_viewer_in_control_sends_arrives_and_ends_with_its_control() {
    let world = World::new().await;
    let mut server = world.serve(Limits::default()).await;
    let mut viewer = server.viewer().await;
    server.role.send_replace(Role::Control);
    let stream = bytes(&[key(true), pointer(1, 70, 90), ClientMessage::CutText(b"text".to_vec())]);
    for byte in stream {
        viewer.send(&[byte]).await;
    }
    eventually("the button is down", || world.x.pointer() == (70, 90, true)).await;
    eventually("the key is down", || world.x.any_key_down()).await;

    server.role.send_replace(Role::Watch);
    eventually("the key is up", || !world.x.any_key_down()).await;
    eventually("the button is up", || world.x.pointer() == (70, 90, false)).await;
    viewer.send(&bytes(&[pointer(0, 1, 1), pointer(1, 2, 2), key(true)])).await;
    world.x.fill(0x654321);
    viewer.sees(0x654321).await;
    assert_eq!(world.x.pointer(), (70, 90, false));
    assert!(!world.x.any_key_down());

    viewer.socket.close(None).await.unwrap();
    let ended = server.next_end().await;
    assert!(matches!(ended.why, Why::ViewerLeft), "{:?}", ended.why);
    assert_eq!(ended.dropped, 3);
}

#[actix_web::test]
async fn a_viewer_that_vanishes_leaves_no_key_pressed() {
    let world = World::new().await;
    let mut server = world.serve(Limits::default()).await;
    let mut viewer = server.viewer().await;
    server.role.send_replace(Role::Control);
    // x11vnc does not know QEMU keys.
    let qemu = ClientMessage::QemuKey { down: true, keysym: 0x62, keycode: 0x30 };
    viewer.send(&bytes(&[qemu, pointer(1, 5, 6)])).await;
    eventually("the key is down", || world.x.any_key_down()).await;
    drop(viewer);
    let ended = server.next_end().await;
    assert!(matches!(ended.why, Why::ViewerLeft), "{:?}", ended.why);
    eventually("all is up", || !world.x.any_key_down() && !world.x.pointer().2).await;
}

#[actix_web::test]
async fn a_viewer_that_answers_no_ping_is_gone_at_its_deadline() {
    let world = World::new().await;
    let limits = Limits {
        ping_every: Duration::from_millis(100),
        dead_after: Duration::from_millis(500),
        ..Limits::default()
    };
    let mut server = world.serve(limits).await;
    // A viewer that is not polled answers no pings.
    let _viewer = server.viewer().await;
    let ended = server.next_end().await;
    assert!(matches!(ended.why, Why::ViewerSilent), "{:?}", ended.why);

    let mut alive = server.viewer().await;
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(1500) {
        alive.ask(false).await;
        alive.picture().await;
    }
    assert!(server.ended.try_recv().is_err(), "a live viewer was disconnected");
}

#[actix_web::test]
async fn each_end_has_its_close_code() {
    let mut world = World::new().await;
    let server = world.serve(Limits::default()).await;

    let mut viewer = server.viewer().await;
    viewer.socket.send(Message::text("hello")).await.unwrap();
    assert_eq!(viewer.closed().await, (1003, "binary-only".into()));

    let mut viewer = server.viewer().await;
    viewer.send(&[77]).await;
    assert_eq!(viewer.closed().await, (1002, "rfb-error".into()));

    let mut viewer = server.dial("/vnc").await;
    viewer.send(b"GET / HTTP/1.1").await;
    assert_eq!(viewer.closed().await, (1002, "rfb-error".into()));

    let mut viewer = server.viewer().await;
    server.stop.send_replace(Some(Close::new(CloseCode::Policy, "kicked")));
    assert_eq!(viewer.closed().await, (1008, "kicked".into()));

    let wrong = super::Endpoint { password: "wrong".into(), ..world.endpoint.clone() };
    let other = serve(wrong, Limits::default()).await;
    let mut viewer = other.dial("/vnc").await;
    viewer.send(b"RFB 003.008\n\x01\x01").await;
    assert_eq!(viewer.closed().await, (1011, "vnc-refused".into()));

    let server = world.serve(Limits::default()).await;
    let mut viewer = server.viewer().await;
    world.vnc.kill();
    assert_eq!(viewer.closed().await, (1000, "vnc-closed".into()));
    let mut viewer = server.dial("/vnc").await;
    assert_eq!(viewer.closed().await, (1013, "vnc-unreachable".into()));
}

#[actix_web::test]
async fn a_stalled_viewer_does_not_hold_up_another_and_is_told_to_go() {
    let world = World::new().await;
    let limits = Limits { stall: Duration::from_secs(3), ..Limits::default() };
    let mut server = world.serve(limits).await;
    let mut stalled = server.viewer().await;
    let mut other = server.viewer().await;
    // The request is for changes; here the whole display changes.
    let ask: Bytes = bytes(&[picture(true)]).into();
    let mut slowest = Duration::ZERO;
    let began = Instant::now();
    let mut colour = 1;
    let ended = loop {
        colour += 1;
        let asked = Instant::now();
        world.x.fill(colour);
        // The viewer reads none of the pictures, 300 kB each, so that the sockets and all buffers
        // fill.
        let _until_it_is_put_out = stalled.socket.send(Message::Binary(ask.clone())).await;
        other.sees(colour).await;
        slowest = slowest.max(asked.elapsed());
        if let Ok(ended) = server.ended.try_recv() {
            break ended;
        }
        assert!(began.elapsed() < world::PATIENCE, "the stalled one is still there");
    };
    assert!(matches!(ended.why, Why::TooSlow), "{:?}", ended.why);
    assert!(slowest < Duration::from_secs(3), "the other one waited for {slowest:?}");
}

/// Returns bytes that show if some are missing, doubled or out of order.
fn numbered(length: usize) -> Vec<u8> {
    (0..u32::try_from(length.div_ceil(4)).unwrap())
        .flat_map(u32::to_be_bytes)
        .take(length)
        .collect()
}

#[actix_web::test]
async fn every_byte_arrives_in_order_whether_it_is_copied_moved_or_waits() {
    let all = numbered(24 << 20);
    let mut rest = &all[..];
    let lengths = [1, 7, 8191, 8192, 8193, 65_535, 300_000, 1 << 20, 3 << 20];
    let mut bursts = Vec::new();
    for length in lengths.iter().cycle() {
        let (burst, after) = rest.split_at(rest.len().min(*length));
        bursts.push(burst.to_vec());
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    let (endpoint, mut sent) = world::source(bursts).await;
    let mut server = serve(endpoint, Limits::default()).await;
    let mut viewer = server.viewer().await;
    for times in 1..=2 {
        // The viewer keeps up at first. Then it takes nothing until everything is sent and queued
        // here.
        for (index, piece) in all.chunks(1 << 18).enumerate() {
            if index == 16 {
                sent.wait_for(|sent| *sent == times).await.unwrap();
            }
            assert!(viewer.read(piece.len()).await == piece, "a piece is not what was sent");
            // Viewers may send a ping in between, which is answered in between.
            viewer.socket.send(Message::Ping(Bytes::from_static(b"there?"))).await.unwrap();
        }
        viewer.ask(true).await;
    }
    server.stop.send_replace(Some(Close::new(CloseCode::Normal, "done")));
    assert_eq!(viewer.closed().await, (1000, "done".into()));
    let ended = server.next_end().await;
    assert_eq!(ended.to_viewer, u64::try_from(2 * all.len() + 12 + 2 + 4 + 24).unwrap());
}

#[actix_web::test]
async fn a_vnc_server_that_says_nothing_to_what_is_typed_is_doubted() {
    let (endpoint, _sent) = world::source(Vec::new()).await;
    let doubts = Arc::clone(&endpoint.doubts);
    let limits = Limits { doubt_after: Duration::from_millis(200), ..Limits::default() };
    let server = serve(endpoint, limits).await;
    server.role.send_replace(Role::Control);
    let mut viewer = server.viewer().await;
    let began = Instant::now();
    let typing = async {
        loop {
            viewer.send(&bytes(&[key(true), key(false)])).await;
            viewer.socket.send(Message::Ping(Bytes::new())).await.unwrap();
            viewer.socket.next().await.unwrap().unwrap();
        }
    };
    tokio::select! {
        () = doubts.notified() => {}
        () = typing => {}
    }
    assert!(began.elapsed() >= limits.doubt_after, "doubted after {:?}", began.elapsed());
}

#[actix_web::test]
async fn a_viewer_that_does_not_wait_for_answers_gets_all_of_them() {
    let (endpoint, _sent) = world::source(vec![numbered(1 << 20)]).await;
    let server = serve(endpoint, Limits::default()).await;
    let mut viewer = server.dial("/vnc").await;
    viewer.send(b"RFB 003.008\n\x01\x00").await;
    let answers = viewer.read(12 + 2 + 4 + 24).await;
    assert_eq!(answers[..18], *b"RFB 003.008\n\x01\x01\x00\x00\x00\x00");
    assert!(viewer.read(1 << 20).await == numbered(1 << 20));
}

#[actix_web::test]
async fn a_refusal_takes_its_time_and_says_why() {
    let world = World::new().await;
    let server = world.serve(Limits::default()).await;
    let began = Instant::now();
    let mut viewer = server.dial("/no").await;
    viewer.send(b"hurry").await;
    assert_eq!(viewer.closed().await, (1013, "not-ready".into()));
    assert!(began.elapsed() >= REFUSAL_DELAY, "after {:?}", began.elapsed());
}

#[actix_web::test]
async fn the_subprotocol_binary_is_taken_when_it_is_offered_and_none_is_needed() {
    let world = World::new().await;
    let server = world.serve(Limits::default()).await;
    let header = "sec-websocket-protocol";
    for (offered, taken) in [(Some("base64, binary"), Some("binary")), (None, None)] {
        let mut request = format!("ws://{}/vnc", server.address).into_client_request().unwrap();
        if let Some(offered) = offered {
            request.headers_mut().insert(header, offered.parse().unwrap());
        }
        let (_socket, response) = tokio_tungstenite::connect_async(request).await.unwrap();
        let answer = response.headers().get(header).map(|it| it.to_str().unwrap());
        assert_eq!(answer, taken);
    }
}
