//! Tests of blocks against a real browser. Each test has a Chromium of its own.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Browser, PageError, Wants};
use crate::domain::run::RunStatus;
use crate::workflow::definition::block::LoadState;
use crate::workflow::engine::{Outcome, Plan, Records, execute};
use crate::workflow::testing::{Chromium, Site, Stage, block_plan};

const SHOP: &str = r#"<!doctype html><title>Shop</title>
<nav><a id=more href="/more">More <b>things</b></a> <a href="/popup" target=_blank rel=opener>New tab</a></nav>
<form action="/thanks">
  <label for=email>Email address</label> <input id=email name=email>
  <input type=date name=day aria-label="Day">
  <select name=size data-testid=size><option value=s>Small</option><option value=l>Large</option></select>
  <input type=checkbox id=agree> <label for=agree>I agree</label>
  <textarea name=note placeholder="A note">old</textarea>
  <button>Order now</button>
</form>
<ul>
  <li class=item data-id=1><span class=name>Lamp</span> <span class=price>€ 1,299.50</span></li>
  <li class=item data-id=2><span class=name>Chair</span> <span class=price>€ 5</span><i>new</i></li>
</ul>
<button id=late style="display:none" onclick="document.title='late'">Late</button>
<button id=ask onclick="document.title = confirm('Sure?') ? 'yes' : 'no'">Ask</button>
<div id=hover onmouseenter="document.title='hovered'">Hover me</div>
<input id=keys onkeydown="this.dataset.last=event.key+event.ctrlKey">
<div style="height:3000px"></div>
<button id=far onclick="document.title='far'">Far away</button>
<script>setTimeout(() => document.getElementById('late').style.display = '', 300)</script>"#;

struct World {
    chromium: Chromium,
    site: Site,
}

impl World {
    async fn new(pages: &[(&str, &str)]) -> Self {
        Self { chromium: Chromium::start().await, site: Site::serve(pages).await }
    }

    fn plan(&self, mut blocks: Vec<Value>) -> Plan {
        let first =
            json!({ "block_type": "goto_url", "label": "start", "url": self.site.url("/") });
        blocks.insert(0, first);
        block_plan(Value::Array(blocks), json!({}))
    }

    async fn run(&self, plan: Plan) -> Outcome {
        let stage = Stage::with(&self.chromium).await;
        execute(plan, stage.host(), CancellationToken::new()).await
    }

    /// Runs blocks after the site's first page was opened, and returns the outputs.
    async fn completes(&self, blocks: Vec<Value>) -> Value {
        let outcome = self.run(self.plan(blocks)).await;
        assert_eq!(outcome.status, RunStatus::Completed, "{outcome:?}");
        outcome.outputs
    }

    /// Runs one block after the site's first page was opened, and returns the failure.
    async fn fails(&self, block: Value) -> (String, String) {
        let outcome = self.run(self.plan(vec![block])).await;
        let failure = outcome.failure.expect("the block should fail");
        (failure.code, failure.message)
    }
}

fn block(block_type: &str, label: &str, more: Value) -> Value {
    let mut block = json!({ "block_type": block_type, "label": label });
    for (key, value) in more.as_object().unwrap() {
        block[key] = value.clone();
    }
    block
}

fn title(label: &str) -> Value {
    block("script", label, json!({ "script": "document.title" }))
}

