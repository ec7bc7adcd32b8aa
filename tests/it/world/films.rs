//! Recordings and black boxes of real pages, looked at frame by frame.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use super::adoption::Page;
use super::{Site, run};
use crate::support::client::id_of;
use crate::support::viewer::screenshot_shows;
use crate::support::{Client, PATIENCE, Setup, TestServer, eventually, eventually_within};

const RED: [u8; 3] = [200, 30, 30];
const BLUE: [u8; 3] = [30, 30, 200];

/// The longest time for a film to become an artifact. ffmpeg gets the processor time that others leave: the
/// server gives it a minute for a black box.
const MADE: Duration = Duration::from_secs(75);

/// A session of 640x480 with a page of a single colour.
async fn coloured(client: &Client, site: &Site, record: Value, colour: [u8; 3]) -> String {
    let url = site.page("click.html");
    let body = json!({"width": 640, "height": 480, "start_url": url, "record": record});
    let id = id_of(&client.session_of(body).await);
    let mut page = Page::of(client, &id).await;
    page.loaded(&url).await;
    paint(&mut page, client, &id, colour).await;
    id
}

async fn paint(page: &mut Page, client: &Client, id: &str, [r, g, b]: [u8; 3]) {
    let script = format!(
        "document.documentElement.innerHTML = '<body style=\"background: rgb({r},{g},{b})\">'; 1"
    );
    assert_eq!(page.evaluate(&script).await, 1);
    screenshot_shows(client, id, [r, g, b]).await;
}

/// The content of a file, from its signed URL.
async fn fetch(url: &str, to: &Path) -> PathBuf {
    let answer = reqwest::get(url).await.unwrap();
    assert_eq!(answer.status(), 200, "{url}");
    std::fs::write(to, answer.bytes().await.unwrap()).unwrap();
    to.to_owned()
}

async fn probe(film: &Path) -> Value {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-count_frames", "-show_streams", "-of", "json"]).arg(film);
    let told: Value = serde_json::from_str(&run(&mut command).await).unwrap();
    told["streams"][0].clone()
}

fn number(value: &Value) -> f64 {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{value}"))
}

/// The filter that leaves one pixel of the page, below the browser's bars.
const BELOW_BARS: &str = "crop=2:2:iw/2:ih*3/4,scale=1:1";

/// A pixel of the page at a time in seconds.
async fn pixel(film: &Path, at: f64) -> [u8; 3] {
    let picture = film.with_extension("ppm");
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-y"]);
    if at > 0.0 {
        command.args(["-ss", &format!("{at:.3}")]); // A picture cannot be sought in.
    }
    command.arg("-i").arg(film);
    command.args(["-vf", BELOW_BARS, "-frames:v", "1"]).arg(&picture);
    run(&mut command).await;
    let bytes = std::fs::read(&picture).unwrap();
    *bytes.last_chunk().unwrap()
}

/// True if this folder has a complete frame.
fn has_frames(folder: &Path) -> bool {
    let mut files = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    files.any(|file| file.path().extension().is_some_and(|end| end == "jpg"))
}

