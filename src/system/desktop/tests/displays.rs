//! Obstacles to a display, with real X servers. Remains of dead servers never block it, and living
//! servers are left alone, no matter who owns them.

use std::collections::HashMap;
use std::os::unix::net::UnixListener;

use chrono::Utc;

use super::*;
use crate::domain::deadlines::Deadlines;
use crate::domain::ids::{NodeId, OrganizationId};
use crate::domain::leak::LeakKind;
use crate::domain::occupancy::Occupancy;
use crate::domain::session::{SessionRecord, SessionStatus};

/// Two display numbers that only this test process uses.
fn numbers() -> (u16, u16) {
    let one = 20_000 + u16::try_from(std::process::id() % 10_000).unwrap() * 3;
    (one, one + 1)
}

fn on(first: u16, last: u16) -> Settings {
    let (display_first, display_last) = (Some(first), Some(last));
    Settings { display_first, display_last, start_deadline_seconds: 60, ..Settings::default() }
}

/// The pid of a process that has ended and was waited for.
async fn dead() -> i32 {
    let world = World::new(quick());
    let desktop = world.up(small(None)).await;
    let pid = desktop.identity().xvfb.pid;
    assert_eq!(desktop.shut_down().await, Vec::<String>::new());
    pid
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_and_sockets_of_dead_servers_never_stand_in_the_way() {
    let (number, _) = numbers();
    let world = World::new(on(number, number));
    fs::write(lock(number), format!("{:>10}\n", dead().await)).unwrap();
    drop(UnixListener::bind(socket(number)).unwrap());
    assert!(socket(number).exists(), "a socket outlives who listened");
    let desktop = world.up(small(None)).await;
    assert_eq!(desktop.identity().display_number, number);
    assert_eq!(desktop.shut_down().await, Vec::<String>::new());
    assert!(!socket(number).exists());
    // The lock was never the server's.
    fs::remove_file(lock(number)).unwrap();
}

/// An X server with a lock that the desktop code did not start, ended with the test.
struct Foreign(std::process::Child);

impl Foreign {
    async fn on(number: u16) -> Self {
        #[expect(clippy::disallowed_methods, reason = "it is to be none of ours")]
        let mut command = std::process::Command::new("Xvfb");
        command.arg(format!(":{number}")).args(["-screen", "0", "640x480x24", "-nolisten", "tcp"]);
        let foreign = Self(command.stderr(std::process::Stdio::null()).spawn().unwrap());
        let up = async {
            while std::os::unix::net::UnixStream::connect(socket(number)).is_err() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_secs(20), up).await.unwrap();
        assert!(lock(number).exists());
        foreign
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_another_is_passed_over_and_its_files_are_left_alone() {
    let (first, second) = numbers();
    let foreign = Foreign::on(first).await;
    let world = World::new(on(first, second));
    let desktop = world.up(small(None)).await;
    assert_eq!(desktop.identity().display_number, second);
    assert_eq!(desktop.shut_down().await, Vec::<String>::new());
    // Even if its pid is mistaken for one of ours that has ended.
    let number = i32::try_from(foreign.0.id()).unwrap();
    assert_eq!(crate::system::display::remove_remains(&[number]), Vec::<String>::new());
    assert!(lock(first).exists() && socket(first).exists());
    assert!(std::os::unix::net::UnixStream::connect(socket(first)).is_ok(), "it lives");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_launch_that_was_cut_off_left_of_its_display_is_removed() {
    let (number, _) = numbers();
    let settings = on(number, number);
    // First its number is on record and its server was killed; then the server had not recorded it yet.
    for is_killed in [true, false] {
        let world = World::new(quick());
        let directory = world.desktops.directory(world.session);
        directory.create(&[7; 16], b"", None).unwrap();
        let start = crate::system::display::Start {
            session: world.session,
            size: small(None).size,
            only: None,
            authority: &directory.authority(),
            number: &directory.display_number(),
            log: &directory.log("xvfb"),
            vnc: None,
        };
        let runtime = tokio::runtime::Handle::current();
        let started = crate::system::display::start(start, &settings, &runtime, |_| ()).await;
        let (display, xvfb) = started.unwrap();
        assert_eq!(display, number);
        assert_eq!(crate::system::display::served_by(xvfb.identity().pid), [number]);
        if is_killed {
            assert!(xvfb.kill().await);
        } else {
            fs::remove_file(directory.display_number()).unwrap();
        }
        drop(xvfb);
        assert!(socket(number).exists());

        let left = world.desktops.end_remains(world.session, Files::AsSet).await;
        assert_eq!(left, Vec::<String>::new());
        assert!(!lock(number).exists() && !socket(number).exists());
        world.nothing_is_left();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_finds_what_a_killed_display_left_and_removes_that_alone() {
    let (first, second) = numbers();
    let _foreign = Foreign::on(second).await;
    let world = World::new(on(first, first));
    let desktop = world.up(small(None)).await;
    let identity = desktop.identity().clone();
    let now = Utc::now();
    let row = SessionRecord {
        id: world.session,
        organization: OrganizationId::from(1),
        node: NodeId::from(1),
        status: SessionStatus::Running,
        spec: small(None),
        desktop: Some(identity.clone()),
        occupancy: Occupancy::default(),
        deadlines: Deadlines::default(),
        failure: None,
        created_at: now - chrono::Duration::minutes(1),
        started_at: Some(now),
        completed_at: None,
        modified_at: now,
    };
    let place = world.desktops.place();
    assert!(place.suspects().contains(&world.session));
    let mut known = HashMap::from([(world.session, row.clone())]);
    assert_eq!(place.leaks(&known), [], "it lives");

    // As if the server and its session had ended without a cleanup of the desktop.
    drop(desktop);
    let status = SessionStatus::Completed;
    known.insert(world.session, SessionRecord { status, completed_at: Some(Utc::now()), ..row });
    let kinds = |known: &_| -> Vec<LeakKind> {
        let mut kinds: Vec<_> = place.leaks(known).into_iter().map(|leak| leak.kind).collect();
        kinds.dedup();
        kinds
    };
    assert!(kinds(&known).contains(&LeakKind::Process), "{:?}", place.leaks(&known));
    let kill = |pid: i32| {
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    };
    kill(identity.xvfb.pid);
    let gone = async {
        while kinds(&known) != [LeakKind::DisplaySocket, LeakKind::Directory] {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(10), gone).await.unwrap();
    assert!(socket(first).exists(), "a killed X server leaves its socket");

    world.desktops.end_remains(world.session, Files::AsSet).await;
    world.desktops.remove_leaks(&known).await;
    assert_eq!(place.leaks(&known), []);
    assert!(!lock(first).exists() && !socket(first).exists());
    assert!(lock(second).exists() && socket(second).exists(), "that is another's");
}