#[tokio::test]
async fn a_form_is_filled_sent_and_read() {
    let thanks = "<title>Thanks</title><h1>Thank you</h1>";
    let world = World::new(&[("/", SHOP), ("/thanks", thanks)]).await;
    let fields = json!({
        "products": { "list": ".item", "fields": {
            "id": { "attribute": "data-id", "type": "integer" },
            "name": ".name",
            "price": { "selector": ".price", "type": "number" },
            "new": "i",
        }},
        "names": { "selector": ".name", "all": true },
    });
    let outputs = world
        .completes(vec![
            block("extract", "shop", json!({ "fields": fields })),
            block("fill", "email", json!({ "selector": "label=Email address", "value": "ada@example.com" })),
            block("fill", "day", json!({ "selector": "role=textbox[name=\"nothing\"] >> nth=0", "value": "", "continue_on_failure": true, "timeout_seconds": 0.2 })),
            block("fill", "date", json!({ "selector": "label=Day", "value": "2026-11-22" })),
            block("select", "size", json!({ "selector": "testid=size", "values": "Large" })),
            block("click", "agree", json!({ "selector": "role=checkbox[name=\"I agree\"]" })),
            block("fill", "note", json!({ "selector": "placeholder=a note", "value": "Grüße & ü {{ size_output.values[0] }}" })),
            block("assert", "ticked", json!({ "selector": "#agree", "state": "checked" })),
            block("click", "order", json!({ "selector": "role=button[name=\"Order now\"]" })),
            block("extract", "thanks", json!({ "fields": { "said": "h1" } })),
            block("screenshot", "picture", json!({})),
        ])
        .await;
    let expected = json!({
        "products": [
            { "id": 1, "name": "Lamp", "price": 1299.5, "new": null },
            { "id": 2, "name": "Chair", "price": 5, "new": "new" },
        ],
        "names": ["Lamp", "Chair"],
    });
    assert_eq!(outputs["shop_output"], expected);
    assert_eq!(outputs["start_output"]["http_status"], 200);
    assert_eq!(outputs["thanks_output"], json!({ "said": "Thank you" }));
    assert_eq!(outputs["extracted_information"], json!([expected, { "said": "Thank you" }]));
    let sent =
        world.site.seen().into_iter().find(|request| request.starts_with("GET /thanks?")).unwrap();
    for part in
        ["email=ada%40example.com", "day=2026-11-22", "size=l", "note=Gr%C3%BC%C3%9Fe+%26+%C3%BC+l"]
    {
        assert!(sent.contains(part), "{part} in {sent}");
    }
}

#[tokio::test]
async fn elements_are_waited_for_scrolled_to_hovered_and_typed_into() {
    let world = World::new(&[("/", SHOP)]).await;
    let outputs = world
        .completes(vec![
            block("click", "late", json!({ "selector": "#late" })),
            title("one"),
            block("click", "far", json!({ "selector": "text=Far away" })),
            title("two"),
            block("hover", "over", json!({ "selector": "text=\"Hover me\"" })),
            title("three"),
            block("press", "shortcut", json!({ "selector": "#keys", "key": "Control+a" })),
            block("script", "four", json!({ "script": "document.querySelector('#keys').dataset.last" })),
            block("press", "typed", json!({ "selector": "#keys", "key": ["H", "i", "!"] })),
            block("assert", "holds", json!({ "selector": "#keys", "value": "Hi!" })),
            block("scroll", "down", json!({ "to": "bottom" })),
            block("script", "five", json!({ "script": "return args.more + (scrollY > 1000 ? 1 : 0)", "args": { "more": 41 } })),
            block("scroll", "up", json!({ "to": "top" })),
            block("script", "six", json!({ "script": "scrollY" })),
        ])
        .await;
    let results: Vec<&Value> = ["one", "two", "three", "four", "five", "six"]
        .iter()
        .map(|label| &outputs[format!("{label}_output")]["result"])
        .collect();
    assert_eq!(json!(results), json!(["late", "far", "hovered", "atrue", 42, 0]));
}

#[tokio::test]
async fn dialogs_are_answered_and_never_hang() {
    let leaving = "<title>Left</title>";
    let page = format!("{SHOP}<script>alert('Welcome'); onbeforeunload = () => 'Stay?'</script>");
    let world = World::new(&[("/", &page), ("/left", leaving)]).await;
    let url = world.site.url("/left");
    let outputs = world
        .completes(vec![
            block("click", "no", json!({ "selector": "#ask" })),
            title("one"),
            block("click", "yes", json!({ "selector": "#ask", "dialog": "accept" })),
            title("two"),
            block("goto_url", "leave", json!({ "url": url })),
            title("three"),
        ])
        .await;
    let results = [&outputs["one_output"], &outputs["two_output"], &outputs["three_output"]];
    assert_eq!(results.map(|output| output["result"].as_str().unwrap()), ["no", "yes", "Left"]);
    let dialogs = json!([{ "type": "confirm", "message": "Sure?" }]);
    assert_eq!(outputs["no_output"]["dialogs"], dialogs);
}