/// Waits until the last frame of a session's black box has this colour.
async fn seen(server: &TestServer, id: &str, colour: [u8; 3]) {
    let ring = server.directory.join(format!("d/sessions/{id}/films/black-box"));
    let copy = server.directory.join("last.jpg");
    let latest = || {
        let files = std::fs::read_dir(&ring).ok()?.filter_map(Result::ok);
        let frames = files.map(|file| file.path());
        frames.filter(|path| path.extension().is_some_and(|end| end == "jpg")).max()
    };
    let mut other = None;
    let deadline = Instant::now() + PATIENCE;
    loop {
        // Each frame is looked at once: that takes a program, which the black box would wait for.
        let frame = latest().filter(|frame| other.as_ref() != Some(frame));
        // It may be taken away meanwhile.
        if let Some(frame) = frame.filter(|frame| std::fs::copy(frame, &copy).is_ok()) {
            if are_near(pixel(&copy, 0.0).await, colour) {
                return;
            }
            other = Some(frame);
        }
        assert!(Instant::now() < deadline, "the black box has not seen {colour:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// A black box begins before the test paints, and may end after the browser has crashed.
async fn shows(film: &Path, colour: [u8; 3]) {
    let pixels = film.with_extension("rgb");
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-y", "-i"]).arg(film);
    command.args(["-vf", &format!("{BELOW_BARS},fps=5"), "-f", "rawvideo", "-pix_fmt", "rgb24"]);
    run(command.arg(&pixels)).await;
    let bytes = std::fs::read(&pixels).unwrap();
    let shown: &[[u8; 3]] = bytes.as_chunks().0;
    assert!(shown.iter().any(|pixel| are_near(*pixel, colour)), "no {colour:?} in {shown:?}");
}

fn are_near(shown: [u8; 3], expected: [u8; 3]) -> bool {
    shown.iter().zip(expected).all(|(shown, expected)| shown.abs_diff(expected) < 20)
}

#[track_caller]
fn is_near(shown: [u8; 3], expected: [u8; 3], what: &str) {
    assert!(are_near(shown, expected), "{what}: {shown:?}, not {expected:?}");
}

async fn artifact(client: &Client, path: &str, kind: &str) -> Value {
    eventually_within(MADE, &format!("a {kind} at {path}"), async || {
        let listed = client.get(path).await.ok();
        listed.as_array()?.iter().find(|it| it["artifact_type"] == kind).cloned()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_shows_what_the_page_showed_over_the_death_of_the_server_and_of_the_browser() {
    let site = Site::start().await;
    let mut server = Setup::real().set("recording.part_seconds", "2").start().await;
    let id = coloured(&server.client, &site, json!(false), RED).await;
    let path = format!("/v1/browser_sessions/{id}/recordings");
    let wrong = server.client.post(&path, json!({"frame_rate": 99})).await.wrong_fields();
    assert_eq!(wrong.into_keys().collect::<Vec<_>>(), ["body.frame_rate"]);
    let recording = server.client.post(&path, json!({"frame_rate": 5, "width": 320})).await.ok();
    let began = Instant::now();
    let name = recording["recording_id"].as_str().unwrap().to_owned();
    assert_eq!(recording["status"], "recording");
    let frames = server.directory.join(format!("d/sessions/{id}/films/{name}/frames"));
    eventually("there is a frame", async || has_frames(&frames).then_some(())).await;
    sleep(Duration::from_millis(500)).await; // Longer than a frame of the film.

    server.signal(Signal::KILL);
    server.ended().await;
    server.serve().await;
    let client = server.client.clone();
    client.once(&id, "running").await;
    TestServer::kill(server.program(&id, "/chromium"));
    let url = site.page("click.html");
    eventually("the browser is back", async || {
        let is_back = client.look(&id).await["status"] == "running";
        is_back.then_some(())
    })
    .await;
    let mut page = Page::of(&client, &id).await;
    page.loaded(&url).await;
    paint(&mut page, &client, &id, BLUE).await;
    let listed = client.get(&path).await.ok();
    assert_eq!(
        (&listed[0]["recording_id"], &listed[0]["status"]),
        (&json!(name), &json!("recording"))
    );
    sleep(Duration::from_millis(500)).await; // Some frames of the film are this long.
    let took = began.elapsed().as_secs_f64();
    let stopped = client.post(&format!("{path}/{name}/stop"), json!({})).await.ok();
    assert_eq!(stopped["status"], "completed", "{stopped:#}");
    let again = client.post(&format!("{path}/{name}/stop"), json!({})).await.ok();
    assert_eq!(again["file"]["checksum"], stopped["file"]["checksum"]);

    let film = server.directory.join("recording.mp4");
    fetch(stopped["file"]["url"].as_str().unwrap(), &film).await;
    let stream = probe(&film).await;
    assert_eq!((&stream["width"], &stream["height"]), (&json!(320), &json!(240)), "{stream:#}");
    assert_eq!(stream["avg_frame_rate"], "5/1");
    let length = number(&stream["duration"]);
    assert!((length - took).abs() < 1.0, "{length} s of {took} s");
    assert!((number(&stream["nb_read_frames"]) - length * 5.0).abs() < 0.5, "{stream:#}");
    is_near(pixel(&film, 0.1).await, RED, "the beginning");
    is_near(pixel(&film, length - 0.2).await, BLUE, "the end");

    let session = client.look(&id).await;
    assert_eq!(session["recordings"][0]["artifact_id"], name.as_str());
    let unknown = client.post(&format!("{path}/a_1/stop"), json!({})).await;
    unknown.problem(404, "recording_unknown");
    client.close(&id).await.ok();
    let listed = client.get(&path).await.ok();
    assert_eq!(listed[0]["status"], "completed", "{listed:#}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_ends_with_its_session_and_a_black_box_shows_what_was_before_a_crash() {
    let site = Site::start().await;
    let often = Setup::real().set("recording.black_box_interval_milliseconds", "100");
    let mut server = often.start().await;
    let client = server.client.clone();
    // Small and slow, to leave the processor to the black box.
    let record = json!({"format": "webm", "width": 200, "frame_rate": 1});
    let id = coloured(&client, &site, record, BLUE).await;
    client.begin(&id, "ann", 600).await.ok();
    let artifacts = format!("/v1/browser_sessions/{id}/artifacts");
    let ring = server.directory.join(format!("d/sessions/{id}/films/black-box"));
    seen(&server, &id, BLUE).await;

    TestServer::kill(server.program(&id, "/chromium"));
    let found = artifact(&client, &artifacts, "black_box").await;
    assert_eq!(found["media_type"], "video/mp4", "{found:#}");
    let film = server.directory.join("black_box.mp4");
    fetch(found["signed_url"].as_str().unwrap(), &film).await;
    shows(&film, BLUE).await;
    client.once(&id, "running").await;
    client.close(&id).await.ok();
    let recorded = artifact(&client, &artifacts, "recording").await;
    assert_eq!(recorded["media_type"], "video/webm");
    assert!(!ring.exists(), "films are left in the session's directory");

    // No server runs when this browser dies: the next server detects it.
    let id = coloured(&client, &site, json!(null), RED).await;
    client.begin(&id, "bob", 600).await.ok();
    seen(&server, &id, RED).await;
    let display = server.program(&id, "/Xvfb");
    server.signal(Signal::KILL);
    server.ended().await;
    TestServer::kill(display);
    server.serve().await;
    let client = &server.client;
    let path = format!("/v1/browser_sessions/{id}/artifacts");
    let found = artifact(client, &path, "black_box").await;
    let film = server.directory.join("found.mp4");
    fetch(found["signed_url"].as_str().unwrap(), &film).await;
    shows(&film, RED).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_has_its_recording_when_it_ends_and_its_last_moments_when_it_fails() {
    let site = Site::start().await;
    // A run has no recording if its film is not made in time.
    let server = Setup::real().set("recording.finish_seconds", "50").start().await;
    let client = &server.client;
    let block =
        |label: &str, url: String| json!({"block_type": "goto_url", "label": label, "url": url});
    let unreachable = "http://127.0.0.1:9/".to_owned();
    let definition = json!({
        "title": "Films",
        "workflow_definition": {
            "parameters": [],
            "blocks": [
                block("here", site.page("click.html")),
                json!({"block_type": "wait", "label": "a_while", "wait_sec": 2}),
                block("nowhere", unreachable),
            ],
        },
    });
    let made = client.post("/v1/workflows", json!({ "json_definition": definition })).await.ok();
    let body = json!({"workflow_id": made["workflow_permanent_id"], "record": true});
    let run = client.post("/v1/run/workflows", body).await.ok();
    let run = run["run_id"].as_str().unwrap();
    let ended = eventually_within(MADE, "the run has ended", async || {
        let run = client.get(&format!("/v1/runs/{run}")).await.ok();
        (!run["finished_at"].is_null()).then_some(run)
    })
    .await;
    assert_eq!(ended["status"], "failed", "{ended:#}");
    let url = ended["recording_url"].as_str().expect("a recording");
    let film = fetch(url, &server.directory.join("run.mp4")).await;
    let stream = probe(&film).await;
    assert_eq!(stream["codec_name"], "h264", "{stream:#}");
    let session = ended["browser_session_id"].as_str().unwrap();
    for path in
        [format!("/v1/runs/{run}/artifacts"), format!("/v1/browser_sessions/{session}/artifacts")]
    {
        let found = artifact(client, &path, "black_box").await;
        assert_eq!(found["run_id"], run, "{found:#}");
    }
    server.stop().await;
}
