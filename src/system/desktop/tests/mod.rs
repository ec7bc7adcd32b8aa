//! Tests with real programs, and with misbehaving shell scripts in their place.

mod displays;
mod former;
mod profiles;
mod recovery;
mod sealed;
mod tigervnc;
mod windows;
mod world;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use self::world::World;
use super::directory::Kept;
use super::*;
use crate::domain::ids::SessionId;
use crate::domain::sealing::Vault;
use crate::domain::session::{DesktopIdentity, Failure, SessionSpec, Size};
use crate::system::Settings;
use crate::system::cdp::{Connection, Devtools};
use crate::system::display::{lock, socket};

/// The settings with a vault, as a server has it.
fn sealed(settings: Settings) -> Settings {
    Settings { vault: Some(Vault::new([7; 32])), ..settings }
}

/// The text that the memory file holds.
fn known(memory: &Kept) -> String {
    memory.read().unwrap_or_default().unwrap_or_default()
}

fn small(start: Option<&str>) -> SessionSpec {
    SessionSpec {
        size: Size::new(640, 480).unwrap(),
        start_url: start.map(|url| url.parse().unwrap()),
        ..SessionSpec::default()
    }
}

fn colour(name: &str) -> SessionSpec {
    small(Some(&format!("data:text/html,<body style='background:{name}'>")))
}

fn quick() -> Settings {
    Settings { stop_grace_seconds: 1, start_deadline_seconds: 4, ..Settings::default() }
}

/// The pixel in the middle of the lower half, away from the browser's bars.
fn pixel(picture: &Picture) -> [u8; 3] {
    let file = std::io::Cursor::new(picture.bytes.to_vec());
    let mut reader = png::Decoder::new(file).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut pixels).unwrap();
    let (width, height) = (usize::from(picture.size.width()), usize::from(picture.size.height()));
    let at = (height * 3 / 4 * width + width / 2) * 3;
    [pixels[at], pixels[at + 1], pixels[at + 2]]
}

/// Follows the display until its middle shows the color `expected`.
async fn shows(desktop: &dyn Desktop, expected: [u8; 3]) {
    let mut following = desktop.screen().follow(None);
    let shown = following
        .pictures
        .wait_for(|picture| picture.as_ref().is_some_and(|picture| pixel(picture) == expected));
    let shown = timeout(Duration::from_secs(20), shown).await;
    assert!(shown.is_ok_and(|shown| shown.is_ok()), "the display never shows {expected:?}");
}

async fn devtools(desktop: &dyn Desktop) -> Connection {
    Connection::open(&Devtools::of(desktop.identity())).await.unwrap()
}

/// Attaches to the first page, and returns the session.
async fn attached(connection: &Connection) -> String {
    let targets = connection.call(None, "Target.getTargets", json!({})).await.unwrap();
    let targets = targets["targetInfos"].as_array().unwrap();
    let page = targets.iter().find(|target| target["type"] == "page").unwrap();
    let attach = json!({ "targetId": page["targetId"], "flatten": true });
    let session = connection.call(None, "Target.attachToTarget", attach).await.unwrap();
    session["sessionId"].as_str().unwrap().to_owned()
}

/// Runs a script in the first page.
async fn evaluate(connection: &Connection, script: &str) -> Value {
    let session = attached(connection).await;
    let script = json!({
        "expression": script,
        "returnByValue": true,
        "awaitPromise": true,
        "userGesture": true,
    });
    let result = connection.call(Some(&session), "Runtime.evaluate", script).await.unwrap();
    result["result"]["value"].clone()
}

fn segments_of(pid: i32) -> usize {
    let table = fs::read_to_string("/proc/sysvipc/shm").unwrap();
    let creator = pid.to_string();
    let columns = table.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
    // Mode 1600 marks segments that are removed already, until the X server detaches them.
    columns
        .filter(|row| row[4] == creator && !(row[2].len() == 4 && row[2].starts_with('1')))
        .count()
}

