//! Tests of what agents use of a page, against a real browser: snapshots, references, roles, tabs.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::frame::Target;
use super::input::Clicking;
use super::snapshot::{Snapshot, SnapshotOptions};
use super::{Browser, PageError, Wants};
use crate::workflow::definition::block::LoadState;
use crate::workflow::testing::{Chromium, Site};

pub(super) const LIMIT: Duration = Duration::from_secs(60);

/// A browser with the first page of a site.
pub(super) struct World {
    pub(super) browser: Browser,
    pub(super) site: Site,
    _chromium: Chromium,
}

impl World {
    pub(super) async fn new(pages: &[(&str, &str)]) -> Self {
        Self::with(pages, Wants::default()).await
    }

    pub(super) async fn with(pages: &[(&str, &str)], wants: Wants) -> Self {
        let (chromium, site) = (Chromium::start().await, Site::serve(pages).await);
        let devtools = chromium.connect().await;
        let browser = Browser::attach(Arc::clone(&devtools), wants, serde_json::Map::new());
        let browser = browser.await.unwrap();
        browser.open(&site.url("/"), LoadState::Load, LIMIT).await.unwrap();
        Self { browser, site, _chromium: chromium }
    }

    pub(super) async fn snapshot(&self) -> Snapshot {
        self.browser.snapshot(&SnapshotOptions::default(), LIMIT).await.unwrap()
    }

    /// Returns the locator of the element in the first line that contains `text`.
    pub(super) async fn reference(&self, text: &str) -> String {
        let snapshot = self.snapshot().await;
        let line = snapshot.text.lines().find(|line| line.contains(text));
        let line = line.unwrap_or_else(|| panic!("{text} in {}", snapshot.text));
        let (_, rest) = line.split_once("[ref=").unwrap();
        format!("ref={}", rest.split_once(']').unwrap().0)
    }

    pub(super) async fn click(&self, selector: &str) -> Result<(), PageError> {
        self.browser.click(at(selector), &Clicking::default()).await
    }

    pub(super) async fn script(&self, source: &str) -> Value {
        self.browser.script(&[], source, &Value::Null, LIMIT).await.unwrap()
    }

    async fn count(&self, selector: &str) -> u64 {
        let facts = self.browser.facts(Some(selector), &[], Instant::now() + LIMIT).await.unwrap();
        facts["count"].as_u64().unwrap()
    }
}

pub(super) fn at(selector: &str) -> Target<'_> {
    Target { selector, frames: &[], timeout: LIMIT }
}

const FORM: &str = r#"<!doctype html><title>Sign in</title>
<h1>Sign <b>in</b></h1>
<form onsubmit="document.title='sent';return false"><label>User name <input value=ann required></label>
<input type=password aria-label=Password value=secret>
<label><input type=checkbox checked> Keep me</label>
<select aria-label=Size><option value=s>Small<option value=m selected>Middle</select>
<textarea aria-label=Note>old
text</textarea>
<button disabled>Wait</button><button>Go on</button></form>
<a href="/help?x=1#top">Help</a>
<ul><li>First<li>Second <a href="https://a.example/">link</a> rest</ul>
<p>Some <code>code</code> in a text.<br>And more.</p><div><div><span>deep</span></div></div>"#;

