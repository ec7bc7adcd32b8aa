//! Typed text of every script reaches the page.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::Site;
use super::adoption::Page;
use crate::support::client::id_of;
use crate::support::viewer::Viewer;
use crate::support::{PATIENCE, Setup, TestServer, eventually};

/// Text in more than eight scripts; each has more characters than a keyboard has unused keys.
const TEXTS: [&str; 10] = [
    "Cr\u{e8}me br\u{fb}l\u{e9}e, \u{d6}l, \u{151}, \u{141}\u{f3}d\u{17a}, 20 \u{20ac} (\u{df}) @#!?",
    "Съешь же ещё этих мягких французских булок, да выпей чаю",
    "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία",
    "דג סקרן שט בים מאוכזב ולפתע מצא חברה",
    "صف خلق خود كمثل الشمس إذ بزغت",
    "いろはにほへとちりぬるをワカヨタレソツネナラム",
    "天地玄黃宇宙洪荒日月盈昃辰宿列張寒來暑往秋收冬藏閏餘成歲律呂調陽雲騰致雨露結爲霜金生麗水玉出崑岡",
    "키스의고유조건은입술끼리만나야하고특별한기술은필요치않다",
    "เป็นมนุษย์สุดประเสริฐเลิศคุณค่า",
    "😀🎭👩🚀",
];

/// The delay between two keys of very fast input.
const GAP: Duration = Duration::from_millis(5);

/// The keysym that a viewer sends for a character: Russian and Greek letters have legacy keysyms.
fn keysym_of(char: char) -> u32 {
    const CYRILLIC: &str = "юабцдефгхийклмнопярстужвьызшэщчъ";
    const GREEK: &str = "αβγδεζηθικλμνξοπρσςτυφχψω";
    let point = u32::from(char);
    let among = |letters: &str, first: u32| {
        letters.chars().zip(first..).find_map(|(it, keysym)| (it == char).then_some(keysym))
    };
    match point {
        0x20..=0xff => point,
        _ => among(CYRILLIC, 0x6c0).or_else(|| among(GREEK, 0x7e1)).unwrap_or(0x0100_0000 | point),
    }
}

async fn type_text(viewer: &mut Viewer, text: &str, gap: Duration) {
    for char in text.chars() {
        viewer.press(keysym_of(char)).await;
        tokio::time::sleep(gap).await;
    }
}

/// A page with a single focused field that records key events.
async fn field(page: &mut Page, viewer: &mut Viewer) {
    let script = "document.body.innerHTML = '<textarea id=field \
         style=\"position:fixed;inset:0;width:100vw;height:100vh\"></textarea>'; \
         keys = []; field.addEventListener('keydown', it => keys.push(it)); 1";
    assert_eq!(page.evaluate(script).await, 1);
    // The first click of a viewer may come before the window takes input.
    let deadline = Instant::now() + PATIENCE;
    let mut focus = Value::Null;
    while focus != "field" {
        assert!(Instant::now() < deadline, "the focus is in {focus}");
        viewer.click(300, 200).await;
        for _ in 0..50 {
            focus = page.evaluate("document.activeElement.id").await;
            if focus == "field" {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Waits until the value of a script is sufficient, and returns it.
async fn until(page: &mut Page, script: &str, is_enough: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let value = page.evaluate(script).await;
        if is_enough(&value) {
            return value;
        }
        assert!(Instant::now() < deadline, "`{script}` gives {value}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn holds(page: &mut Page, text: &str) {
    let length = text.chars().count();
    let is_as_long = |it: &Value| it.as_str().is_some_and(|it| it.chars().count() >= length);
    assert_eq!(until(page, "field.value", is_as_long).await, text);
}

/// Returns the recorded key events, and clears them and the text.
async fn keys(page: &mut Page, of: &str) -> String {
    let script = format!(
        "(() => {{ const said = keys.filter(it => it.key !== 'Shift' && it.keyCode !== 229)\
         .map(it => it.{of}).join(''); keys.length = 0; field.value = ''; return said; }})()"
    );
    page.evaluate(&script).await.as_str().unwrap().to_owned()
}

async fn every_script(page: &mut Page, viewer: &mut Viewer) {
    for text in TEXTS {
        type_text(viewer, text, GAP).await;
        holds(page, text).await;
        // Characters beyond the first 65,536 reach a page like those of an input method.
        let heard: String = text.chars().filter(|it| u32::from(*it) <= 0xffff).collect();
        assert_eq!(keys(page, "key").await, heard);
    }
    // Pasted by typing, all at once.
    let all = TEXTS.concat();
    type_text(viewer, &all, Duration::ZERO).await;
    holds(page, &all).await;
    keys(page, "key").await;
}

async fn typing(vnc_server: &str) {
    const CONTROL: u32 = 0xffe3;
    let site = Site::start().await;
    let server = Setup::real().set("desktop.vnc_server", vnc_server).start().await;
    let client = &server.client;
    let url = site.page("login.html");
    let before = client.session_of(json!({ "start_url": url.clone() })).await;
    let id = id_of(&before);
    let mut page = Page::of(client, &id).await;
    page.loaded(&url).await;
    let mut viewer = Viewer::of(client, &id).await;
    field(&mut page, &mut viewer).await;
    every_script(&mut page, &mut viewer).await;

    // The keypad of a viewer whose NumLock is on.
    for digit in 0..10 {
        viewer.press(0xffb0 + digit).await;
    }
    holds(&mut page, "0123456789").await;
    assert!(keys(&mut page, "code").await.starts_with("Numpad0Numpad1Numpad2"));

    // A letter has its own key.
    type_text(&mut viewer, "aZ1", GAP).await;
    holds(&mut page, "aZ1").await;
    assert_eq!(keys(&mut page, "code").await, "KeyAKeyZDigit1");

    // A click is handled after the text before it and before the text after it: the click moves to the end of
    // the only line, and Home to its start.
    type_text(&mut viewer, "один", Duration::ZERO).await;
    viewer.press(0xff50).await;
    viewer.click(300, 200).await;
    type_text(&mut viewer, "два", Duration::ZERO).await;
    holds(&mut page, "одиндва").await;

    // Ctrl+A with a Russian keyboard, then a key that replaces the text.
    viewer.key(CONTROL, true).await;
    viewer.press(keysym_of('ф')).await;
    viewer.key(CONTROL, false).await;
    viewer.press(keysym_of('щ')).await;
    until(&mut page, "field.value", |it| it == "щ").await;

    // The next browser has another connection to the display.
    TestServer::kill(server.program(&id, "/chromium"));
    eventually("it recovers", async || {
        let session = client.look(&id).await;
        (session["version"] != before["version"] && session["status"] == "running").then_some(())
    })
    .await;
    let mut page = Page::of(client, &id).await;
    page.loaded(&url).await;
    let mut viewer = Viewer::of(client, &id).await;
    field(&mut page, &mut viewer).await;
    let text = TEXTS[5];
    type_text(&mut viewer, text, GAP).await;
    holds(&mut page, text).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_script_can_be_typed_beside_x11vnc() {
    typing("x11vnc").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_script_can_be_typed_beside_tigervnc() {
    typing("tigervnc").await;
}