#[tokio::test]
async fn a_new_tab_is_followed_and_left_when_it_closes() {
    let popup = "<title>Popup</title><button onclick='window.close()'>Close</button>";
    let world =
        World::new(&[("/", SHOP), ("/popup", popup), ("/more", "<title>More</title>")]).await;
    let outputs = world
        .completes(vec![
            block("click", "open", json!({ "selector": "text=New tab" })),
            title("one"),
            block("click", "close", json!({ "selector": "role=button" })),
            title("two"),
            block("click", "go", json!({ "selector": "role=link[name=\"more things\"]" })),
            title("three"),
        ])
        .await;
    let results = [&outputs["one_output"], &outputs["two_output"], &outputs["three_output"]];
    assert_eq!(results.map(|output| output["result"].as_str().unwrap()), ["Popup", "Shop", "More"]);
}

#[tokio::test]
async fn frames_are_entered_whether_they_share_the_process_or_not() {
    let inner = "<body style='margin:40px'><input id=a><button onclick=\"document.querySelector('p').textContent=document.querySelector('#a').value\">Go</button><p></p>";
    let site = Site::serve(&[("/inner", inner)]).await;
    let outer = format!(
        "<h1>Outer</h1><div style='padding:30px'><iframe id=near src='{}'></iframe></div><iframe id=far src='{}'></iframe>",
        "/inner",
        site.elsewhere("/inner"),
    );
    let world = World::new(&[("/", &outer), ("/inner", inner)]).await;
    let mut blocks = Vec::new();
    for frame in ["near", "far"] {
        let at = json!(format!("iframe#{frame}"));
        blocks.push(block(
            "fill",
            &format!("fill_{frame}"),
            json!({ "frame": at, "selector": "#a", "value": frame }),
        ));
        blocks.push(block(
            "click",
            &format!("click_{frame}"),
            json!({ "frame": [at], "selector": "text=Go" }),
        ));
        blocks.push(block("extract", frame, json!({ "frame": at, "fields": { "said": "p" } })));
        blocks.push(block(
            "script",
            &format!("own_{frame}"),
            json!({ "frame": at, "script": "location.pathname" }),
        ));
    }
    let outputs = world.completes(blocks).await;
    assert_eq!(outputs["near_output"], json!({ "said": "near" }));
    assert_eq!(outputs["far_output"], json!({ "said": "far" }));
    assert_eq!(outputs["own_far_output"]["result"], "/inner");
}

#[tokio::test]
async fn what_does_not_happen_fails_in_time_with_its_reason() {
    let covered = "<button id=b disabled>B</button><button id=c>C</button><div id=veil style='position:fixed;inset:0'></div><p id=moving></p>";
    let world = World::new(&[("/", covered), ("404 /gone", "<h1>Gone</h1>")]).await;
    let cases = [
        (
            block("click", "a", json!({ "selector": "#none" })),
            "element_not_ready",
            "no element matches",
        ),
        (
            block("click", "a", json!({ "selector": "#b" })),
            "element_not_ready",
            "the element is disabled",
        ),
        (
            block("click", "a", json!({ "selector": "#c" })),
            "element_not_ready",
            "<div#veil> covers the element",
        ),
        (
            block("fill", "a", json!({ "selector": "#c", "value": "x" })),
            "element_not_ready",
            "cannot be edited",
        ),
        (
            block("extract", "a", json!({ "fields": { "x": ".none" } })),
            "element_not_ready",
            "no element matches",
        ),
        (
            block("click", "a", json!({ "selector": "p:nope(" })),
            "selector_invalid",
            "not a valid selector",
        ),
        (
            block("wait_for", "a", json!({ "text": "Never" })),
            "element_not_ready",
            "does not show the text",
        ),
        (block("wait_for", "a", json!({ "url": "/never" })), "timeout", "did not match `/never`"),
        (
            block("assert", "a", json!({ "selector": "button", "count": 3, "message": "three" })),
            "assertion_failed",
            "three (`button` matches 2 elements, not 3)",
        ),
        (
            block("script", "a", json!({ "script": "throw new Error('no')" })),
            "script_failed",
            "Error: no",
        ),
        (
            block("script", "a", json!({ "script": "new Promise(() => {})" })),
            "timeout",
            "the script did not end",
        ),
        (
            block("goto_url", "a", json!({ "url": "http://127.0.0.1:1/" })),
            "navigation_failed",
            "net::ERR_",
        ),
        (
            block("goto_url", "a", json!({ "url": world.site.url("/slow") })),
            "timeout",
            "did not load",
        ),
    ];
    for (mut case, code, message) in cases {
        case["timeout_seconds"] = json!(0.3);
        let began = Instant::now();
        let (found, said) = world.fails(case.clone()).await;
        assert_eq!(found, code, "{case}: {said}");
        assert!(said.contains(message), "{case}: {said}");
        assert!(began.elapsed() < Duration::from_secs(10), "{case}: {:?}", began.elapsed());
    }
    let gone = block("goto_url", "a", json!({ "url": world.site.url("/gone") }));
    assert_eq!(world.completes(vec![gone]).await["a_output"]["http_status"], 404);
}