#[tokio::test]
async fn a_page_is_text_and_its_references_are_acted_on() {
    let world = World::new(&[("/", FORM)]).await;
    let snapshot = world.snapshot().await;
    let expected = r#"- heading "Sign in" [level=1] [ref=e1]
- form [ref=e2]:
  - textbox "User name" [required] [ref=e3]: ann
  - textbox "Password" [ref=e4]: [protected]
  - checkbox "Keep me" [checked] [ref=e5]
  - combobox "Size" [ref=e6]:
    - option "Small"
    - option "Middle" [selected]
  - textbox "Note" [ref=e7]: old text
  - button "Wait" [disabled] [ref=e8]
  - button "Go on" [ref=e9]
- link "Help" [ref=e10]:
  - /url: /help?x=1#top
- list [ref=e11]:
  - listitem [ref=e12]: First
  - listitem [ref=e13]:
    - text: Second
    - link "link" [ref=e14]:
      - /url: https://a.example/
    - text: rest
- paragraph [ref=e15]: Some code in a text. And more.
- text: deep
"#;
    assert_eq!(snapshot.text, expected);
    assert_eq!((snapshot.title.as_str(), snapshot.left_out), ("Sign in", 0));
    assert_eq!(snapshot.url, world.site.url("/"));

    let browser = &world.browser;
    browser.fill(at("ref=e3"), "ada").await.unwrap();
    assert_eq!(browser.select(at("ref=e6"), &["Small".to_owned()]).await.unwrap(), ["s"]);
    world.click("ref=e5").await.unwrap();
    browser.hover(at("ref=e10")).await.unwrap();
    browser.scroll(Some(at("ref=e15")), (0.0, 0.0), None).await.unwrap();
    let stroke = super::keys::parse("x").unwrap();
    browser.press(Some(at("ref=e7")), &[stroke], LIMIT).await.unwrap();
    browser.wait_for_state(at("ref=e8"), "disabled").await.unwrap();
    let facts = browser.facts(Some("ref=e11 >> role=listitem"), &[], Instant::now() + LIMIT);
    assert_eq!(facts.await.unwrap()["count"], 2);
    let field = json!({ "steps": super::locator::Locator::parse("ref=e12").unwrap() });
    assert_eq!(browser.extract(at("it"), &field, false).await.unwrap(), "First");
    world.click("ref=e9").await.unwrap();
    assert_eq!(world.script("document.title").await, "sent");

    let again = world.snapshot().await.text;
    assert!(again.contains(r#"- textbox "User name" [required] [ref=e3]: ada"#), "{again}");
    assert!(again.contains(r#"- checkbox "Keep me" [ref=e5]"#), "{again}");
    assert!(again.contains(r#"- option "Small" [selected]"#), "{again}");
    assert!(again.contains(r#"- button "Go on" [active] [ref=e9]"#), "{again}");
}

#[tokio::test]
async fn a_reference_whose_element_is_gone_is_an_error_at_once() {
    let page = "<button>One</button><button>Two</button>";
    let world = World::new(&[("/", page), ("/next", page)]).await;
    world.snapshot().await;
    world.script("document.querySelector('button').remove()").await;
    let began = Instant::now();
    let error = world.click("ref=e1").await.unwrap_err();
    assert_eq!(error.code(), "stale_reference");
    let said = "`ref=e1` is not on the page: the page has changed, take a new snapshot";
    assert_eq!(error.to_string(), said);
    world.browser.wait_for_state(at("ref=e1"), "hidden").await.unwrap();
    assert_eq!(world.click("ref=e99").await.unwrap_err().code(), "stale_reference");
    let unknown = world.browser.wait_for_state(at("ref=e99"), "hidden").await.unwrap_err();
    assert_eq!(unknown.code(), "stale_reference");
    world.click("ref=e2").await.unwrap();

    // An element that goes while it is waited for.
    world.script("document.querySelector('button').disabled = true; setTimeout(() => document.querySelector('button').remove(), 300)").await;
    assert_eq!(world.click("ref=e2").await.unwrap_err().code(), "stale_reference");

    let next = world.site.url("/next");
    world.browser.open(&next, LoadState::Load, LIMIT).await.unwrap();
    assert_eq!(world.click("ref=e2").await.unwrap_err().code(), "stale_reference");
    let root = SnapshotOptions { root: Some("e2"), ..SnapshotOptions::default() };
    let error = world.browser.snapshot(&root, LIMIT).await.unwrap_err();
    assert_eq!(error.code(), "stale_reference");
    assert!(began.elapsed() < LIMIT, "{:?}", began.elapsed());
    let text = world.snapshot().await.text;
    assert_eq!(text, "- button \"One\" [ref=e3]\n- button \"Two\" [ref=e4]\n");
}

#[tokio::test]
async fn frames_are_nested_and_their_elements_are_acted_on() {
    let inner = "<title>Inner</title><body style='margin:40px'><button onclick=\"this.textContent='Paid'\">Pay</button>";
    let site = Site::serve(&[("/inner", inner)]).await;
    let outer = format!(
        "<h1>Outer</h1><div style='padding:30px'><iframe title=near src='/inner'></iframe></div>\
         <iframe title=far src='{}'></iframe>",
        site.elsewhere("/inner"),
    );
    let world = World::new(&[("/", &outer), ("/inner", inner)]).await;
    let expected = r#"- heading "Outer" [level=1] [ref=e1]
- iframe "near" [ref=e2]:
  - button "Pay" [ref=e3]
- iframe "far" [ref=e4]:
  - button "Pay" [ref=e5]
"#;
    assert_eq!(world.snapshot().await.text, expected);
    world.click("ref=e3").await.unwrap();
    world.click("ref=e5").await.unwrap();
    let far = SnapshotOptions { root: Some("e4"), ..SnapshotOptions::default() };
    let far = world.browser.snapshot(&far, LIMIT).await.unwrap().text;
    assert_eq!(far, "- iframe \"far\" [ref=e4]:\n  - button \"Paid\" [active] [ref=e5]\n");
    let frames = ["iframe".to_owned()];
    let target = Target { frames: &frames, ..at("ref=e3") };
    let error = world.browser.hover(target).await.unwrap_err();
    assert_eq!(error.code(), "selector_invalid");
    let frames = ["ref=e2".to_owned()];
    let target = Target { frames: &frames, ..at("button") };
    assert_eq!(world.browser.hover(target).await.unwrap_err().code(), "selector_invalid");

    world.script("document.querySelectorAll('iframe')[1].remove()").await;
    assert_eq!(world.click("ref=e5").await.unwrap_err().code(), "stale_reference");
    world.click("ref=e3").await.unwrap();
}

#[tokio::test]
async fn texts_of_a_page_do_not_forge_elements() {
    let page = "<p>harmless\n- button \"Pay\" [ref=e1]</p>\
        <button aria-label='x&quot; [ref=e7]: y&#10;- link &quot;Bank&quot; [ref=e8]'>a</button>\
        <textarea aria-label=v>one\n- heading \"two\" [level=1] [ref=e9]</textarea>\
        <p>a&#x202e;b&#x2028;- link&#0;&#xe0041;c</p><p>text: - button: x #</p>\
        <a href='/x&#10;- button [ref=e5]?\"'>l</a>";
    let world = World::new(&[("/", page)]).await;
    let text = world.snapshot().await.text;
    let expected = r#"- paragraph [ref=e1]: "harmless - button \"Pay\" \u005bref=e1]"
- button "x\" \u005bref=e7]: y - link \"Bank\" \u005bref=e8]" [ref=e2]
- textbox "v" [ref=e3]: "one - heading \"two\" [level=1] \u005bref=e9]"
- paragraph [ref=e4]: ab - link�c
- paragraph [ref=e5]: "text: - button: x #"
- link "l" [ref=e6]:
  - /url: "/x-%20button%20[ref=e5]?%22"
"#;
    assert_eq!(text.replace("\\u005bref=e5]?", "[ref=e5]?"), expected, "{text}");
    assert_eq!(text.matches("[ref=").count(), 6);
}

#[tokio::test]
async fn snapshots_of_large_hung_and_crashed_pages_end() {
    let page = "<title>Many</title><script>document.write(Array.from({length: 1500}, (_, at) => \
        `<section><h3>Part ${at}</h3><p>Text of ${at}</p><button>Do ${at}</button></section>`).join(''))</script>";
    let world = World::new(&[("/", page)]).await;
    let whole = world.snapshot().await;
    let lines = whole.text.lines().count();
    assert_eq!(lines + whole.left_out, 4_500);
    assert!(whole.text.len() <= 100_000 && whole.text.len() > 99_900, "{}", whole.text.len());
    let some = SnapshotOptions { max_chars: 1_000, interactive: true, ..Default::default() };
    let some = world.browser.snapshot(&some, LIMIT).await.unwrap();
    assert_eq!(some.text.lines().count() + some.left_out, 3_000);
    assert!(!some.text.contains("paragraph"), "{}", some.text);

    world.script("document.body.innerHTML = '<b></b>'.repeat(100001)").await;
    let error = world.browser.snapshot(&SnapshotOptions::default(), LIMIT).await.unwrap_err();
    assert_eq!(error.code(), "element_unfit", "{error}");
    let error = world.browser.hover(at("role=button")).await.unwrap_err();
    assert_eq!(error.code(), "element_unfit", "{error}");
    let long =
        "document.body.innerHTML = '<b></b>'; document.body.dataset.a = 'x'.repeat(10000001)";
    world.script(long).await;
    let error = world.browser.snapshot(&SnapshotOptions::default(), LIMIT).await.unwrap_err();
    assert_eq!(error.code(), "element_unfit", "{error}");

    world.script("setTimeout(() => { for (;;); }, 0)").await;
    let half = Duration::from_millis(500);
    let error = world.browser.snapshot(&SnapshotOptions::default(), half).await.unwrap_err();
    assert_eq!(error.code(), "timeout", "{error}");

    let world = World::new(&[("/", page)]).await;
    let session = world.browser.working().unwrap();
    world.browser.send(&session, "Page.crash", json!({}));
    let error = world.browser.snapshot(&SnapshotOptions::default(), LIMIT).await.unwrap_err();
    assert_eq!(error.code(), "page_crashed", "{error}");
}

#[tokio::test]
async fn a_part_of_a_page_is_shown_to_a_depth() {
    let world = World::new(&[("/", FORM)]).await;
    world.snapshot().await;
    let list = SnapshotOptions { root: Some("e11"), depth: Some(2), ..Default::default() };
    let list = world.browser.snapshot(&list, LIMIT).await.unwrap().text;
    let expected =
        "- list [ref=e11]:\n  - listitem [ref=e12]: First\n  - listitem [more] [ref=e13]\n";
    assert_eq!(list, expected);
    let acting = SnapshotOptions { interactive: true, ..Default::default() };
    let acting = world.browser.snapshot(&acting, LIMIT).await.unwrap().text;
    let lines: Vec<&str> = acting.lines().collect();
    assert_eq!(lines[0], "- heading \"Sign in\" [level=1] [ref=e1]");
    assert_eq!(lines[1], "- textbox \"User name\" [required] [ref=e3]: ann");
    assert!(!acting.contains("deep") && !acting.contains("list"), "{acting}");
}

#[tokio::test]
async fn roles_and_names_are_those_of_the_browser() {
    let page = r#"<style>#b::before { content: "Add " } #hidden { display: none }</style>
        <span id=l1 aria-labelledby=l2>wrong</span><span id=l2>Chained</span>
        <button aria-labelledby="l1 x">no</button><span id=x aria-label="name">no</span>
        <button id=b>item</button>
        <label>Wrapped <input></label>
        <ul role=presentation><li>no item</li></ul><ul><li id=mine>item</li></ul>
        <section>no region</section><section aria-label=Part>region</section>
        <div role=list aria-label=Owner aria-owns="far"></div><div role=list aria-label=Other></div>
        <p><span role=listitem id=far>Owned</span></p>
        <button id=hidden>Hidden</button><div aria-hidden=true><button>Hidden too</button></div>
        <h2>Two</h2><div role=heading aria-level=3>Three</div>
        <img alt=Picture src="data:,"><img alt="" src="data:,">
        <table><tr><td>plain</td></tr></table>
        <div role="checkbox" aria-checked=mixed>Mixed</div><div role=switch aria-checked=true>On</div>
        <div id=host></div>
        <script>host.attachShadow({mode: "open"}).innerHTML = "<button>Shadow</button>"</script>"#;
    let world = World::new(&[("/", page)]).await;
    for (selector, count) in [
        ("role=button[name=\"Chained name\"]", 0),
        ("role=button[name=\"wrong name\" s]", 1),
        ("role=button[name=\"Add item\"]", 1),
        ("role=button[name=\"ADD\"]", 1),
        ("role=button[name=\"ADD\" s]", 0),
        ("role=button[name=\"add item\"][exact]", 0),
        ("role=textbox[name=\"Wrapped\" s]", 1),
        ("role=listitem", 2),
        ("role=region", 1),
        ("role=list[name=\"Owner\"] >> role=listitem", 1),
        ("role=list[name=\"Other\"] >> role=listitem", 0),
        ("p >> role=listitem", 1),
        ("role=button[name=\"Hidden\"]", 0),
        ("role=heading", 2),
        ("role=heading[level=3]", 1),
        ("role=img", 1),
        ("role=cell[name=plain]", 1),
        ("role=checkbox[checked]", 0),
        ("role=checkbox[checked=mixed]", 1),
        ("role=switch[checked]", 1),
        ("#host >> role=button", 1),
        ("role=button >> nth=-1", 1),
        ("role=nothing", 0),
    ] {
        assert_eq!(world.count(selector).await, count, "{selector}");
    }
}

#[tokio::test]
async fn elements_are_waited_for_by_role() {
    let page = "<title>T</title><main></main><script>\
        setTimeout(() => document.querySelector('main').innerHTML =\
        '<button disabled onclick=\"document.title = 1\">Late</button>', 300);\
        setTimeout(() => document.querySelector('button').disabled = false, 600);\
        setTimeout(() => document.querySelector('main').insertAdjacentHTML('beforeend', '<i role=status>Ready</i>'), 900);\
        </script>";
    let world = World::new(&[("/", page)]).await;
    world.click("main >> role=button[name=\"late\"]").await.unwrap();
    assert_eq!(world.script("document.title").await, "1");
    world.browser.wait_for_state(at("role=status"), "visible").await.unwrap();
    world.script("setTimeout(() => document.querySelector('i').hidden = true, 200)").await;
    world.browser.wait_for_state(at("role=status"), "hidden").await.unwrap();
    let late = Target { timeout: Duration::from_millis(300), ..at("role=link") };
    let error = world.browser.hover(late).await.unwrap_err();
    assert_eq!(error.to_string(), "`role=link`: no element matches within 0.3 s");
}

#[tokio::test]
async fn tabs_are_listed_opened_selected_and_closed() {
    let pages =
        [("/", "<title>One</title><button>B</button>"), ("/two", "<title>Two</title><b>2</b>")];
    let world = World::new(&pages).await;
    let browser = &world.browser;
    let seen = async || -> Vec<(String, bool)> {
        let tabs = browser.tabs().await.unwrap();
        tabs.into_iter().map(|tab| (tab.title, tab.current)).collect()
    };
    let one = || ("One".to_owned(), true);
    assert_eq!(seen().await, [one()]);
    let reference = world.reference("button").await;
    let opened = browser.open_tab(&world.site.url("/two"), LoadState::Load, LIMIT).await.unwrap();
    assert_eq!(opened.url, world.site.url("/two"));
    assert_eq!(seen().await, [("One".to_owned(), false), ("Two".to_owned(), true)]);
    let error = world.click(&reference).await.unwrap_err();
    assert!(error.to_string().contains("in another tab"), "{error}");

    let tabs = browser.tabs().await.unwrap();
    browser.select_tab(&tabs[0].target).await.unwrap();
    assert_eq!(seen().await, [one(), ("Two".to_owned(), false)]);
    assert_eq!(world.script("document.visibilityState").await, "visible");
    world.click(&reference).await.unwrap();
    browser.close_tab(&tabs[0].target).await.unwrap();
    assert_eq!(seen().await, [("Two".to_owned(), true)]);
    assert_eq!(world.script("document.visibilityState").await, "visible");
    assert_eq!(world.click(&reference).await.unwrap_err().code(), "stale_reference");
    let last = browser.close_tab(&tabs[1].target).await.unwrap_err();
    assert_eq!(last.code(), "last_tab");
    assert_eq!(browser.select_tab("nope").await.unwrap_err().code(), "tab_unknown");
    assert_eq!(browser.close_tab(&tabs[0].target).await.unwrap_err().code(), "tab_unknown");
}

#[tokio::test]
async fn a_page_that_keeps_changing_and_a_frame_that_hangs_give_snapshots() {
    let page = "<title>Busy</title><button>B</button><script>\
        const count = Number(sessionStorage.count ?? 0);\
        if (count < 15) { sessionStorage.count = count + 1; setTimeout(() => location.reload(), 30) }\
        else document.title = 'Done';</script>";
    let hangs = "<b>x</b><script>setTimeout(() => { for (;;); }, 300)</script>";
    let site = Site::serve(&[("/hangs", hangs)]).await;
    let frame = format!("<iframe src='{}'></iframe><p>After</p>", site.elsewhere("/hangs"));
    let world = World::new(&[("/", page), ("/frame", &frame)]).await;
    let deadline = Instant::now() + LIMIT;
    loop {
        let snapshot = world.snapshot().await;
        assert!(snapshot.text.contains("button \"B\"") || snapshot.text.is_empty(), "{snapshot:?}");
        if snapshot.title == "Done" {
            break;
        }
        assert!(Instant::now() < deadline, "{snapshot:?}");
    }

    world.browser.open(&world.site.url("/frame"), LoadState::Commit, LIMIT).await.unwrap();
    let deadline = Instant::now() + LIMIT;
    loop {
        let text = world.snapshot().await.text;
        if text.contains("[unavailable]") && text.contains("paragraph") {
            break;
        }
        assert!(Instant::now() < deadline, "{text}");
    }
}
