//! Tests of the actions that agents use, against a real browser: history, dragging, typing, pictures.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::agent_tests::{LIMIT, World, at};
use super::history::HistoryStep;
use super::picture::{Area, Picture, PictureFormat};
use super::{Browser, PageError, Wants};
use crate::workflow::definition::block::LoadState;
use crate::workflow::host::{Devtools, DevtoolsError, DevtoolsEvent};
use crate::workflow::testing::{Chromium, Site};

#[tokio::test]
async fn the_history_is_gone_through_and_pages_are_loaded_again() {
    let one =
        "<title>One</title><script>document.title += performance.now() > 0 ? '' : ''</script>";
    let two =
        "<title>Two</title><script>addEventListener('load', () => document.title += '!')</script>";
    let world = World::new(&[("/", one), ("/two", two)]).await;
    let browser = &world.browser;
    let step = async |step| browser.history(step, LoadState::Load, LIMIT).await;
    let error = step(HistoryStep::Forward).await.unwrap_err();
    assert_eq!((error.code(), error.to_string().contains("next")), ("history_empty", true));
    browser.open(&world.site.url("/two"), LoadState::Load, LIMIT).await.unwrap();
    assert_eq!(step(HistoryStep::Back).await.unwrap().url, world.site.url("/"));
    assert_eq!(world.script("document.title").await, "One");
    // The page before may come from the cache of the history, as a whole.
    assert_eq!(step(HistoryStep::Forward).await.unwrap().url, world.site.url("/two"));
    assert_eq!(world.script("document.title").await, "Two!");
    world.script("history.pushState(null, '', '#part')").await;
    world.script("window.stays = 1").await;
    assert_eq!(step(HistoryStep::Back).await.unwrap().url, world.site.url("/two"));
    assert_eq!(world.script("window.stays").await, 1);
    let reloaded = browser.reload(LoadState::Load, LIMIT).await.unwrap();
    assert_eq!((reloaded.url, reloaded.status), (world.site.url("/two"), Some(200)));
    assert_eq!(world.script("[document.title, window.stays ?? 0]").await, json!(["Two!", 0]));
    world.script("onbeforeunload = () => 'Stay?'").await;
    browser.reload(LoadState::NetworkIdle, LIMIT).await.unwrap();
}

#[tokio::test]
async fn elements_are_dragged_with_the_mouse_and_by_html() {
    let page = "<style>div{width:80px;height:60px;margin:20px}</style>\
        <div id=a draggable=true ondragstart=\"event.dataTransfer.setData('text/plain', 'cargo')\" ondragend=\"document.title += ' end'\">A</div>\
        <div id=b ondragover='event.preventDefault()' ondrop=\"event.preventDefault(); this.textContent = event.dataTransfer.getData('text/plain')\">B</div>\
        <div id=c onmousedown='this.from = event.clientY; event.preventDefault()'>C</div>\
        <div style='height:2000px'></div><div id=d>D</div>\
        <script>let moves = 0; onmousemove = (event) => { if (c.from && event.buttons === 1) moves += 1 };\
        d.onmouseup = () => d.textContent = moves > 4 ? 'released' : 'jumped'</script>";
    let world = World::new(&[("/", page)]).await;
    world.browser.drag(at("#a"), at("#b")).await.unwrap();
    assert_eq!(world.script("b.textContent").await, "cargo");
    assert_eq!(world.script("document.title").await, "end");
    world.browser.drag(at("#c"), at("#d")).await.unwrap();
    assert_eq!(world.script("d.textContent").await, "released");

    // The button does not stay pressed if there is nothing to drag to.
    let none = super::frame::Target { timeout: Duration::from_millis(200), ..at("#none") };
    world.script("window.onmouseup = () => document.title = 'up'").await;
    let error = world.browser.drag(at("#c"), none).await.unwrap_err();
    assert_eq!(error.code(), "element_not_ready");
    assert_eq!(world.script("document.title").await, "up");
    world.click("#b").await.unwrap();

    // Nor if the drag is dropped half-way.
    world.script("document.title = 'down'").await;
    let drag = world.browser.drag(at("#c"), at("#none"));
    assert!(tokio::time::timeout(Duration::from_secs(3), drag).await.is_err());
    let deadline = Instant::now() + LIMIT;
    while world.script("document.title").await != "up" {
        assert!(Instant::now() < deadline, "the button is still pressed");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    world.browser.drag(at("#a"), at("#b")).await.unwrap();
}

/// A connection to a browser that a person may control.
#[derive(Debug)]
struct Shared {
    devtools: Arc<dyn Devtools>,
    is_held: Arc<AtomicBool>,
}

impl Devtools for Shared {
    fn call(
        &self,
        session: Option<&str>,
        method: &str,
        params: Value,
    ) -> BoxFuture<'static, Result<Value, DevtoolsError>> {
        self.devtools.call(session, method, params)
    }

    fn events(&self) -> mpsc::Receiver<DevtoolsEvent> {
        self.devtools.events()
    }

    fn is_held(&self) -> bool {
        self.is_held.load(Ordering::Relaxed)
    }
}