/// Asserts that no display is left. Its number may be reused: then the lock names another process.
async fn no_display_is_left(identity: &DesktopIdentity) {
    let refused = std::io::ErrorKind::ConnectionRefused;
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        if let Ok(holder) = fs::read_to_string(lock(identity.display_number)) {
            return assert_ne!(holder.trim(), identity.xvfb.pid.to_string());
        }
        // A socket without a lock is a leftover, or for a moment that of another server that is just ending.
        let stream = std::os::unix::net::UnixStream::connect(socket(identity.display_number));
        if !stream.is_err_and(|cause| cause.kind() == refused) {
            return;
        }
        assert!(Instant::now() < deadline, "a dead socket is left");
        sleep(Duration::from_millis(20)).await;
    }
}

async fn banner(endpoint: &VncEndpoint) -> Vec<u8> {
    use tokio::io::AsyncReadExt as _;
    let mut stream = tokio::net::TcpStream::connect(endpoint.address).await.unwrap();
    let mut banner = vec![0; 12];
    timeout(Duration::from_secs(5), stream.read_exact(&mut banner)).await.unwrap().unwrap();
    banner
}

#[tokio::test(flavor = "multi_thread")]
async fn a_desktop_comes_up_shows_its_page_and_leaves_nothing() {
    let world = World::new(Settings::default());
    let desktop = world.up(colour("rgb(200,30,90)")).await;
    let identity = desktop.identity().clone();
    let directory = world.desktops.directory(world.session);
    assert!(socket(identity.display_number).exists());
    assert_eq!(directory.path().metadata().unwrap().permissions().mode() & 0o777, 0o700);
    let secret = directory.vnc_password();
    assert!(secret.starts_with(directory.own()));
    assert_eq!(secret.metadata().unwrap().permissions().mode() & 0o777, 0o600);

    shows(&*desktop, [200, 30, 90]).await;
    let shot = desktop.screen().shot(Format::Png).await.unwrap();
    assert_eq!((pixel(&shot), shot.size), ([200, 30, 90], Size::new(640, 480).unwrap()));
    let jpeg = desktop.screen().shot(Format::Jpeg).await.unwrap();
    assert_eq!(jpeg.bytes[..3], [0xff, 0xd8, 0xff]);
    assert!(jpeg.number > shot.number);

    let seat = desktop.vnc().take_seat().await.unwrap();
    assert_eq!(seat.endpoint.address.port(), identity.vnc_port);
    assert_eq!(banner(&seat.endpoint).await, b"RFB 003.008\n");
    let saved = directory.saved().unwrap().unwrap();
    let vnc = saved.identity.vnc.clone().unwrap();
    assert!(crate::system::process::is_ours(&vnc, world.session));
    assert_eq!(saved.identity.chromium, identity.chromium);

    let death = desktop.death();
    assert_eq!(desktop.shut_down().await, Vec::<String>::new());
    assert!(timeout(Duration::from_millis(300), death).await.is_err(), "it was asked to end");
    no_display_is_left(&identity).await;
    assert_eq!(segments_of(vnc.pid), 0);
    assert!(TcpListener::bind(("127.0.0.1", identity.vnc_port)).is_ok());
    drop(seat);
    world.nothing_is_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn three_desktops_have_displays_ports_and_pictures_of_their_own() {
    let colours = [
        ("rgb(255,0,0)", [255, 0, 0]),
        ("rgb(0,255,0)", [0, 255, 0]),
        ("rgb(0,0,255)", [0, 0, 255]),
    ];
    let world = World::new(Settings::default());
    let first = u64::from(std::process::id()) * 1_000 + 500;
    let launches = (first..).zip(&colours).map(|(number, (name, _))| {
        let order = Order::new(SessionId::from(number), colour(name));
        world.desktops.launch(order, CancellationToken::new())
    });
    let desktops: Vec<_> =
        futures_util::future::join_all(launches).await.into_iter().map(Result::unwrap).collect();
    let mut displays = std::collections::BTreeSet::new();
    let mut ports = std::collections::BTreeSet::new();
    for (desktop, (_, expected)) in desktops.iter().zip(colours) {
        shows(&**desktop, expected).await;
        displays.insert(desktop.identity().display_number);
        ports.insert(desktop.identity().vnc_port);
    }
    assert_eq!((displays.len(), ports.len()), (3, 3));
    for desktop in desktops {
        assert_eq!(desktop.shut_down().await, Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_of_half_a_second_ago_is_kept_for_the_next_desktop() {
    let world = World::new(Settings { keep_directories: true, ..Settings::default() });
    let site = site().await;
    let desktop = world.up(small(Some(&site))).await;
    let connection = devtools(&*desktop).await;
    loaded(&connection, &site).await;
    let set = "document.cookie = 'login=ann; max-age=9999'; localStorage.seen = 'yes'; 1";
    assert_eq!(evaluate(&connection, set).await, 1);
    drop(connection);
    sleep(Duration::from_millis(500)).await; // The test depends on the age of the cookie.
    assert_eq!(desktop.shut_down().await, Vec::<String>::new());
    let directory = world.desktops.directory(world.session);
    assert!(directory.profile().join("Default").exists());
    for gone in ["keys", "tmp", "home", "desktop.json", "display"] {
        for path in [directory.path(), directory.own()] {
            assert!(!path.join(gone).exists(), "{gone} is left");
        }
    }

    let desktop = world.up(small(Some(&site))).await;
    let connection = devtools(&*desktop).await;
    loaded(&connection, &site).await;
    let found = evaluate(&connection, "document.cookie + ' ' + localStorage.seen").await;
    assert_eq!(found, "login=ann yes");
    drop(connection);
    assert_eq!(desktop.shut_down().await, Vec::<String>::new());
    world.desktops.remove_directory(world.session).await.unwrap();
    world.nothing_is_left();
}

async fn loaded(connection: &Connection, site: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    let expected = format!("complete{site}");
    loop {
        let found = evaluate(connection, "document.readyState + location.href").await;
        if found == expected {
            return;
        }
        assert!(Instant::now() < deadline, "the page does not load: {found} and not {expected}");
        tokio::task::yield_now().await;
    }
}

/// Serves a site that answers every request with an empty page, until the test ends.
async fn site() -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n";
                let page = format!("{head}Content-Length: 13\r\n\r\n<p>a page</p>");
                let _ = stream.write_all(page.as_bytes()).await;
            });
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_browser_is_reported_and_leaves_nothing() {
    let world = World::new(Settings::default());
    let desktop = world.up(small(None)).await;
    let pid = rustix::process::Pid::from_raw(desktop.identity().chromium.pid).unwrap();
    let death = desktop.death();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let failure = timeout(Duration::from_secs(5), death).await.unwrap().failure;
    assert_eq!(
        (failure.code.as_str(), failure.stage.as_deref()),
        ("chromium_died", Some("chromium"))
    );
    assert_eq!(failure.exit.as_deref(), Some("signal 9 (SIGKILL)"));
    assert_eq!(desktop.shut_down().await, Vec::<String>::new());
    world.nothing_is_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_display_is_reported_and_leaves_nothing() {
    let world = World::new(Settings::default());
    let desktop = world.up(small(None)).await;
    let identity = desktop.identity().clone();
    let pid = rustix::process::Pid::from_raw(desktop.identity().xvfb.pid).unwrap();
    let death = desktop.death();
    let seat = desktop.vnc().take_seat().await.unwrap();
    let mut following = desktop.screen().follow(None);
    following.pictures.wait_for(Option::is_some).await.unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let failure = timeout(Duration::from_secs(5), death).await.unwrap().failure;
    assert_eq!(failure.code, "xvfb_died");
    // Pictures end or fail, but do not hang.
    let ended = timeout(Duration::from_secs(5), following.pictures.wait_for(|_| false)).await;
    assert!(ended.unwrap().is_err());
    let shot = timeout(Duration::from_secs(5), desktop.screen().shot(Format::Png)).await.unwrap();
    assert!(shot.is_err());
    drop(seat);
    assert_eq!(desktop.shut_down().await, Vec::<String>::new());
    no_display_is_left(&identity).await;
    world.nothing_is_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hung_display_gives_an_error_and_can_be_ended() {
    let world = World::new(Settings { stop_grace_seconds: 1, ..Settings::default() });
    let desktop = world.up(small(None)).await;
    let pid = rustix::process::Pid::from_raw(desktop.identity().xvfb.pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    let shot = timeout(Duration::from_secs(15), desktop.screen().shot(Format::Png)).await.unwrap();
    assert!(shot.unwrap_err().cause.contains("does not answer"));
    assert_eq!(desktop.shut_down().await, Vec::<String>::new());
    world.nothing_is_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_launch_that_is_called_off_at_any_time_leaves_nothing() {
    for after in [0, 20, 80, 150, 300, 500] {
        let world = World::new(Settings { vnc_eager: true, ..Settings::default() });
        let call_off = CancellationToken::new();
        let order = Order::new(world.session, small(None));
        let launch = world.desktops.launch(order, call_off.clone());
        sleep(Duration::from_millis(after)).await; // The test varies the moment.
        call_off.cancel();
        match launch.await {
            Err(LaunchError::CalledOff) => (),
            Ok(desktop) => assert_eq!(desktop.shut_down().await, Vec::<String>::new()),
            Err(other) => panic!("{other:?}"),
        }
        world.nothing_is_left();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_launch_that_nobody_waits_for_is_undone() {
    let world = World::new(Settings::default());
    let order = Order::new(world.session, small(None));
    drop(world.desktops.launch(order, CancellationToken::new()));
    let directory = world.desktops.directory(world.session);
    let deadline = Instant::now() + Duration::from_secs(20);
    while !directory.path().exists() {
        assert!(Instant::now() < deadline, "it does not begin");
        sleep(Duration::from_millis(5)).await;
    }
    while directory.path().exists() {
        assert!(Instant::now() < deadline, "{:?}", world.processes());
        sleep(Duration::from_millis(20)).await;
    }
    world.nothing_is_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vnc_server_runs_while_it_has_seats_and_comes_back_when_it_was_killed() {
    let world = World::new(Settings { vnc_linger_seconds: 0, ..Settings::default() });
    let desktop = world.up(small(None)).await;
    let vnc = desktop.vnc();
    let directory = world.desktops.directory(world.session);
    let process = || directory.saved().unwrap().unwrap().identity.vnc.unwrap();

    let (one, two) = tokio::join!(vnc.take_seat(), vnc.take_seat());
    let (one, two) = (one.unwrap(), two.unwrap());
    let first = process();
    drop(one);
    assert_eq!(banner(&two.endpoint).await, b"RFB 003.008\n");
    assert!(crate::system::process::is_alive(&first));

    let pid = rustix::process::Pid::from_raw(first.pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    while crate::system::process::is_alive(&first) {
        assert!(Instant::now() < deadline);
        tokio::task::yield_now().await;
    }
    let three = vnc.take_seat().await.unwrap();
    assert_eq!(banner(&three.endpoint).await, b"RFB 003.008\n");
    let second = process();
    assert_ne!(first, second);
    assert_eq!(segments_of(first.pid), 0, "the killed one's memory is swept");

    drop((two, three));
    while crate::system::process::is_alive(&second) {
        assert!(Instant::now() < deadline + Duration::from_secs(5), "it lingers");
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(desktop.shut_down().await, Vec::<String>::new());
    assert!(vnc.take_seat().await.is_err());
    world.nothing_is_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_another_took_is_passed_over() {
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = busy.local_addr().unwrap().port();
    let only = Settings { vnc_port_first: port, vnc_port_last: port, ..quick() };
    let world = World::new(only.clone());
    let failure = world.fails().await;
    assert_eq!(failure.code, "no_port_free");
    world.nothing_is_left();
    drop(busy);

    // The port is reserved, but a program that asks for reuse can bind it nevertheless.
    let last = port.saturating_add(20);
    let world = World::new(Settings { vnc_port_last: last, start_deadline_seconds: 30, ..only });
    let desktop = world.up(small(None)).await;
    let thief = TcpListener::bind(("127.0.0.1", desktop.identity().vnc_port)).unwrap();
    let seat = desktop.vnc().take_seat().await.unwrap();
    assert!(seat.endpoint.address.port() > desktop.identity().vnc_port);
    assert_eq!(banner(&seat.endpoint).await, b"RFB 003.008\n");
    drop(thief);
    assert_eq!(desktop.shut_down().await, Vec::<String>::new());
    world.nothing_is_left();
}

/// Launches with `settings`; expects a failure with this code, and nothing left.
async fn fails_as(settings: Settings, code: &str, exit: Option<&str>, tail: &[&str]) -> Failure {
    let world = World::new(settings);
    let failure = world.fails().await;
    assert_eq!((failure.code.as_str(), failure.exit.as_deref()), (code, exit), "{failure:?}");
    assert_eq!(failure.log_tail, tail);
    world.nothing_is_left();
    failure
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_that_are_missing_are_named() {
    let missing =
        fails_as(Settings { xvfb: "/nowhere/Xvfb".into(), ..quick() }, "xvfb_missing", None, &[]);
    assert!(missing.await.message.contains("/nowhere/Xvfb"));
    let chromium = Settings { chromium: Some("no-such-browser".into()), ..quick() };
    let failure = fails_as(chromium, "chromium_missing", None, &[]).await;
    assert!(failure.hint.unwrap().contains("`chromium`"));
    let vnc = Settings { x11vnc: "no-such-x11vnc".into(), vnc_eager: true, ..quick() };
    fails_as(vnc, "vnc_missing", None, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn displays_that_misbehave_end_as_failures_with_nothing_left() {
    let exits = World::fake("xvfb", "echo 'no memory' >&2; exit 3");
    let settings = Settings { xvfb: exits.0.clone(), ..quick() };
    fails_as(settings, "xvfb_exited", Some("exit status 3"), &["no memory"]).await;

    let stubborn = "trap '' TERM; sleep 600 & echo busy >&2; while :; do sleep 600; done";
    let never = World::fake("xvfb", stubborn);
    let settings = Settings { xvfb: never.0.clone(), ..quick() };
    fails_as(settings, "xvfb_not_ready", None, &["busy"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn browsers_that_misbehave_end_as_failures_with_nothing_left() {
    let exits = World::fake("chromium", "echo 'bad profile' >&2; kill -SEGV $$");
    let settings = Settings { chromium: Some(exits.0.clone()), ..quick() };
    let signal = Some("signal 11 (SIGSEGV)");
    fails_as(settings, "chromium_exited", signal, &["bad profile"]).await;

    let forks = "trap '' TERM; setsid sleep 600 & sleep 600 & while :; do sleep 600; done";
    let never = World::fake("chromium", forks);
    let settings = Settings { chromium: Some(never.0.clone()), ..quick() };
    fails_as(settings, "chromium_not_ready", None, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn vnc_servers_that_misbehave_end_as_failures_with_nothing_left() {
    let exits = World::fake("x11vnc", "echo 'no display' >&2; exit 1");
    let patient = Settings { start_deadline_seconds: 12, ..quick() };
    let settings = Settings { x11vnc: exits.0.clone(), vnc_eager: true, ..patient.clone() };
    fails_as(settings, "vnc_exited", Some("exit status 1"), &["no display"]).await;

    let never = World::fake("x11vnc", "trap '' TERM; while :; do sleep 600; done");
    let settings = Settings { x11vnc: never.0.clone(), vnc_eager: true, ..patient };
    fails_as(settings, "vnc_not_ready", None, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_of_displays_is_used_up_and_says_so() {
    let first = 4_000 + u16::try_from(std::process::id() % 1_000).unwrap() * 10;
    let range = Settings {
        display_first: Some(first),
        display_last: Some(first),
        start_deadline_seconds: 30,
        ..quick()
    };
    let world = World::new(range.clone());
    let desktop = world.up(small(None)).await;
    assert_eq!(desktop.identity().display_number, first);
    fails_as(range, "no_display_free", None, &[]).await;
    assert_eq!(desktop.shut_down().await, Vec::<String>::new());
    world.nothing_is_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_cannot_be_made_is_a_failure() {
    let world = World::new(quick());
    fs::write(world.data.join("sessions"), "a file").unwrap();
    let failure = world.fails().await;
    assert_eq!(
        (failure.code.as_str(), failure.stage.as_deref()),
        ("directory_failed", Some("directory"))
    );
    assert_eq!(world.processes(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_latest_picture_is_kept_in_a_file_and_nothing_is_taken_of_a_still_display() {
    let settings = Settings { capture_interval_milliseconds: 50, ..Settings::default() };
    let world = World::new(settings);
    let desktop = world.up(colour("rgb(9,8,7)")).await;
    let file = world.data.join("kept").join("run.png");
    let mut following = desktop.screen().follow(Some(file.clone()));
    let shown = following
        .pictures
        .wait_for(|picture| picture.as_ref().is_some_and(|picture| pixel(picture) == [9, 8, 7]));
    timeout(Duration::from_secs(20), shown).await.unwrap().unwrap();
    // After the caret and the bars have settled, a second passes without a picture.
    let deadline = Instant::now() + Duration::from_secs(20);
    while timeout(Duration::from_secs(1), following.pictures.changed()).await.is_ok() {
        assert!(Instant::now() < deadline, "a still display is taken again and again");
    }
    let latest = following.pictures.borrow().clone().unwrap();
    assert_eq!(fs::read(&file).unwrap(), latest.bytes);
    drop(following);
    assert_eq!(desktop.shut_down().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn downloads_outlive_the_desktop() {
    let world = World::new(Settings::default());
    let desktop = world.up(small(None)).await;
    let directory = world.desktops.directory(world.session);
    let connection = devtools(&*desktop).await;
    let download = "const a = document.createElement('a'); a.download = 'note.txt'; \
                    a.href = 'data:text/plain,note'; a.click(); 1";
    assert_eq!(evaluate(&connection, download).await, 1);
    let file = directory.downloads().join("note.txt");
    let deadline = Instant::now() + Duration::from_secs(10);
    while fs::read_to_string(&file).unwrap_or_default() != "note" {
        assert!(Instant::now() < deadline, "nothing is downloaded");
        sleep(Duration::from_millis(20)).await;
    }
    drop(connection);
    assert_eq!(desktop.shut_down().await, Vec::<String>::new());
    assert_eq!(fs::read_dir(directory.own()).unwrap().count(), 1);
    assert!(file.exists());
    world.desktops.remove_directory(world.session).await.unwrap();
    world.nothing_is_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_desktop_lives_on_and_its_remains_can_be_ended() {
    let world = World::new(Settings::default());
    let desktop = world.up(small(None)).await;
    let identity = desktop.identity().clone();
    let seat = desktop.vnc().take_seat().await.unwrap();
    let saved = world.desktops.directory(world.session).saved().unwrap().unwrap();
    drop((desktop, seat));
    assert!(crate::system::process::is_ours(&identity.chromium, world.session));
    assert_eq!(world.fails().await.message, "this session already has a desktop");
    assert!(crate::system::process::is_ours(&identity.xvfb, world.session));

    assert_eq!(world.desktops.end_remains(world.session, Files::AsSet).await, Vec::<String>::new());
    no_display_is_left(&identity).await;
    assert_eq!(segments_of(saved.identity.vnc.unwrap().pid), 0);
    world.nothing_is_left();
    assert_eq!(world.desktops.end_remains(world.session, Files::AsSet).await, Vec::<String>::new());
}

/// Copies this number of characters of three bytes each.
async fn copy(connection: &Connection, count: usize) -> Value {
    let script = format!(
        "(() => {{ const it = document.body.appendChild(document.createElement('textarea')); \
         it.value = '世'.repeat({count}); it.select(); return document.execCommand('copy'); }})()"
    );
    evaluate(connection, &script).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_browser_copies_is_told_in_one_piece_unless_it_is_too_long() {
    let world = World::new(Settings::default());
    let desktop = world.up(colour("rgb(10,20,30)")).await;
    shows(&*desktop, [10, 20, 30]).await;
    let connection = devtools(&*desktop).await;
    let Copies { mut texts, guard } = desktop.copies();
    let mut next = async || {
        timeout(Duration::from_secs(20), texts.changed()).await.expect("no text").expect("the end");
        texts.borrow_and_update().chars().count()
    };
    // The first copy may precede the follower, which only sees later copies.
    let first = async {
        loop {
            assert_eq!(copy(&connection, 3).await, true);
            sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::select! {
        count = next() => assert_eq!(count, 3),
        () = first => {}
    }
    // A text longer than one request to the X server, which arrives in pieces; then one that is too
    // long and left out; then a short one.
    copy(&connection, 300_000).await;
    while next().await != 300_000 {}
    copy(&connection, 400_000).await;
    copy(&connection, 5).await;
    assert_eq!(next().await, 5);

    drop((next, guard));
    assert_eq!(desktop.shut_down().await, Vec::<String>::new());
    world.nothing_is_left();
}
