//! Adoption of desktops that another server has started, and recovery of dead parts.

use rustix::process::{Pid, Signal, kill_process};

use super::*;
use crate::system::process::{Process, Program, is_alive, is_ours};

fn signal(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

impl World {
    /// The desktops of another server on the same directory.
    fn another(&self) -> Desktops {
        Desktops::new(&self.data, sealed(Settings::default()), tokio::runtime::Handle::current())
    }

    pub(super) async fn adopt(&self) -> Result<Box<dyn Desktop>, AdoptError> {
        self.adopt_with(Settings::default()).await
    }

    pub(super) async fn adopt_with(
        &self,
        settings: Settings,
    ) -> Result<Box<dyn Desktop>, AdoptError> {
        let runtime = tokio::runtime::Handle::current();
        let order = Order::new(self.session, small(None));
        Desktops::new(&self.data, sealed(settings), runtime).adopt(order).await
    }
}

async fn died(desktop: &dyn Desktop) -> Failure {
    timeout(Duration::from_secs(20), desktop.death()).await.expect("nothing dies").failure
}

async fn restarted(desktop: Box<dyn Desktop>) -> Box<dyn Desktop> {
    desktop
        .restart(CancellationToken::new())
        .await
        .unwrap_or_else(|cause| panic!("{cause:?}"))
        .desktop
}

#[tokio::test(flavor = "multi_thread")]
async fn a_desktop_is_taken_over_and_shows_the_same_page() {
    let world = World::new(Settings::default());
    let desktop = world.up(colour("rgb(200,30,90)")).await;
    let identity = desktop.identity().clone();
    // A variable that is set before the page has loaded is lost with the empty page.
    shows(&*desktop, [200, 30, 90]).await;
    let connection = devtools(&*desktop).await;
    assert_eq!(evaluate(&connection, "window.kept = 'half filled'; 1").await, 1);
    let seat = desktop.vnc().take_seat().await.unwrap();
    let vnc = world.desktops.directory(world.session).saved().unwrap().unwrap().identity.vnc;
    drop((desktop, seat, connection));

    let began = Instant::now();
    let desktop = world.adopt().await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let taken = desktop.identity().clone();
    assert_eq!(DesktopIdentity { vnc: None, ..taken }, identity);
    let connection = devtools(&*desktop).await;
    assert_eq!(evaluate(&connection, "window.kept").await, "half filled");
    shows(&*desktop, [200, 30, 90]).await;
    let seat = desktop.vnc().take_seat().await.unwrap();
    assert_eq!(seat.endpoint.address.port(), identity.vnc_port);
    assert_eq!(banner(&seat.endpoint).await, b"RFB 003.008\n");
    assert!(is_ours(&vnc.unwrap(), world.session), "the VNC server that ran is used");

    drop((seat, connection));
    let death = desktop.death();
    assert_eq!(desktop.shut_down().await, Vec::<String>::new());
    assert!(timeout(Duration::from_millis(300), death).await.is_err(), "it was asked to end");
    no_display_is_left(&identity).await;
    world.nothing_is_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_never_came_up_or_is_of_another_boot_is_not_taken_over() {
    let world = World::new(Settings::default());
    assert!(matches!(world.adopt().await, Err(AdoptError::NothingSaved)));
    let desktop = world.up(small(None)).await;
    let directory = world.desktops.directory(world.session);
    let saved = directory.saved().unwrap().unwrap();
    let mut other = saved.clone();
    other.identity.xvfb.boot_id = "another".to_owned();
    directory.save(&other).unwrap();
    assert!(matches!(world.adopt().await, Err(AdoptError::OtherBoot)));

    // A matching pid is not enough: this process is not the session's browser.
    let mut other = saved.clone();
    other.identity.chromium.pid = i32::try_from(std::process::id()).unwrap();
    directory.save(&other).unwrap();
    let adopted = world.adopt().await.unwrap();
    assert_eq!(died(&*adopted).await.code, "chromium_died");
    drop(adopted);
    directory.save(&saved).unwrap();
    assert_eq!(desktop.shut_down().await, Vec::<String>::new());
    world.nothing_is_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_browser_comes_back_with_its_tabs_and_a_login_of_a_second_ago() {
    let world = World::new(Settings::default());
    let site = site().await;
    let desktop = world.up(small(Some(&site))).await;
    let before = desktop.identity().clone();
    desktop.set_used(true);
    let connection = devtools(&*desktop).await;
    loaded(&connection, &site).await;
    let set = "document.cookie = 'login=ann; max-age=9999'; document.cookie = 'mine=bob'; 1";
    assert_eq!(evaluate(&connection, set).await, 1);
    drop(connection);
    let memory = world.desktops.directory(world.session).memory();
    let deadline = Instant::now() + Duration::from_secs(10);
    while !known(&memory).contains("bob") {
        assert!(Instant::now() < deadline, "the cookies are not kept");
        sleep(Duration::from_millis(20)).await;
    }
    signal(before.chromium.pid, Signal::KILL);
    assert_eq!(died(&*desktop).await.code, "chromium_died");

    let desktop = restarted(desktop).await;
    let after = desktop.identity().clone();
    assert_eq!((after.display_number, after.vnc_port), (before.display_number, before.vnc_port));
    assert_eq!(after.xvfb, before.xvfb);
    assert_ne!(after.chromium, before.chromium);
    let connection = devtools(&*desktop).await;
    loaded(&connection, &site).await;
    let found = evaluate(&connection, "document.cookie.split('; ').sort().join()").await;
    assert_eq!(found, "login=ann,mine=bob");
    drop(connection);
    assert_eq!(desktop.shut_down().await, Vec::<String>::new());
    world.nothing_is_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_display_comes_back_under_its_number_and_viewers_find_it() {
    let world = World::new(Settings::default());
    let desktop = world.up(colour("rgb(1,2,3)")).await;
    let before = desktop.identity().clone();
    let seat = desktop.vnc().take_seat().await.unwrap();
    shows(&*desktop, [1, 2, 3]).await;
    signal(before.xvfb.pid, Signal::KILL);
    assert_eq!(died(&*desktop).await.code, "xvfb_died");
    let desktop = restarted(desktop).await;
    let after = desktop.identity().clone();
    assert_eq!((after.display_number, after.vnc_port), (before.display_number, before.vnc_port));
    assert_ne!(after.xvfb, before.xvfb);
    shows(&*desktop, [1, 2, 3]).await;
    assert_eq!(banner(&seat.endpoint).await, b"RFB 003.008\n");
    drop(seat);
    assert_eq!(desktop.shut_down().await, Vec::<String>::new());
    no_display_is_left(&after).await;
    world.nothing_is_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_is_stopped_counts_as_dead_while_the_desktop_is_used() {
    let settings = Settings { probe_seconds: 1, hang_seconds: 2, ..Settings::default() };
    let world = World::new(settings);
    let mut desktop = world.up(small(None)).await;
    desktop.set_used(true);
    for code in ["chromium_hung", "xvfb_hung"] {
        let DesktopIdentity { chromium, xvfb, .. } = desktop.identity().clone();
        let part = if code == "xvfb_hung" { xvfb } else { chromium };
        signal(part.pid, Signal::STOP);
        assert_eq!(died(&*desktop).await.code, code);
        assert!(!is_alive(&part));
        desktop = restarted(desktop).await;
    }
    assert_eq!(desktop.shut_down().await, Vec::<String>::new());
    world.nothing_is_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vnc_server_that_dies_while_somebody_watches_comes_back_on_its_port() {
    let world = World::new(Settings::default());
    let desktop = world.up(small(None)).await;
    let seat = desktop.vnc().take_seat().await.unwrap();
    let directory = world.desktops.directory(world.session);
    let process = || directory.saved().unwrap().unwrap().identity.vnc.unwrap();
    let first = process();
    signal(first.pid, Signal::KILL);
    let deadline = Instant::now() + Duration::from_secs(10);
    while process() == first {
        assert!(Instant::now() < deadline, "it does not come back");
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(banner(&seat.endpoint).await, b"RFB 003.008\n");
    drop(seat);
    assert_eq!(desktop.shut_down().await, Vec::<String>::new());
    world.nothing_is_left();
}

/// Listens silently at first; the second start runs the real program.
const MUTE_AT_FIRST: &str = r#"
if [ -e "$0.was-mute" ]; then rm "$0.was-mute"; exec x11vnc "$@"; fi
: > "$0.was-mute"
exec python3 -c '
import signal, socket, sys
said = dict(zip(sys.argv, sys.argv[1:]))
listener = socket.create_server(("127.0.0.1", int(said["-rfbport"])))
open(said["-flag"], "w").write("PORT=" + said["-rfbport"] + "\n")
signal.pause()
' "$@"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_vnc_server_that_hangs_is_replaced_when_somebody_says_so() {
    let mute = World::fake("x11vnc", MUTE_AT_FIRST);
    let settings = Settings { x11vnc: mute.0.clone(), hang_seconds: 1, ..Settings::default() };
    let world = World::new(settings);
    let desktop = world.up(small(None)).await;
    let seat = desktop.vnc().take_seat().await.unwrap();
    seat.doubts.notify_one();
    let repair = timeout(Duration::from_secs(20), desktop.repairs()).await.expect("not mended");
    assert!(repair.cause.contains("did not answer and was killed"), "{}", repair.cause);
    assert_eq!(banner(&seat.endpoint).await, b"RFB 003.008\n");

    // A server that answers is left alone.
    let process =
        || world.desktops.directory(world.session).saved().unwrap().unwrap().identity.vnc.unwrap();
    let second = process();
    seat.doubts.notify_one();
    assert!(timeout(Duration::from_millis(1_500), desktop.repairs()).await.is_err());
    assert_eq!(process(), second);
    drop(seat);
    assert_eq!(desktop.shut_down().await, Vec::<String>::new());
    world.nothing_is_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_films_a_display_that_was_late_has_frames_again() {
    let world = World::new(Settings::default());
    let desktop = world.up(colour("rgb(10,20,30)")).await;
    let screen = desktop.screen();
    let mut reel = screen.film(Duration::from_millis(50));
    assert!(reel.frames.recv().await.is_some());
    // A late picture cuts the connection, and another one cuts the next connection.
    let xvfb = desktop.identity().xvfb.pid;
    signal(xvfb, Signal::STOP);
    let (one, another) = tokio::join!(screen.shot(Format::Jpeg), async {
        sleep(Duration::from_millis(300)).await; // The test needs a time after the first.
        screen.shot(Format::Jpeg).await
    });
    assert!(one.is_err() && another.is_err());
    while reel.frames.try_recv().is_ok() {}
    signal(xvfb, Signal::CONT);
    let frame = timeout(Duration::from_secs(10), reel.frames.recv()).await.expect("no frame");
    assert!(frame.is_some(), "the reel has ended");
    shows(&*desktop, [10, 20, 30]).await;
    drop(reel);
    assert_eq!(desktop.shut_down().await, Vec::<String>::new());
    world.nothing_is_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_that_fails_or_is_called_off_gives_the_desktop_back_to_be_ended() {
    let world = World::new(Settings::default());
    let desktop = world.up(small(None)).await;
    signal(desktop.identity().chromium.pid, Signal::KILL);
    died(&*desktop).await;
    let call_off = CancellationToken::new();
    let restart = desktop.restart(call_off.clone());
    sleep(Duration::from_millis(100)).await; // The test depends on the moment.
    call_off.cancel();
    let Err(RestartFailed { desktop: Some(desktop), failure }) = restart.await else {
        panic!("it was not canceled");
    };
    assert_eq!(failure.code, "recovery_called_off");
    assert_eq!(desktop.shut_down().await, Vec::<String>::new());
    world.nothing_is_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_no_session_is_found() {
    let world = World::new(Settings::default());
    let desktop = world.up(small(None)).await;
    assert_eq!(world.another().orphans(&[world.session]), []);
    drop(desktop);
    assert_eq!(world.another().orphans(&[]), [world.session]);
    world.another().end_remains(world.session, Files::AsSet).await;
    assert_eq!(world.another().orphans(&[]), []);
    world.nothing_is_left();
}

/// Sends a signal to every process that shows a page.
async fn signal_renderers(connection: &Connection, what: Signal) {
    let processes = connection.call(None, "SystemInfo.getProcessInfo", json!({})).await.unwrap();
    for process in processes["processInfo"].as_array().unwrap() {
        if process["type"] == "renderer" {
            signal(process["id"].as_i64().unwrap().try_into().unwrap(), what);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_whose_process_is_killed_or_stopped_is_loaded_again() {
    let world = World::new(Settings { probe_seconds: 1, ..Settings::default() });
    let site = site().await;
    let desktop = world.up(small(Some(&site))).await;
    desktop.set_used(true);
    let connection = devtools(&*desktop).await;
    loaded(&connection, &site).await;
    for what in [Signal::KILL, Signal::STOP] {
        assert_eq!(evaluate(&connection, "window.typed = 'half'; 1").await, 1);
        signal_renderers(&connection, what).await;
        let repair = timeout(Duration::from_secs(20), desktop.repairs()).await.expect("not mended");
        assert_eq!(repair.cause, "the process of a page died");
        loaded(&connection, &site).await;
        assert_eq!(evaluate(&connection, "window.typed").await, Value::Null);
    }
    drop(connection);
    assert_eq!(desktop.shut_down().await, Vec::<String>::new());
    world.nothing_is_left();
}

/// Waits until the remembered tabs and cookies contain a text.
async fn remembers(memory: &Kept, text: &str) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !known(memory).contains(text) {
        assert!(Instant::now() < deadline, "{text} is not kept");
        sleep(Duration::from_millis(20)).await;
    }
}

/// The URL of the first page.
async fn url_of_the_page(connection: &Connection) -> Value {
    let targets = connection.call(None, "Target.getTargets", json!({})).await.unwrap();
    let targets = targets["targetInfos"].as_array().unwrap();
    targets.iter().find(|target| target["type"] == "page").unwrap()["url"].clone()
}

/// The tabs in the memory file.
fn tabs(memory: &Kept) -> Value {
    serde_json::from_str::<Value>(&known(memory)).unwrap()["tabs"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_requests_for_one_page_the_later_one_counts() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let world = World::new(Settings::default());
    let desktop = world.up(small(None)).await;
    let connection = devtools(&*desktop).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = json!({ "url": format!("http://{}/", listener.local_addr().unwrap()) });
    let (arrived, mut requests) = tokio::sync::mpsc::channel(8);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let arrived = arrived.clone();
            tokio::spawn(async move {
                // A connection that is opened in advance has no request.
                if stream.read(&mut [0; 4096]).await.is_ok_and(|size| size > 0) {
                    let _ = arrived.send(stream).await;
                }
            });
        }
    });
    let (first_session, session) = (attached(&connection).await, attached(&connection).await);
    let first = connection.call(Some(&first_session), "Page.navigate", url.clone());
    let unanswered = requests.recv().await.unwrap();
    let later = connection.call(Some(&session), "Page.navigate", url);
    let answer = async {
        let mut stream = requests.recv().await.unwrap();
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n";
        stream.write_all(format!("{head}Content-Length: 2\r\n\r\nok").as_bytes()).await.unwrap();
    };
    let all = async { tokio::join!(first, later, answer) };
    let (first, later, ()) = timeout(Duration::from_secs(20), all).await.expect("no request");
    assert_eq!(first.unwrap()["errorText"], "net::ERR_ABORTED");
    assert_eq!(later.unwrap()["errorText"], Value::Null);
    drop((unanswered, connection));
    assert_eq!(desktop.shut_down().await, Vec::<String>::new());
    world.nothing_is_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tab_that_is_still_loading_is_kept_by_the_next_server() {
    let world = World::new(Settings::default());
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let slow = format!("http://{}/", silent.local_addr().unwrap());
    let desktop = world.up(small(Some(&slow))).await;
    signal(desktop.identity().chromium.pid, Signal::KILL);
    died(&*desktop).await;
    let desktop = restarted(desktop).await;
    let connection = devtools(&*desktop).await;
    drop(desktop);

    // As the reload of a page whose process died, this ends the request.
    let session = &*attached(&connection).await;
    connection.call(Some(session), "Page.reload", json!({})).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while url_of_the_page(&connection).await != "about:blank" {
        assert!(Instant::now() < deadline, "the page goes on");
        tokio::task::yield_now().await;
    }
    let desktop = world.adopt().await.unwrap();
    desktop.set_used(true);
    let cookie = json!({ "name": "login", "value": "ann", "url": "http://a.example/" });
    connection.call(None, "Storage.setCookies", json!({ "cookies": [cookie] })).await.unwrap();
    let memory = world.desktops.directory(world.session).memory();
    remembers(&memory, "login").await;
    assert_eq!(tabs(&memory), json!([slow]));

    // Reloaded after a crash, it would be an empty page too.
    signal_renderers(&connection, Signal::KILL).await;
    let repair = timeout(Duration::from_secs(10), desktop.repairs()).await.expect("not mended");
    assert_eq!(repair.cause, "the process of a page died");
    let deadline = Instant::now() + Duration::from_secs(10);
    while url_of_the_page(&connection).await != slow {
        assert!(Instant::now() < deadline, "the page is not requested again");
        tokio::task::yield_now().await;
    }

    // A page that was loaded and left for an empty one is an empty one.
    let site = site().await;
    for url in [&*site, "about:blank"] {
        connection.call(Some(session), "Page.navigate", json!({ "url": url })).await.unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while tabs(&memory) != json!([url]) {
            assert!(Instant::now() < deadline, "{} instead of {url}", tabs(&memory));
            sleep(Duration::from_millis(20)).await;
        }
    }
    assert_eq!(desktop.shut_down().await, Vec::<String>::new());
    world.nothing_is_left();
}

/// The zygotes of a browser, in the order of their start.
fn zygotes(desktop: &dyn Desktop) -> Vec<i32> {
    let browser = desktop.identity().chromium.pid;
    let threads = fs::read_dir(format!("/proc/{browser}/task")).unwrap();
    let children = threads.flat_map(|thread| {
        let children = fs::read_to_string(thread.unwrap().path().join("children")).unwrap();
        children.split_ascii_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<i32>>()
    });
    let is_zygote = |pid: &i32| {
        let arguments = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        arguments.contains("--type=zygote") // Spaces separate the arguments in its title.
    };
    let mut zygotes: Vec<i32> = children.filter(is_zygote).collect();
    zygotes.sort_unstable();
    zygotes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_can_start_no_more_pages_is_brought_back() {
    let world = World::new(Settings::default());
    let site = site().await;
    let mut desktop = world.up(small(Some(&site))).await;
    let memory = world.desktops.directory(world.session).memory();
    for which in 0..2 {
        let connection = devtools(&*desktop).await;
        loaded(&connection, &site).await;
        desktop.set_used(true);
        // The end of a zygote before the keeper runs is tested separately, below.
        let login = format!("time{which}");
        evaluate(&connection, &format!("document.cookie = '{login}=1'; 1")).await;
        remembers(&memory, &login).await;
        let found = zygotes(&*desktop);
        assert_eq!(found.len(), 2, "Chromium has another way to start its processes");
        signal(found[which], Signal::KILL);
        let failure = died(&*desktop).await;
        assert_eq!(failure.code, "chromium_died");
        assert!(failure.message.contains("starts its pages"), "{failure:?}");
        desktop = restarted(desktop).await;
    }
    // A zygote ends while no server runs, together with the pages, as in a browser with its sandbox.
    let last = zygotes(&*desktop)[1];
    let connection = devtools(&*desktop).await;
    drop(desktop);
    signal(last, Signal::KILL);
    signal_renderers(&connection, Signal::KILL).await;
    let desktop = world.adopt().await.unwrap();
    assert_eq!(died(&*desktop).await.code, "chromium_died");
    let desktop = restarted(desktop).await;
    loaded(&devtools(&*desktop).await, &site).await;
    assert_eq!(desktop.shut_down().await, Vec::<String>::new());
    world.nothing_is_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_server_had_begun_to_start_is_ended_before_it_is_started_again() {
    let world = World::new(Settings::default());
    let desktop = world.up(small(None)).await;
    let log = world.desktops.directory(world.session).log("stray");
    // It would take the display's number, if it were an X server.
    let stray = Program {
        path: "/bin/sleep".into(),
        arguments: vec!["1000".into()],
        environment: Vec::new(),
        session: world.session,
        records: world.desktops.directory(world.session).logs(),
        log,
        output: None,
        open_files: None,
        confined: None,
    };
    let stray = Process::spawn(&stray, &tokio::runtime::Handle::current()).unwrap();
    signal(desktop.identity().chromium.pid, Signal::KILL);
    died(&*desktop).await;
    let desktop = restarted(desktop).await;
    assert!(stray.has_exited());
    assert!(is_alive(&desktop.identity().xvfb), "the recorded processes live on");
    assert_eq!(desktop.shut_down().await, Vec::<String>::new());
    world.nothing_is_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_outlives_the_network_process_of_its_browser() {
    let world = World::new(Settings::default());
    let site = site().await;
    let desktop = world.up(small(Some(&site))).await;
    desktop.set_used(true);
    let connection = devtools(&*desktop).await;
    loaded(&connection, &site).await;
    assert_eq!(evaluate(&connection, "document.cookie = 'mine=bob'; 1").await, 1);
    let memory = world.desktops.directory(world.session).memory();
    remembers(&memory, "bob").await;
    let processes = connection.call(None, "SystemInfo.getProcessInfo", json!({})).await.unwrap();
    let processes = processes["processInfo"].as_array().unwrap();
    // The name that people see, which is unique.
    let network =
        processes.iter().find(|process| process["type"] == "network.mojom.NetworkService");
    let network = network.unwrap_or_else(|| panic!("{processes:#?}"));
    signal(network["id"].as_i64().unwrap().try_into().unwrap(), Signal::KILL);
    let repair = timeout(Duration::from_secs(20), desktop.repairs()).await.expect("not mended");
    assert_eq!(repair.cause, "the network process of the browser died");
    assert_eq!(evaluate(&connection, "document.cookie").await, "mine=bob");
    drop(connection);
    assert_eq!(desktop.shut_down().await, Vec::<String>::new());
    world.nothing_is_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_before_is_adopted_as_it_is_and_moved_when_its_browser_starts_next() {
    let world = World::new(Settings::default());
    let desktop = world.up(colour("rgb(200,30,90)")).await;
    shows(&*desktop, [200, 30, 90]).await;
    drop(desktop);
    // The layout of an older server: one directory, no cookie and no level in `desktop.json`.
    let directory = world.desktops.directory(world.session);
    let (root, own) = (directory.path().to_owned(), directory.own().to_owned());
    for (now, before) in [
        ("profile", "profile"),
        ("downloads", "downloads"),
        ("uploads", "scratch"),
        ("keys/xauthority", "xauthority"),
        ("keys/vnc.passwd", "vnc.passwd"),
    ] {
        fs::rename(own.join(now), root.join(before)).unwrap();
    }
    // The running browser was started with this path.
    std::os::unix::fs::symlink(root.join("profile"), own.join("profile")).unwrap();
    fs::remove_file(root.join("programs")).unwrap();
    fs::write(root.join("downloads/kept.txt"), "kept").unwrap();
    let file = root.join("desktop.json");
    let mut saved: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    for field in ["cookie", "files"] {
        assert!(saved.as_object_mut().unwrap().remove(field).is_some(), "{field}");
    }
    fs::write(&file, saved.to_string()).unwrap();

    let desktop = world.adopt().await.unwrap();
    assert_eq!(desktop.identity().files, None);
    shows(&*desktop, [200, 30, 90]).await;
    assert!(directory.is_single() && root.join("profile").is_dir());
    signal(desktop.identity().chromium.pid, Signal::KILL);
    assert_eq!(died(&*desktop).await.code, "chromium_died");

    let desktop = restarted(desktop).await;
    assert_eq!(desktop.identity().files, Some(crate::domain::session::FilesLevel::None));
    assert!(!directory.is_single() && !root.join("profile").exists());
    assert!(!own.join("profile").is_symlink() && own.join("profile/Default").is_dir());
    assert_eq!(fs::read_to_string(own.join("downloads/kept.txt")).unwrap(), "kept");
    let seat = desktop.vnc().take_seat().await.unwrap();
    assert_eq!(banner(&seat.endpoint).await, b"RFB 003.008\n");
    drop(seat);
    assert_eq!(desktop.shut_down().await, Vec::<String>::new());
    world.desktops.remove_directory(world.session).await.unwrap();
    world.nothing_is_left();
}