#[tokio::test]
async fn files_are_uploaded_downloaded_printed_and_pictured() {
    let page = "<input type=file id=f><button id=choose onclick=\"document.querySelector('#f').click()\">Choose</button><a id=d href='/data.csv' download>Data</a><div style='height:2000px'>";
    let csv = "content-disposition: attachment; filename=\"rows.csv\"\ncontent-type: text/csv\n\na,b\n1,2\n";
    let world = World::new(&[("/", page), ("/data.csv", csv)]).await;
    let stage = Stage::with(&world.chromium).await;
    let said = "return await document.querySelector('#f').files[0].text()";
    let plan = world.plan(vec![
        block(
            "upload",
            "one",
            json!({ "selector": "#f", "files": [{ "name": "../a.txt", "text": "hello" }] }),
        ),
        block("script", "first", json!({ "script": said })),
        block(
            "upload",
            "two",
            json!({ "selector": "#choose", "files": [{ "name": "b.txt", "base64": "d29ybGQ=" }] }),
        ),
        block("script", "second", json!({ "script": said })),
        block("file_download", "click", json!({ "selector": "#d", "download_suffix": "_1" })),
        block("file_download", "direct", json!({ "url": world.site.url("/data.csv") })),
        block("file_url_parser", "rows", json!({ "file_url": world.site.url("/data.csv") })),
        block("screenshot", "shown", json!({})),
        block("screenshot", "whole", json!({ "full_page": true, "name": "page" })),
        block("print_page", "paper", json!({ "custom_filename": "paper" })),
        block(
            "cookies",
            "set",
            json!({ "action": "set", "cookies": [{ "name": "a", "value": "b" }] }),
        ),
        block("cookies", "get", json!({})),
        block("cookies", "clear", json!({ "action": "clear" })),
        block("cookies", "left", json!({})),
    ]);
    let outcome = execute(plan, stage.host(), CancellationToken::new()).await;
    assert_eq!(outcome.status, RunStatus::Completed, "{outcome:?}");
    let outputs = outcome.outputs;
    assert_eq!(outputs["first_output"]["result"], "hello");
    assert_eq!(outputs["second_output"]["result"], "world");
    assert_eq!(outputs["rows_output"], json!([{ "a": "1", "b": "2" }]));
    assert_eq!(outputs["get_output"]["cookies"][0]["value"], "b");
    assert_eq!(outputs["left_output"]["cookies"], json!([]));

    let stored = stage.stored();
    let listed: Vec<(&str, &str)> =
        stored.iter().map(|file| (file.artifact_type.as_str(), file.name.as_str())).collect();
    let expected = [
        ("download", "rows_1.csv"),
        ("download", "rows.csv"),
        ("screenshot", "shown.png"),
        ("screenshot", "page.png"),
        ("pdf", "paper.pdf"),
    ];
    assert_eq!(listed, expected);
    assert_eq!(&stored[0].bytes[..], b"a,b\n1,2\n");
    let height = |bytes: &[u8]| u32::from_be_bytes(bytes[20..24].try_into().unwrap());
    assert!(height(&stored[2].bytes) <= 700 && height(&stored[3].bytes) > 2000);
    assert!(stored[4].bytes.starts_with(b"%PDF"));
}

