//! Blocks that other programs execute, on real sessions: Python, an agent, other workflows.

use std::process::Stdio;
use std::time::Instant;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use super::{Site, installed, root};
use crate::support::{Client, PATIENCE, Setup, eventually};

/// A server whose `code` blocks have a Python with Playwright.
pub(super) fn setup() -> Setup {
    let python = installed(".venv/bin/python");
    Setup::real()
        .set("workflow.python", python.to_str().unwrap())
        .set("workflow.allow_private_targets", "true")
}

/// Stores a workflow of these blocks, and returns its id.
pub(super) async fn store(client: &Client, definition: Value) -> String {
    let workflow = json!({ "title": "Test", "workflow_definition": definition });
    let stored = client.post("/v1/workflows", json!({ "json_definition": workflow })).await.ok();
    stored["workflow_permanent_id"].as_str().unwrap().to_owned()
}

/// Starts a run of a workflow, and returns its id.
pub(super) async fn start(client: &Client, workflow: &str, mut request: Value) -> String {
    request["workflow_id"] = workflow.into();
    let run = client.post("/v1/run/workflows", request).await.ok();
    run["run_id"].as_str().unwrap().to_owned()
}

/// Waits for the end of a run, and returns it.
pub(super) async fn ended(client: &Client, run: &str) -> Value {
    eventually("the run ends", async || {
        let run = client.get(&format!("/v1/runs/{run}")).await.ok();
        (!run["finished_at"].is_null()).then_some(run)
    })
    .await
}

async fn runs(client: &Client, session: &str, blocks: Value) -> Value {
    let workflow = store(client, json!({ "blocks": blocks })).await;
    let run = start(client, &workflow, json!({ "browser_session_id": session })).await;
    ended(client, &run).await
}

async fn completes(client: &Client, session: &str, blocks: Value) -> Value {
    let run = runs(client, session, blocks).await;
    assert_eq!(run["status"], "completed", "{run:#}");
    run["output"].clone()
}