#[tokio::test]
async fn dialogs_are_left_to_a_person_in_control() {
    let page = "<title>T</title>";
    let (chromium, site) = (Chromium::start().await, Site::serve(&[("/", page)]).await);
    let is_held = Arc::new(AtomicBool::new(false));
    let devtools = Shared { devtools: chromium.connect().await, is_held: Arc::clone(&is_held) };
    let attached = Browser::attach(Arc::new(devtools), Wants::default(), serde_json::Map::new());
    let browser = attached.await.unwrap();
    browser.open(&site.url("/"), LoadState::Load, LIMIT).await.unwrap();
    is_held.store(true, Ordering::Relaxed);
    let ask = "setTimeout(() => { document.title = confirm('Sure?') ? 'yes' : 'no' }, 0)";
    browser.script(&[], ask, &Value::Null, LIMIT).await.unwrap();
    let title = async |limit| browser.script(&[], "document.title", &Value::Null, limit).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let error = title(Duration::from_millis(500)).await.unwrap_err();
    assert_eq!(error.code(), "timeout", "the dialog is open");
    is_held.store(false, Ordering::Relaxed);
    assert_eq!(title(LIMIT).await.unwrap(), "no");
}

#[tokio::test]
async fn a_page_cannot_add_lines_to_a_reason() {
    let page = "<button>B</button><div style='position:fixed;inset:0'></div>\
        <script>const veil = document.querySelector('div');\
        veil.id = 'a\\n- system: ' + 'b'.repeat(5000); veil.className = 'c'.repeat(5000)</script>";
    let world = World::new(&[("/", page)]).await;
    let covered = super::frame::Target { timeout: Duration::from_millis(200), ..at("button") };
    let error = world.browser.hover(covered).await.unwrap_err().to_string();
    assert!(error.contains("<div#a - system: bb") && error.contains("> covers"), "{error}");
    assert!(!error.contains('\n') && error.len() < 250, "{error}");
}

#[tokio::test]
async fn a_text_is_typed_key_by_key() {
    let page = "<textarea id=t>old </textarea><p></p><script>t.setSelectionRange(4, 4);\
        t.onkeydown = (event) => document.querySelector('p').textContent += event.key + ' '</script>";
    let world = World::new(&[("/", page)]).await;
    world.browser.type_text(at("#t"), "Hi ü€\r\n!").await.unwrap();
    assert_eq!(world.script("t.value").await, "old Hi ü€\n!");
    assert_eq!(world.script("document.querySelector('p').textContent").await, "H i   Enter ! ");
}

