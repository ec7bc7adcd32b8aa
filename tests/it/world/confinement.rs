//! The access of a session's programs to the machine, as enforced by the kernel.

use std::collections::BTreeMap;
use std::fs;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};

use super::automation::drive;
use crate::support::server::GREENROOM;
use crate::support::viewer::Viewer;
use crate::support::{Setup, eventually};

const KINDS: [&str; 7] = ["xvfb", "x11vnc", "xtigervnc", "chromium", "python", "ffmpeg", "nss"];

/// A temporary tree: the server's directory, and that of a program.
struct Tree(PathBuf);

impl Tree {
    fn new(kind: &str) -> Self {
        // Not below `/tmp`, where an X server creates files.
        let name = format!("greenroom-confined-{kind}-{}", std::process::id());
        let tree = Self(PathBuf::from("/var/tmp").join(name));
        fs::create_dir_all(tree.0.join("data/sessions/other")).unwrap();
        fs::create_dir_all(tree.0.join("own")).unwrap();
        fs::set_permissions(tree.0.join("own"), fs::Permissions::from_mode(0o700)).unwrap();
        fs::write(tree.0.join("data/secret"), "secret").unwrap();
        fs::write(tree.0.join("data/sessions/other/xauthority"), "cookie").unwrap();
        tree
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A user id outside of the range for sessions.
const USER: u32 = 2_100_080_001;

/// The users for a probe: the test's own, and a user that owns only its folder.
fn users() -> Vec<Option<u32>> {
    let changes = rustix::process::geteuid().is_root();
    [Some(None), changes.then_some(Some(USER))].into_iter().flatten().collect()
}

/// The specification of a program in the folder `own` of a tree.
fn spec(kind: &str, tree: &Tree, user: Option<u32>, program: &str, arguments: &[&str]) -> Value {
    if let Some(user) = user {
        std::os::unix::fs::chown(tree.path("own"), Some(user), Some(user)).unwrap();
    }
    let folder = Path::new(GREENROOM).parent().unwrap();
    json!({
        "kind": kind,
        "program": program,
        "arguments": arguments,
        "status": tree.path("status"),
        "user": user.map(|user| json!({ "uid": user, "gid": user })),
        "landlock": {
            "execute": [folder],
            "write": [tree.path("own")],
            "signals": true,
            "abstract_sockets": true,
        },
    })
}

/// Starts a program by the launcher.
async fn launched(spec: &Value) -> Child {
    let mut launched = Command::new(GREENROOM)
        .arg("confine")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = launched.stdin.take().unwrap();
    stdin.write_all(spec.to_string().as_bytes()).await.unwrap();
    drop(stdin);
    launched
}

/// Runs the probe as a program of `kind`. Returns the outcome of each try, and the launcher's report.
async fn probed(
    kind: &str,
    tree: &Tree,
    user: Option<u32>,
    targets: &Value,
) -> (BTreeMap<String, String>, Value) {
    let spec = spec(kind, tree, user, GREENROOM, &["confine-probe", &targets.to_string()]);
    let output = launched(&spec).await.wait_with_output().await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{kind}: {said}");
    let lines = String::from_utf8(output.stdout).unwrap();
    let tries = lines.lines().map(|line| {
        let tried: Value = serde_json::from_str(line).unwrap();
        let text = |key: &str| tried[key].as_str().unwrap().to_owned();
        (text("try"), format!("{}: {}", text("outcome"), text("detail")))
    });
    let report = fs::read_to_string(tree.path("status")).unwrap();
    let report = report.lines().last().unwrap();
    (tries.collect(), serde_json::from_str(report).unwrap())
}

/// Asserts that each of these tries was made and refused.
fn all_refused(who: &str, refused: &[String], tries: &BTreeMap<String, String>) {
    let reached: Vec<_> = refused
        .iter()
        .map(|tried| (tried, tries.get(tried).map_or("not tried", String::as_str)))
        .filter(|(_, outcome)| !outcome.starts_with("refused"))
        .collect();
    assert!(reached.is_empty(), "{who}: {reached:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_kind_of_program_reaches_the_server_or_another_session() {
    let name = format!("greenroom-test-{}", std::process::id());
    let _listens =
        UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    for (kind, user) in KINDS.iter().flat_map(|kind| users().into_iter().map(move |it| (*kind, it)))
    {
        let tree = Tree::new(kind);
        let targets = json!({
            "server": std::process::id(),
            "read": [tree.path("data/secret"), tree.path("data"), tree.path("data/sessions/other/xauthority")],
            "write": [tree.path("data"), tree.path("data/sessions/other")],
            "execute": tree.path("own"),
            "abstracts": [name],
        });
        let (tries, report) = probed(kind, &tree, user, &targets).await;
        assert_eq!(report["user"]["uid"].as_u64(), user.map(u64::from));
        let abi = report["landlock"].as_i64().unwrap();
        assert!(abi > 0, "this kernel has no Landlock, so programs are not confined: {report}");
        let mut refused: Vec<String> = [
            "read /etc/shadow",
            "read /root",
            "read /home",
            "read /run",
            "read /var/lib",
            "read /var/log",
            "write /var/tmp",
            "write /run",
            "write /",
            "execute an own file",
            "terminal /dev/tty",
            "terminal /dev/console",
            "terminal inherited",
            "descriptors inherited",
            "server's environ",
            "server's maps",
            "server's fd",
            "server's root",
            "server's memory (ptrace)",
            "descriptor of the server",
            "core dumps",
            "new privileges",
            "capabilities",
        ]
        .map(str::to_owned)
        .to_vec();
        for path in ["data/secret", "data", "data/sessions/other/xauthority"] {
            refused.push(format!("read {}", tree.path(path)));
        }
        for path in ["data", "data/sessions/other"] {
            refused.push(format!("write {}", tree.path(path)));
        }
        if user.is_some() {
            let by_user =
                ["server's oom_score_adj", "prlimit of the server", "is root", "become root"];
            refused.extend(by_user.map(str::to_owned));
        }
        if abi >= 6 || user.is_some() {
            refused.push("signal the server".to_owned());
        }
        if abi >= 6 {
            refused.push(format!("abstract socket {name}"));
        }
        all_refused(&format!("{kind} as {user:?} (ABI {abi})"), &refused, &tries);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_neighbours_processes_and_files_are_out_of_reach_by_its_user_alone() {
    if !rustix::process::geteuid().is_root() {
        // The launcher reports it, and starts nothing.
        let tree = Tree::new("refused");
        let own = json!({ "kind": "python", "program": "/bin/true", "user": { "uid": USER, "gid": USER } });
        let output = launched(&own).await.wait_with_output().await.unwrap();
        assert_eq!(output.status.code(), Some(126));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("\"step\":\"user\""), "{said}");
        drop(tree);
        return;
    }
    let (neighbour, tree) = (Tree::new("neighbour"), Tree::new("hostile"));
    let mut lives = spec("chromium", &neighbour, Some(USER), "/bin/sleep", &["600"]);
    lives.as_object_mut().unwrap().remove("landlock");
    let lives = launched(&lives).await;
    let pid = lives.id().unwrap();
    eventually("the neighbour runs", async || {
        fs::read(format!("/proc/{pid}/cmdline")).unwrap().starts_with(b"/bin/sleep").then_some(())
    })
    .await;
    let shared = PathBuf::from(format!("/dev/shm/greenroom-neighbour-{pid}"));
    fs::write(&shared, "theirs").unwrap();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::chown(&shared, Some(USER), Some(USER)).unwrap();

    let targets = json!({ "server": pid, "read": [shared, neighbour.path("own")] });
    // Without Landlock in the kernel, only the user separates programs.
    for simulated in [None, Some(0)] {
        for kind in KINDS {
            let other = USER + 1;
            let mut own =
                spec(kind, &tree, Some(other), GREENROOM, &["confine-probe", &targets.to_string()]);
            own["landlock"]["simulate_abi"] = json!(simulated);
            let output = launched(&own).await.wait_with_output().await.unwrap();
            let lines = String::from_utf8(output.stdout).unwrap();
            let tries: BTreeMap<_, _> = lines
                .lines()
                .map(|line| {
                    let tried: Value = serde_json::from_str(line).unwrap();
                    let text = |key: &str| tried[key].as_str().unwrap().to_owned();
                    (text("try"), format!("{}: {}", text("outcome"), text("detail")))
                })
                .collect();
            let mut refused = [
                "server's environ",
                "server's maps",
                "server's fd",
                "server's root",
                "server's cwd",
                "server's memory (ptrace)",
                "server's oom_score_adj",
                "signal the server",
                "prlimit of the server",
                "descriptor of the server",
                "become root",
                "capabilities",
            ]
            .map(str::to_owned)
            .to_vec();
            refused.push(format!("read {}", shared.display()));
            refused.push(format!("read {}", neighbour.path("own")));
            all_refused(&format!("{kind}, simulated ABI {simulated:?}"), &refused, &tries);
        }
    }
    fs::remove_file(&shared).unwrap();
    drop(lives);
}

/// The user and the group of a process.
fn user_of(pid: i32) -> (u32, u32) {
    use std::os::unix::fs::MetadataExt as _;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let number = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    };
    let folder = fs::metadata(format!("/proc/{pid}")).unwrap();
    assert_eq!(folder.uid(), number("Uid:"));
    (number("Uid:"), number("Gid:"))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_session_has_a_user_of_its_own_where_the_server_can_change_user() {
    let server = Setup::real().set("isolation.devtools_rules", "false").start().await;
    let client = &server.client;
    let ids = [client.session_id().await, client.session_id().await];
    let own = rustix::process::geteuid();
    let mut users = Vec::new();
    for id in &ids {
        Viewer::of(client, id).await;
        let programs: Vec<_> =
            ["Xvfb", "chromium", "x11vnc"].map(|name| server.program(id, name)).to_vec();
        let of: Vec<_> = programs.into_iter().map(user_of).collect();
        assert!(of.iter().all(|user| *user == of[0]), "{of:?}");
        let command =
            fs::read(format!("/proc/{}/cmdline", server.program(id, "chromium"))).unwrap();
        let command = String::from_utf8_lossy(&command).into_owned();
        let shown = drive(client, id, "playwright_confined.mjs", &["chrome://sandbox"]).await;
        if own.is_root() {
            assert!(!command.contains("--no-sandbox"), "{command}");
            let text = shown["chrome://sandbox"].as_str().unwrap();
            assert!(text.contains("You are adequately sandboxed"), "{text}");
        }
        users.push(of[0].0);
    }
    if own.is_root() {
        assert!(
            users[0] != users[1]
                && users.iter().all(|user| (2_100_000_000..2_100_065_536).contains(user))
        );
        assert!(server.log().contains("isolation: files uid"));
    } else {
        assert_eq!(users, [own.as_raw(), own.as_raw()]);
        assert!(server.log().contains("sessions have no users of their own"));
    }
    let mode = |path: PathBuf| path.metadata().unwrap().permissions().mode() & 0o777;
    let programs = server.programs(&ids[0]);
    assert_eq!(mode(programs.clone()), 0o711);
    for folder in ["profile", "home", "downloads", "uploads", "tmp", "vnc"] {
        assert_eq!(mode(programs.join(folder)), 0o700, "{folder}");
    }
    assert!(
        !programs.join("profile/.config").exists() && !programs.join("profile/.cache").exists()
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn links_pipes_and_second_names_among_downloads_lead_to_nothing() {
    let server = Setup::real().start().await;
    let client = &server.client;
    let id = client.session_id().await;
    let (downloads, secret) =
        (server.programs(&id).join("downloads"), server.directory.join("d/secret"));
    let before = fs::read(&secret).unwrap();
    std::os::unix::fs::symlink(&secret, downloads.join("link.csv")).unwrap();
    std::os::unix::fs::symlink(secret.parent().unwrap(), downloads.join("folder")).unwrap();
    fs::hard_link(&secret, downloads.join("second.csv")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        downloads.join("pipe.csv"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o666),
        0,
    )
    .unwrap();
    fs::write(downloads.join("plain.csv"), "plain").unwrap();

    let names = |session: &Value| -> Vec<String> {
        let files = session["downloaded_files"].as_array().unwrap();
        files.iter().map(|file| file["filename"].as_str().unwrap().to_owned()).collect()
    };
    let listed = eventually("the plain file is listed", async || {
        let session = client.look(&id).await;
        Some(names(&session)).filter(|names| !names.is_empty())
    })
    .await;
    assert_eq!(listed, ["plain.csv"]);
    client.close(&id).await.ok();
    assert_eq!(names(&client.look(&id).await), ["plain.csv"]);
    assert!(!server.programs(&id).exists());
    assert_eq!(fs::read(&secret).unwrap(), before);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_shows_no_file_that_is_not_its_sessions() {
    let server = Setup::real().set("isolation.devtools_rules", "false").start().await;
    let client = &server.client;
    let id = client.session_id().await;
    let other = client.session_id().await;
    let data = server.directory.join("d").display().to_string();
    let programs = |id: &str| server.programs(id).display().to_string();
    let own = format!("file://{}/profile/Local State", programs(&id));
    let refused = [
        format!("file://{data}/secret"),
        format!("file://{data}/greenroom.db"),
        format!("file://{data}/sessions/{id}/desktop.json"),
        format!("file://{data}/sessions/{other}/desktop.json"),
        format!("file://{}/profile/Local State", programs(&other)),
        format!("file://{}/keys/vnc.passwd", programs(&id)),
        "file:///etc/shadow".to_owned(),
    ];
    let mut addresses: Vec<&str> = refused.iter().map(String::as_str).collect();
    addresses.push(&own);
    let shown = drive(client, &id, "playwright_confined.mjs", &addresses).await;
    for address in &refused {
        // All of them exist. Chromium cannot see that if its user has no access to a parent folder.
        let file = address.strip_prefix("file://").unwrap();
        assert!(std::path::Path::new(file).exists(), "{file}");
        let said = shown[address].as_str().unwrap();
        let refusals = ["net::ERR_ACCESS_DENIED", "net::ERR_FILE_NOT_FOUND"];
        assert!(refusals.contains(&said), "{address}: {said}");
    }
    assert!(shown[&own].as_str().unwrap().starts_with('{'), "its own: {shown:#}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_confinement_a_browser_shows_what_the_server_may_read() {
    let server = Setup::real()
        .set("isolation.devtools_rules", "false")
        .set("isolation.files", "off")
        .start()
        .await;
    let client = &server.client;
    let id = client.session_id().await;
    let address = format!("file://{}/d/node", server.directory.display());
    let shown = drive(client, &id, "playwright_confined.mjs", &[&address]).await;
    assert_ne!(shown[&address], "net::ERR_ACCESS_DENIED");
    assert!(server.log().contains("isolation: files none, because `isolation.files` is off"));
    server.stop().await;
}
