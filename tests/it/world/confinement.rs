//! What the programs of a session can reach of the machine, by the kernel alone.

use std::collections::BTreeMap;
use std::fs;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::automation::drive;
use crate::support::Setup;
use crate::support::server::GREENROOM;

const KINDS: [&str; 6] = ["xvfb", "x11vnc", "xtigervnc", "chromium", "python", "ffmpeg"];

/// A tree that goes away with the test: the server's directory, and that of one program.
struct Tree(PathBuf);

impl Tree {
    fn new(kind: &str) -> Self {
        // Not below `/tmp`, in which an X server has to make files.
        let name = format!("greenroom-confined-{kind}-{}", std::process::id());
        let tree = Self(PathBuf::from("/var/tmp").join(name));
        fs::create_dir_all(tree.0.join("data/sessions/other")).unwrap();
        fs::create_dir_all(tree.0.join("own")).unwrap();
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

/// Runs the probe as a program of `kind`. Gives the outcome of each try, and the launcher's report.
async fn probed(kind: &str, tree: &Tree, name: &str) -> (BTreeMap<String, String>, Value) {
    let targets = json!({
        "server": std::process::id(),
        "read": [tree.path("data/secret"), tree.path("data"), tree.path("data/sessions/other/xauthority")],
        "write": [tree.path("data"), tree.path("data/sessions/other")],
        "execute": tree.path("own"),
        "abstracts": [name],
    });
    let folder = Path::new(GREENROOM).parent().unwrap();
    let spec = json!({
        "kind": kind,
        "program": GREENROOM,
        "arguments": ["confine-probe", targets.to_string()],
        "status": tree.path("status"),
        "landlock": {
            "execute": [folder],
            "write": [tree.path("own")],
            "signals": true,
            "abstract_sockets": true,
        },
    });
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
    let output = launched.wait_with_output().await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{kind}: {said}");
    let lines = String::from_utf8(output.stdout).unwrap();
    let tries = lines.lines().map(|line| {
        let tried: Value = serde_json::from_str(line).unwrap();
        let text = |key: &str| tried[key].as_str().unwrap().to_owned();
        (text("try"), format!("{}: {}", text("outcome"), text("detail")))
    });
    let report = fs::read_to_string(tree.path("status")).unwrap();
    (tries.collect(), serde_json::from_str(&report).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_kind_of_program_reaches_the_server_or_another_session() {
    let name = format!("greenroom-test-{}", std::process::id());
    let _listens =
        UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    for kind in KINDS {
        let tree = Tree::new(kind);
        let (tries, report) = probed(kind, &tree, &name).await;
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
        if abi >= 6 {
            refused.push("signal the server".to_owned());
            refused.push(format!("abstract socket {name}"));
        }
        let reached: Vec<_> = refused
            .iter()
            .map(|tried| (tried, tries.get(tried).map_or("not tried", String::as_str)))
            .filter(|(_, outcome)| !outcome.starts_with("refused"))
            .collect();
        assert!(reached.is_empty(), "{kind} (ABI {abi}): {reached:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_shows_no_file_that_is_not_its_sessions() {
    let server = Setup::real().set("isolation.devtools_rules", "false").start().await;
    let client = &server.client;
    let id = client.session_id().await;
    let other = client.session_id().await;
    let data = server.directory.join("d").display().to_string();
    let own = format!("file://{data}/sessions/{id}/profile/Local State");
    let refused = [
        format!("file://{data}/secret"),
        format!("file://{data}/greenroom.db"),
        format!("file://{data}/sessions/{id}/desktop.json"),
        format!("file://{data}/sessions/{other}/desktop.json"),
        format!("file://{data}/sessions/{other}/profile/Local State"),
        "file:///etc/shadow".to_owned(),
    ];
    let mut addresses: Vec<&str> = refused.iter().map(String::as_str).collect();
    addresses.push(&own);
    let shown = drive(client, &id, "playwright_confined.mjs", &addresses).await;
    for address in &refused {
        assert_eq!(shown[address], "net::ERR_ACCESS_DENIED", "{address}");
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