#[tokio::test]
async fn requests_are_sent_followed_and_guarded() {
    let world = World::new(&[
        ("/", "<title>Shop</title>"),
        ("/json", "content-type: application/json\n\n{\"a\": [1]}"),
        ("302 /hop", "location: /json\n\n"),
        ("500 /broken", "no"),
    ])
    .await;
    let request = |label: &str, more: Value| block("http_request", label, more);
    let outputs = world
        .completes(vec![
            request("get", json!({ "url": world.site.url("/hop") })),
            request("stay", json!({ "url": world.site.url("/hop"), "follow_redirects": false, "continue_on_failure": true })),
            request("post", json!({ "url": world.site.url("/json"), "method": "post", "body": { "x": "{{ get.body.a[0] }}" } })),
            request("broken", json!({ "url": world.site.url("/broken"), "continue_on_failure": true })),
            request("late", json!({ "url": world.site.url("/slow"), "timeout": 0.2, "continue_on_failure": true })),
        ])
        .await;
    assert_eq!(outputs["get_output"]["response_body"], json!({ "a": [1] }));
    assert_eq!(outputs["stay_output"]["status_code"], 302);
    assert_eq!(outputs["broken_output"]["status_code"], 500);
    assert_eq!(outputs["late_output"]["error_type"], "timeout");
    let posted = world.site.seen().into_iter().find(|request| request.starts_with("POST")).unwrap();
    assert!(posted.ends_with("{\"x\":\"1\"}") && posted.contains("application/json"), "{posted}");

    let mut plan = world.plan(vec![request("a", json!({ "url": world.site.url("/json") }))]);
    plan.settings.guard.allow_private = false;
    let outcome = world.run(plan).await;
    assert_eq!(outcome.failure.unwrap().code, "url_refused");
}