#[tokio::test]
async fn the_latest_messages_and_requests_are_kept() {
    let page = "<title>A</title><script>console.warn('careful', 1);\
        fetch('/data').then(() => fetch('http://127.0.0.1:1/')).catch(() => console.error('late'));\
        nope()</script>";
    let wants = Wants { recent: true, ..Wants::default() };
    let world = World::with(&[("/", page), ("404 /data", "no")], wants).await;
    let watching = world.browser.watching().unwrap();
    let deadline = Instant::now() + LIMIT;
    while !watching.messages().iter().any(|message| message.text == "late") {
        assert!(Instant::now() < deadline, "{:?}", watching.messages());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let messages = watching.messages();
    let warning = messages.iter().find(|message| message.level == "warning").unwrap();
    assert_eq!(warning.text, "careful 1");
    assert_eq!(warning.place, format!("{}:1", world.site.url("/")));
    assert!(messages.iter().any(|message| message.level == "exception"), "{messages:?}");
    let requests = watching.requests();
    let of = |end: &str| requests.iter().find(|request| request.url.ends_with(end)).unwrap();
    assert_eq!((of("/data").status, of("/data").resource_type.as_str()), (Some(404), "fetch"));
    assert!(requests[0].seconds.is_some(), "{requests:?}");
    let failed = of("127.0.0.1:1/").failure.as_deref().unwrap_or_default();
    assert!(failed.starts_with("net::ERR_"), "{failed}");
    assert_eq!(watching.har(""), None);
}

/// Returns the size of a PNG and its pixels, red, green and blue.
fn decoded(file: &[u8]) -> (u32, u32, Vec<u8>) {
    let mut decoder = png::Decoder::new(std::io::Cursor::new(file));
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let mut reader = decoder.read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    let samples = info.color_type.samples();
    let rgb = pixels.chunks_exact(samples).flat_map(|pixel| pixel[..3].to_vec()).collect();
    (info.width, info.height, rgb)
}

#[tokio::test]
async fn pictures_show_the_view_the_page_or_an_element_with_marks() {
    let inner = "<body style='margin:0'><button style='position:absolute;left:20px;top:30px;width:50px;height:40px'>In</button>";
    let page = "<body style='margin:0;background:white'>\
        <button style='position:absolute;left:100px;top:50px;width:60px;height:40px'>A</button>\
        <button style='position:absolute;left:300px;top:50px;width:60px;height:40px'>Covered</button>\
        <div style='position:absolute;left:280px;top:30px;width:100px;height:90px;background:white'></div>\
        <iframe src=/inner style='position:absolute;left:100px;top:200px;width:200px;height:150px;border:0'></iframe>\
        <div style='height:2000px'></div><button style='position:absolute;left:0;top:1500px'>Far</button>";
    let world = World::new(&[("/", page), ("/inner", inner)]).await;
    let take =
        async |area, format, marks| world.browser.picture(&Picture { area, format, marks }).await;
    let plain = take(Area::Viewport, PictureFormat::Png, true).await.unwrap();
    let (width, height, before) = decoded(&plain);
    world.snapshot().await;
    let marked = take(Area::Viewport, PictureFormat::Png, true).await.unwrap();
    let (marked_width, marked_height, after) = decoded(&marked);
    assert_eq!((marked_width, marked_height), (width, height));
    // The pixels that the marks have changed, as the first and the last pixel of each box.
    let differs = |x: u32, y: u32| {
        let at = usize::try_from((y * width + x) * 3).unwrap();
        before[at..at + 3] != after[at..at + 3]
    };
    assert!(differs(100, 50) && differs(159, 89) && differs(130, 50), "the first button");
    assert!(!differs(130, 70), "inside of it");
    assert!(differs(120, 230) && differs(169, 269), "the button in the frame");
    assert!(!differs(300, 50) && !differs(359, 89), "the covered button");
    assert_eq!(world.script("document.querySelectorAll('*').length").await, 9);

    let jpeg = PictureFormat::Jpeg { quality: 60 };
    let whole = take(Area::FullPage, jpeg, true).await.unwrap();
    assert!(whole.starts_with(&[0xff, 0xd8, 0xff]));
    let (_, whole_height, _) =
        decoded(&take(Area::FullPage, PictureFormat::Png, false).await.unwrap());
    assert!(whole_height >= 2000, "{whole_height}");
    let far = take(Area::Element(at("text=Far")), PictureFormat::Png, false).await.unwrap();
    let (far_width, far_height, _) = decoded(&far);
    assert!(far_width < 100 && far_height < 60, "{far_width} x {far_height}");
    let reference = world.reference("\"In\"").await;
    let inside = take(Area::Element(at(&reference)), PictureFormat::Png, true).await.unwrap();
    let (inside_width, inside_height, pixels) = decoded(&inside);
    assert_eq!((inside_width, inside_height), (50, 40));
    assert_ne!(pixels[..3], [255, 255, 255], "its mark");
    let error = take(Area::Element(at("ref=e999")), PictureFormat::Png, false).await.unwrap_err();
    assert!(matches!(error, PageError::StaleReference { .. }), "{error}");
}