/// The number of processes with the marker of a session and a word among their arguments, or at the start of
/// a file's name.
fn marked(session: &str, word: &str) -> usize {
    let marker = format!("GREENROOM_SESSION={session}");
    let entries = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    entries
        .filter(|entry| {
            let read = |what| std::fs::read(entry.path().join(what)).unwrap_or_default();
            let marked = read("environ").split(|byte| *byte == 0).any(|it| it == marker.as_bytes());
            let line = read("cmdline");
            let mut arguments = line.split(|byte| *byte == 0).map(String::from_utf8_lossy);
            marked
                && arguments.any(|it| it.rsplit('/').next().is_some_and(|it| it.starts_with(word)))
        })
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_users_python_drives_the_page_and_gives_its_variables() {
    let site = Site::start().await;
    let server = setup().start().await;
    let client = &server.client;
    let id = client.session_id().await;

    let code = r##"
import urllib.parse
await page.fill("#username", visitor["name"])
await page.fill("#password", "curtain")
await page.click("#sign-in")
await page.wait_for_load_state()
who = await page.inner_text("#who")
prices = [1, 2]
total += sum(prices)
print("signed in as", who)
"##;
    let output = completes(
        client,
        &id,
        json!([
            { "block_type": "goto_url", "label": "open", "url": site.page("login.html") },
            { "block_type": "script", "label": "visitor", "script": "({ name: 'Ann' })" },
            { "block_type": "code", "label": "sign_in",
              "code": format!("visitor = visitor_output['result']\ntotal = 39\n{code}") },
            { "block_type": "code", "label": "again",
              "code": "def twice(x):\n    return 2 * x\nreturn {'total': twice(sign_in_output['total']), 'url': page.url}" },
            { "block_type": "extract", "label": "seen", "fields": { "who": "#who" } },
        ]),
    )
    .await;
    let signed_in = json!({
        "visitor": { "name": "Ann" }, "total": 42, "who": "Signed in as Ann", "prices": [1, 2],
    });
    assert_eq!(output["sign_in_output"], signed_in);
    assert_eq!(output["again_output"]["total"], 84);
    assert_eq!(output["seen_output"]["who"], "Signed in as Ann");
    assert!(output["again_output"]["url"].as_str().unwrap().starts_with(&site.url), "{output}");

    // Errors are reported with their line, and leave nothing behind.
    let cases = [
        (
            "x = 1\n\nraise ValueError('no luck')",
            "code_failed",
            "line 3 (`raise ValueError('no luck')`): ValueError: no luck",
        ),
        ("x = 1\nif x\n  pass", "code_failed", "line 2 (`if x`): SyntaxError: expected ':'"),
        (
            "await page.click('#none', timeout=100)",
            "code_failed",
            "line 1 (`await page.click('#none', timeout=100)`): TimeoutError: ",
        ),
        (
            "while True: pass",
            "timeout",
            "line 1 (`while True: pass`): the code did not end within 1 s",
        ),
        (
            "x = 1\nawait asyncio.sleep(60)",
            "timeout",
            "line 2 (`await asyncio.sleep(60)`): the code did not end within 1 s",
        ),
        (
            "x = bytearray(3 << 30)",
            "code_out_of_memory",
            "line 1 (`x = bytearray(3 << 30)`): the code took more than 1024 MB of memory",
        ),
        (
            "return 'x' * (2 << 20)",
            "code_output_too_large",
            "the output has 2097166 bytes, and at most 1048576 are kept",
        ),
    ];
    for (code, expected, message) in cases {
        let block =
            json!({ "block_type": "code", "label": "c", "code": code, "timeout_seconds": 1 });
        let run = runs(client, &id, json!([block])).await;
        let failure = &run["failure"];
        assert_eq!(failure["code"], expected, "{code}: {failure:#}");
        let said = failure["message"].as_str().unwrap();
        let begin = format!("code block failed. failure reason: {message}");
        assert!(said.starts_with(&begin), "{code}: {said}");
    }
    assert_eq!(marked(&id, "python") + marked(&id, "321"), 0);
    assert_eq!(client.look(&id).await["occupancy"]["state"], "vacant");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_a_run_ends_its_python_and_its_way_to_the_browser_at_once() {
    let server = setup().start().await;
    let client = &server.client;
    let id = client.session_id().await;
    let code = "import subprocess\nawait page.evaluate('1')\nsubprocess.Popen(['sleep', '321'])\nawait asyncio.sleep(300)";
    let blocks = json!([{ "block_type": "code", "label": "c", "code": code }]);
    let workflow = store(client, json!({ "blocks": blocks })).await;
    let run = start(client, &workflow, json!({ "browser_session_id": id })).await;
    eventually("the code is under way", async || (marked(&id, "321") > 0).then_some(())).await;

    let began = Instant::now();
    client.post(&format!("/v1/runs/{run}/cancel"), json!({})).await.ok();
    let took = began.elapsed();
    let told = client.get(&format!("/v1/runs/{run}")).await.ok();
    assert_eq!(told["status"], "canceled", "{told:#}");
    assert!(took.as_secs_f64() < 1.0, "{took:?}");
    assert_eq!(marked(&id, "python") + marked(&id, "321"), 0);
    assert_eq!(client.look(&id).await["occupancy"]["state"], "vacant");
    let folder = server.programs(&id).join("code");
    let left = std::fs::read_dir(folder).map(|files| files.count()).unwrap_or(0);
    assert_eq!(left, 0);
    server.stop().await;
}

/// The small agent of `tests/clients`; it ends with this value.
struct Agent {
    url: String,
    _process: tokio::process::Child,
}

impl Agent {
    async fn start(token: &str) -> Self {
        let mut process = Command::new(installed(".venv/bin/python"))
            .arg(root().join("tests/clients/agent.py"))
            .arg(token)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let line = timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap().unwrap();
        let url = line.strip_prefix("listening on ").unwrap().to_owned();
        Self { url, _process: process }
    }

    /// The messages that it received, and the outcome of the block that it was to stop.
    async fn look(&self) -> Value {
        Client::new(&self.url, None).get("/").await.json()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_executes_the_blocks_that_need_a_model_and_stops_when_told() {
    let site = Site::start().await;
    let agent = Agent::start("agent-token").await;
    let setup = setup().set("workflow.agent_url", &agent.url);
    let server = setup.set("workflow.agent_token", "agent-token").start().await;
    let client = &server.client;
    let id = client.session_id().await;
    let open = json!({ "block_type": "goto_url", "label": "open", "url": site.page("login.html") });

    let output = completes(
        client,
        &id,
        json!([
            open,
            { "block_type": "navigation", "label": "enter", "navigation_goal": "sign in as {{ 'Ann' }}" },
            { "block_type": "extraction", "label": "who", "data_extraction_goal": "read #who" },
        ]),
    )
    .await;
    let read = json!({ "text": "Signed in as Ann" });
    assert_eq!(output["enter_output"], json!({ "status": "completed" }));
    assert_eq!(output["who_output"]["extracted_information"], read);
    assert_eq!(output["extracted_information"], json!([read]));

    let shown = |words: &str| json!({ "criteria": { "expression": words } });
    let which = json!({ "block_type": "conditional", "label": "which", "branch_conditions": [
        shown("an error is shown"), shown("Signed in is shown"), { "is_default": true },
    ] });
    let output = completes(client, &id, json!([which])).await["which_output"].clone();
    assert_eq!(output["branch_index"], 1, "{output:#}");
    assert_eq!(output["evaluations"][0]["result"], false);
    assert_eq!(output["criteria_type"], "prompt");

    let fail =
        json!([open, { "block_type": "navigation", "label": "a", "navigation_goal": "fail" }]);
    let run = runs(client, &id, fail).await;
    assert_eq!(run["status"], "terminated", "{run:#}");
    assert_eq!(run["failure"]["code"], "agent_failed");

    // A canceled block: the agent receives the command to stop, loses the page, and is no longer heard.
    let wait =
        json!([open, { "block_type": "navigation", "label": "a", "navigation_goal": "wait" }]);
    let workflow = store(client, json!({ "blocks": wait })).await;
    let run = start(client, &workflow, json!({ "browser_session_id": id })).await;
    let progress = eventually("the agent says how it goes", async || {
        let timeline = client.get(&format!("/v1/runs/{run}/timeline")).await.ok();
        let output = timeline[0]["block"]["output"]["progress"].clone();
        (!output.is_null()).then_some(output)
    })
    .await;
    assert_eq!(progress["goal"], "wait");
    let began = Instant::now();
    client.post(&format!("/v1/runs/{run}/cancel"), json!({})).await.ok();
    assert!(began.elapsed().as_secs() < 10, "it waited: {:?}", began.elapsed());
    let block = client.get(&format!("/v1/runs/{run}/timeline")).await.ok()[0]["block"].clone();
    assert_eq!(block["status"], "canceled");
    let block = block["workflow_run_block_id"].as_str().unwrap();
    let left = eventually("the agent has stopped", async || {
        let seen = agent.look().await;
        let stop = json!({ "event": "stop", "workflow_run_block_id": block });
        let told = seen["told"].as_array().unwrap().contains(&stop);
        seen["ends"].get(block).filter(|_| told).cloned()
    })
    .await;
    assert_eq!(left, json!({ "disconnected": true, "callback": 410 }));
    assert_eq!(client.look(&id).await["occupancy"]["state"], "vacant");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_triggers_others_in_its_own_session_or_in_another() {
    let site = Site::start().await;
    let server = setup().start().await;
    let client = &server.client;
    let id = client.session_id().await;
    let child = store(
        client,
        json!({
            "parameters": [{ "parameter_type": "workflow", "key": "name", "workflow_parameter_type": "string" }],
            "blocks": [
                { "block_type": "goto_url", "label": "open", "url": site.page("login.html") },
                { "block_type": "fill", "label": "fill", "selector": "#username", "value": "{{ name }}" },
                { "block_type": "script", "label": "said", "script": "document.querySelector('#username').value" },
            ],
        }),
    )
    .await;
    let trigger = |label: &str, more: Value| {
        let mut block = json!({
            "block_type": "workflow_trigger", "label": label, "workflow_permanent_id": child,
            "payload": { "name": "{{ 'A' + 'da' }}" },
        });
        block.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        block
    };
    let output = completes(
        client,
        &id,
        json!([
            trigger("mine", json!({ "use_parent_browser_session": true })),
            { "block_type": "script", "label": "left", "script": "document.querySelector('#username').value" },
            trigger("own", json!({})),
            trigger("later", json!({ "use_parent_browser_session": true, "wait_for_completion": false })),
        ]),
    )
    .await;
    assert_eq!(output["mine_output"]["status"], "completed");
    assert_eq!(output["mine_output"]["browser_session_id"], id);
    assert_eq!(output["mine_output"]["outputs"]["said_output"]["result"], "Ada");
    assert_eq!(output["left_output"]["result"], "Ada");
    assert_eq!(output["own_output"]["status"], "completed");
    assert_ne!(output["own_output"]["browser_session_id"], id);
    let later = output["later_output"]["workflow_run_id"].as_str().unwrap();
    assert_eq!(ended(client, later).await["status"], "completed", "after the session was free");

    // Invalid triggers are reported, and the depth of a chain is limited.
    let fails = async |block: Value| {
        let run = runs(client, &id, json!([block])).await;
        assert_eq!(run["status"], "failed", "{run:#}");
        run["failure"]["message"].as_str().unwrap().to_owned()
    };
    let unknown = fails(trigger("a", json!({ "workflow_permanent_id": "wpid_1" }))).await;
    assert!(unknown.contains("there is no workflow wpid_1"), "{unknown}");
    let missing = fails(trigger("a", json!({ "payload": {} }))).await;
    assert!(missing.contains("name"), "{missing}");
    let own = json!([{ "block_type": "wait", "label": "pause", "wait_sec": 1 }]);
    let chain = store(client, json!({ "blocks": own })).await;
    let again = json!({
        "block_type": "workflow_trigger", "label": "again", "workflow_permanent_id": chain,
        "use_parent_browser_session": true,
    });
    let workflow = json!({ "title": "Chain", "workflow_definition": { "blocks": [again] } });
    client
        .post(&format!("/v1/workflows/{chain}"), json!({ "json_definition": workflow }))
        .await
        .ok();
    let run = start(client, &chain, json!({ "browser_session_id": id })).await;
    let run = ended(client, &run).await;
    let said = run["failure"]["message"].as_str().unwrap();
    assert!(said.contains("workflows may trigger one another 10 deep"), "{said}");

    // The cancellation of a parent also cancels the run that it waits for.
    let wait = store(
        client,
        json!({ "blocks": [{ "block_type": "wait", "label": "w", "wait_sec": 600 }] }),
    )
    .await;
    let block = json!({
        "block_type": "workflow_trigger", "label": "t", "workflow_permanent_id": wait,
        "use_parent_browser_session": true,
    });
    let parent = store(client, json!({ "blocks": [block] })).await;
    let run = start(client, &parent, json!({ "browser_session_id": id })).await;
    let child = eventually("the child waits", async || {
        let runs = client.get(&format!("/v1/workflows/{wait}/runs")).await.ok();
        let run = runs.as_array().unwrap().first().cloned();
        run.filter(|run| run["status"] == "running")
    })
    .await;
    assert_eq!(child["parent_workflow_run_id"], run);
    client.post(&format!("/v1/runs/{run}/cancel"), json!({})).await.ok();
    let child = child["workflow_run_id"].as_str().unwrap();
    assert_eq!(client.get(&format!("/v1/runs/{child}")).await.ok()["status"], "canceled");
    assert_eq!(client.look(&id).await["occupancy"]["state"], "vacant");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_pictures_and_records_of_a_run_can_all_be_fetched() {
    let site = Site::start().await;
    let server = setup().start().await;
    let client = &server.client;
    let id = client.session_id().await;
    let blocks = json!([
        { "block_type": "goto_url", "label": "form", "url": site.page("form.html") },
        { "block_type": "upload", "label": "plan", "selector": "#plan",
          "files": [{ "name": "plan.txt", "text": "left, then right" }] },
        { "block_type": "script", "label": "held",
          "script": "return await document.querySelector('#plan').files[0].text()" },
        { "block_type": "code", "label": "said", "code": "await page.evaluate(\"console.log('from code')\")\nprint('hello')" },
        { "block_type": "print_page", "label": "paper", "custom_filename": "order" },
        { "block_type": "goto_url", "label": "files", "url": site.page("download.html") },
        { "block_type": "file_download", "label": "file", "selector": "a[download]" },
        { "block_type": "file_url_parser", "label": "page", "file_url": site.page("site.css"), "file_type": "txt" },
        { "block_type": "screenshot", "label": "seen" },
    ]);
    let workflow = store(client, json!({ "blocks": blocks })).await;
    let request = json!({
        "browser_session_id": id, "record_har": true, "record_console_log": true,
    });
    let run = start(client, &workflow, request).await;
    let ran = ended(client, &run).await;
    assert_eq!(ran["status"], "completed", "{ran:#}");
    assert_eq!(ran["output"]["held_output"]["result"], "left, then right");

    let artifacts = client.get(&format!("/v1/runs/{run}/artifacts")).await.ok();
    let mut kinds = std::collections::BTreeMap::new();
    let stranger = Client::new(&client.base, None);
    for artifact in artifacts.as_array().unwrap() {
        let kind = artifact["artifact_type"].as_str().unwrap();
        *kinds.entry(kind).or_insert(0) += 1;
        let signed = artifact["signed_url"].as_str().unwrap();
        let path = signed.strip_prefix(&client.base).unwrap();
        let bytes = stranger.get(path).await;
        assert_eq!(bytes.status, 200, "{artifact:#}");
        assert_eq!(json!(bytes.bytes.len()), artifact["file_size"], "{artifact:#}");
        let range = [("range", "bytes=1-3")];
        let part = stranger.send_with(Method::GET, path, None, &range).await.unwrap();
        assert_eq!((part.status, &part.bytes[..]), (206, &bytes.bytes[1..4]), "{artifact:#}");
        let beyond = [("range", "bytes=99999999-")];
        let beyond = stranger.send_with(Method::GET, path, None, &beyond).await.unwrap();
        assert_eq!(beyond.headers["content-range"], format!("bytes */{}", bytes.bytes.len()));
        beyond.problem(416, "range_not_satisfiable");
        let text = String::from_utf8_lossy(&bytes.bytes).into_owned();
        match kind {
            "har" => assert!(text.contains("form.html") && text.contains("\"version\":\"1.2\"")),
            "browser_console_log" => assert!(text.contains("[log] from code"), "{text}"),
            "skyvern_log" => assert_eq!(text, "hello\n"),
            "pdf" => assert!(bytes.bytes.starts_with(b"%PDF")),
            _ => assert!(!bytes.bytes.is_empty()),
        }
    }
    let expected = [
        ("browser_console_log", 1),
        ("download", 1),
        ("har", 1),
        ("pdf", 1),
        ("screenshot", 1),
        ("screenshot_action", 5),
        ("screenshot_final", 1),
        ("skyvern_log", 1),
    ];
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), expected);
    let pictures = ran["screenshot_urls"].as_array().unwrap();
    assert_eq!(pictures.len(), 7);
    let path = pictures[0].as_str().unwrap().strip_prefix(&client.base).unwrap();
    assert!(stranger.get(path).await.bytes.starts_with(b"\x89PNG"), "the final one comes first");

    // Another run on the same session, without the uploads of the first.
    let folder = server.programs(&id).join("uploads");
    let again = client.post(&format!("/v1/workflows/runs/{run}/retry"), json!({})).await.ok();
    let again = again["run_id"].as_str().unwrap().to_owned();
    assert_eq!(ended(client, &again).await["status"], "completed");
    let left: Vec<_> =
        std::fs::read_dir(&folder).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(left, [again.as_str()]);
    client.close(&id).await.ok();
    assert!(!folder.exists());
    server.stop().await;
}