#[tokio::test]
async fn canceling_stops_whatever_block_is_under_way() {
    let world = World::new(&[("/", SHOP)]).await;
    for waiting in [
        block("click", "a", json!({ "selector": "#none", "timeout_seconds": 60 })),
        block("goto_url", "a", json!({ "url": world.site.url("/slow") })),
        block("script", "a", json!({ "script": "new Promise(() => {})", "timeout_seconds": 60 })),
        block("http_request", "a", json!({ "url": world.site.url("/slow"), "timeout": 60 })),
    ] {
        let stage = Stage::with(&world.chromium).await;
        let cancel = CancellationToken::new();
        let plan = world.plan(vec![waiting.clone()]);
        let running = tokio::spawn(execute(plan, stage.host(), cancel.clone()));
        let deadline = Instant::now() + Duration::from_secs(10);
        while stage.log().len() < 3 {
            assert!(Instant::now() < deadline, "{waiting} did not begin");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let began = Instant::now();
        cancel.cancel();
        let outcome = running.await.unwrap();
        assert_eq!(outcome.status, RunStatus::Canceled, "{waiting}");
        // By itself it would take a minute.
        assert!(began.elapsed() < Duration::from_secs(10), "{waiting}: {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn a_browser_that_dies_fails_the_block_at_once() {
    let mut world = World::new(&[("/", SHOP)]).await;
    let stage = Stage::with(&world.chromium).await;
    let waiting = block("click", "a", json!({ "selector": "#none", "timeout_seconds": 60 }));
    let plan = world.plan(vec![waiting]);
    let running = tokio::spawn(execute(plan, stage.host(), CancellationToken::new()));
    let deadline = Instant::now() + Duration::from_secs(10);
    while stage.log().len() < 3 {
        assert!(Instant::now() < deadline, "the block did not begin");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    world.chromium.kill();
    let outcome = tokio::time::timeout(Duration::from_secs(5), running).await.unwrap().unwrap();
    assert_eq!(outcome.failure.unwrap().code, "browser_disconnected");
}

#[tokio::test]
async fn a_page_is_opened_though_the_process_of_the_one_before_has_crashed() {
    const LIMIT: Duration = Duration::from_secs(20);
    let world = World::new(&[("/", SHOP), ("/more", "<title>More</title>")]).await;
    let devtools = world.chromium.connect().await;
    let browser = Browser::attach(Arc::clone(&devtools), Wants::default(), serde_json::Map::new())
        .await
        .unwrap();
    browser.open(&world.site.url("/"), LoadState::Load, LIMIT).await.unwrap();
    let session = browser.working().unwrap();
    // The process ends without an answer.
    drop(devtools.call(Some(&session), "Page.crash", json!({})));
    let deadline = Instant::now() + LIMIT;
    while browser.working().is_ok() {
        assert!(Instant::now() < deadline, "the process does not crash");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(matches!(browser.working(), Err(PageError::Crashed)), "{:?}", browser.working());
    let opened = browser.open(&world.site.url("/more"), LoadState::Load, LIMIT).await.unwrap();
    assert_eq!(opened.url, world.site.url("/more"));
}

#[tokio::test]
async fn a_click_does_not_hit_what_came_in_between() {
    // The pointer's arrival moves another button under it, which stays for a while.
    let page = "<style>button{position:absolute;left:0;width:200px;height:60px}</style>\
        <button id=a style='top:0' onclick=\"document.title+='a'\">A</button>\
        <button id=b style='top:100px' onclick=\"document.title+='b'\">B</button>\
        <script>let once=true;document.addEventListener('mousemove',()=>{if(once){once=false;\
        a.style.top='100px';b.style.top='0';setTimeout(()=>{a.style.top='0';b.style.top='100px'},300)}},true)</script>";
    let world = World::new(&[("/", page)]).await;
    let outputs = world
        .completes(vec![block("click", "click", json!({ "selector": "#a" })), title("said")])
        .await;
    assert_eq!(outputs["said_output"]["result"], "a");
}

#[tokio::test]
async fn the_network_is_idle_when_there_was_no_connection_for_half_a_second() {
    // Four requests, each within the idle time of the previous one, and then a pause longer than it.
    let page = "<title>busy</title><script>let left = 4;
        const next = () => fetch('/data').then(() => {
            left -= 1;
            document.title = left ? 'busy' : 'quiet';
            if (left) setTimeout(next, 350);
        });
        setTimeout(next, 350)</script>";
    let world = World::new(&[("/", page), ("/data", "data")]).await;
    let url = world.site.url("/");
    let outputs = world
        .completes(vec![
            block("goto_url", "open", json!({ "url": url, "wait_until": "networkidle" })),
            title("opened"),
        ])
        .await;
    assert_eq!(outputs["opened_output"]["result"], "quiet");
}

#[tokio::test]
async fn what_pages_ask_of_the_network_and_say_is_kept_where_it_is_wanted() {
    let page = r#"<title>A</title><script>console.warn('careful', {a: 1}); fetch('/data?x=1')
        .then(it => it.json()).then(it => console.log('got', it.n)); nope()</script>"#;
    let json_answer = "content-type: application/json\n\n{\"n\": 42}";
    let popup = "<title>Popup</title><script>console.error('from the new tab')</script>";
    let world = World::new(&[("/", page), ("/data", json_answer), ("/popup", popup)]).await;
    let stage = Stage::with(&world.chromium).await;
    let mut plan = world.plan(vec![
        block("wait_for", "idle", json!({ "network_idle": true })),
        block("script", "open", json!({ "script": "void window.open('/popup')" })),
        block("wait_for", "opened", json!({ "url": "/popup", "load_state": "load" })),
    ]);
    plan.records = Records { pictures: true, har: true, console: true };
    let outcome = execute(plan, stage.host(), CancellationToken::new()).await;
    assert_eq!(outcome.status, RunStatus::Completed, "{outcome:?}");

    let stored = stage.stored();
    let of = |kind: &str| stored.iter().filter(|it| it.artifact_type == kind).collect::<Vec<_>>();
    let console = String::from_utf8(of("browser_console_log")[0].bytes.to_vec()).unwrap();
    for part in [
        "[warning] careful Object (",
        "[log] got 42 (",
        "[exception] ReferenceError: nope is not defined",
        "[error] from the new tab (",
    ] {
        assert!(console.contains(part), "{part} in {console}");
    }
    let har: Value = serde_json::from_slice(&of("har")[0].bytes).unwrap();
    let entries = har["log"]["entries"].as_array().unwrap();
    let entry = |end: &str| {
        let is_it = |entry: &&Value| entry["request"]["url"].as_str().unwrap().ends_with(end);
        entries.iter().find(is_it).unwrap_or_else(|| panic!("{end} in {har:#}"))
    };
    assert_eq!(entry("/data?x=1")["response"]["status"], 200);
    assert_eq!(entry("/data?x=1")["response"]["content"]["text"], "{\"n\": 42}");
    assert_eq!(entry("/popup")["response"]["content"]["mimeType"], "text/html");
    assert!(har["log"]["browser"]["version"].as_str().is_some_and(|it| !it.is_empty()));
    assert_eq!(of("screenshot_action").len(), 2);
    assert!(of("screenshot_action")[0].bytes.starts_with(&[0xff, 0xd8, 0xff]));
    assert!(of("screenshot_final")[0].bytes.starts_with(b"\x89PNG"));
}
