//! The network access of a session's programs, tested from within, with the real programs.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt as _;

use futures_util::{SinkExt as _, StreamExt as _};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::net::TcpListener as AsyncListener;

use super::Site;
use super::adoption::Page;
use super::automation::drive;
use super::blocks::{ended, start, store};
use super::installed;
use crate::support::client::id_of;
use crate::support::server::TestServer;
use crate::support::{Setup, eventually};

/// The content of `desktop.json` of a session.
fn desktop(server: &TestServer, id: &str) -> Value {
    let file = server.directory.join("d/sessions").join(id).join("desktop.json");
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

fn egress(server: &TestServer, id: &str) -> i32 {
    let pid = desktop(server, id)["egress"]["process"]["pid"].as_i64().unwrap();
    i32::try_from(pid).unwrap()
}

/// Addresses of listeners on this machine, in every notation, and of networks that must not be
/// reachable.
fn inner_addresses(server: &TestServer, id: &str, other: &str) -> Vec<String> {
    let port = server.client.base.rsplit_once(':').unwrap().1;
    let devtools = |id: &str| desktop(server, id)["devtools"].as_str().unwrap().to_owned();
    let mut addresses = vec![
        format!("http://{}/json/version", devtools(id)),
        format!("http://{}/json/list", devtools(other)),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "http://100.100.100.200/latest/meta-data/".to_owned(),
        "http://168.63.129.16/".to_owned(),
        "http://[fd00:ec2::254]/".to_owned(),
        "http://10.0.0.1/".to_owned(),
        "http://[fe80::1]/".to_owned(),
        "http://127.0.0.1:3128/".to_owned(),
        "http://127.0.0.1:3129/".to_owned(),
    ];
    for host in [
        "127.0.0.1",
        "127.1.2.3",
        "localhost",
        "x.localhost",
        "0.0.0.0",
        "2130706433",
        "0x7f000001",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[2002:7f00:1::]",
        "[64:ff9b::7f00:1]",
    ] {
        addresses.push(format!("http://{host}:{port}/healthz"));
    }
    addresses
}

async fn nothing_inner_is_reached(server: &TestServer, mode: &str, id: &str, other: &str) -> Value {
    let addresses = inner_addresses(server, id, other);
    let mut arguments = vec![mode];
    arguments.extend(addresses.iter().map(String::as_str));
    let shown = drive(&server.client, id, "playwright_network.mjs", &arguments).await;
    for address in &addresses {
        assert_eq!(shown[address], "address_not_public", "{address}: {shown:#}");
    }
    shown
}

/// The datagrams that have left the network of a process.
fn datagrams(pid: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/net/snmp")).unwrap();
    let mut rows = text.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let (names, values) = (rows.next().unwrap(), rows.next().unwrap());
    let at = names.split(' ').position(|name| name == "OutDatagrams").unwrap();
    values.split(' ').nth(at).unwrap().parse().unwrap()
}

async fn is_separate(setup: Setup, ordinary: bool) {
    let setup = setup.set("isolation.devtools_rules", "false").set("egress.allow", "");
    let server = setup.start().await;
    let client = &server.client;
    let (id, other) = (client.session_id().await, client.session_id().await);
    let shown = nothing_inner_is_reached(&server, "contexts", &id, &other).await;
    for proxy in ["direct://", "http://127.0.0.1:9222", "http://203.0.113.9:3128"] {
        let said = shown[proxy].as_str().unwrap();
        assert!(said.starts_with("net::ERR_"), "{proxy}: {said}");
    }
    assert_eq!(shown["candidates"], json!([]));
    let chromium = desktop(&server, &id)["chromium"]["pid"].as_i64().unwrap();
    assert_eq!(datagrams(i32::try_from(chromium).unwrap()), 0);
    let shared = |root: &str| fs::metadata(format!("{root}/dev/shm")).unwrap().dev();
    let mounts = fs::read_to_string(format!("/proc/{chromium}/mountinfo")).unwrap();
    let own = mounts.lines().rfind(|line| line.contains(" /dev/shm ")).unwrap();
    assert!(own.contains("size=1048576k"), "{own}");
    assert_ne!(shared(&format!("/proc/{chromium}/root")), shared(""));
    // The port is not reachable from the machine either.
    let devtools = desktop(&server, &id)["devtools"].as_str().unwrap().to_owned();
    assert!(std::net::TcpStream::connect(devtools).is_err());
    let isolation = &client.look(&id).await["isolation"];
    let files = if ordinary { "landlock" } else { "uid" };
    let expected = json!({ "network": "enforced", "files": files, "sandbox": true });
    assert_eq!(isolation, &expected);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_reaches_nothing_of_the_machine() {
    is_separate(Setup::real(), !rustix::process::geteuid().is_root()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_of_an_ordinary_user_reaches_nothing_of_the_machine() {
    is_separate(Setup::real().ordinary(), true).await;
}

/// The machine has namespaces; the setting simulates a machine without them.
#[tokio::test(flavor = "multi_thread")]
async fn without_namespaces_the_proxy_refuses_the_same() {
    let server = Setup::real()
        .set("isolation.devtools_rules", "false")
        .set("isolation.network", "proxy")
        .set("egress.allow", "")
        .start()
        .await;
    let (id, other) = (server.client.session_id().await, server.client.session_id().await);
    nothing_inner_is_reached(&server, "pages", &id, &other).await;
    assert_eq!(desktop(&server, &id)["egress"]["level"], "proxied");
    assert!(server.log().contains("isolation: network proxied"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_requires_isolation_does_not_start_without() {
    let server = Setup::real().start().await;
    for (setting, value) in [("ISOLATION__NETWORK", "proxy"), ("ISOLATION__FILES", "off")] {
        let mut command = tokio::process::Command::new(crate::support::server::GREENROOM);
        command.arg("serve").env("GREENROOM_ISOLATION__REQUIRE", "true");
        command.env("GREENROOM_DATA", server.directory.join("other"));
        command.env("GREENROOM_LISTEN", "127.0.0.1:0");
        command.env(format!("GREENROOM_{setting}"), value);
        let output = command.output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains("isolation.require"), "{said}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_egress_program_that_is_killed_or_stopped_comes_back_to_the_same_page() {
    let site = Site::start().await;
    let server = Setup::real().set("desktop.probe_seconds", "1").start().await;
    let client = &server.client;
    let url = site.page("login.html");
    let id = id_of(&client.session_of(json!({ "start_url": url.clone() })).await);
    let mut page = Page::of(client, &id).await;
    page.loaded(&url).await;
    assert_eq!(page.evaluate("window.kept = 'here'").await, "here");
    for signal in [Signal::KILL, Signal::STOP] {
        let former = egress(&server, &id);
        let pid = rustix::process::Pid::from_raw(former).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
        eventually("another egress program runs", async || {
            (egress(&server, &id) != former).then_some(())
        })
        .await;
        // The connection to DevTools does not go through it, and the page continues.
        assert_eq!(page.evaluate("window.kept").await, "here");
        let fetched = format!(
            "(async () => {{ for (;;) {{ try {{ return (await fetch('{url}')).status; }} \
             catch {{ await new Promise(done => setTimeout(done, 50)); }} }} }})()"
        );
        assert_eq!(page.resolve(&fetched).await, 200);
        Page::of(client, &id).await;
    }
    client.close(&id).await.ok();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_websocket_of_a_page_outlives_the_server() {
    let listener = AsyncListener::bind("127.0.0.1:0").await.unwrap();
    let echo = format!("ws://{}/", listener.local_addr().unwrap());
    let served = tokio::spawn(async move {
        let (stream, _from) = listener.accept().await.unwrap();
        let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
        while let Some(Ok(message)) = socket.next().await {
            if message.is_text() {
                socket.send(message).await.unwrap();
            }
        }
    });
    let mut server = Setup::real().start().await;
    let id = server.client.session_id().await;
    let mut page = Page::of(&server.client, &id).await;
    let open = format!(
        "new Promise((done, failed) => {{ window.socket = new WebSocket('{echo}'); \
         socket.onopen = () => done('open'); socket.onerror = () => done('failed'); }})"
    );
    assert_eq!(page.resolve(&open).await, "open");

    TestServer::kill(server.pid());
    server.ended().await;
    server.serve().await;
    server.client.once(&id, "running").await;
    let mut page = Page::of(&server.client, &id).await;
    let echoed = "new Promise(done => { socket.onmessage = event => done(event.data); \
                  socket.onclose = () => done('closed'); socket.send('still here'); })";
    assert_eq!(page.resolve(echoed).await, "still here");
    server.client.close(&id).await.ok();
    server.stop().await;
    served.abort();
}

/// Code in its session's network: refused attempts, and the permitted ways.
const CODE: &str = r#"
import socket, urllib.request, urllib.error

def opened(port):
    try:
        socket.create_connection(("127.0.0.1", port), 2).close()
        return "reached"
    except OSError as error:
        return "refused"

def asked(url, proxies):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler(proxies))
    try:
        return opener.open(url, timeout=5).status
    except urllib.error.HTTPError as error:
        return error.headers.get("x-greenroom-refused") or error.code
    except OSError as error:
        return "unreached"

def datagram():
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.sendto(b"x", ("203.0.113.9", 53))
            return "sent"
    except OSError:
        return "refused"

await page.goto(site)
server = f"http://127.0.0.1:{port}/"
return {
    "title": await page.title(),
    "devtools": opened(devtools),
    "other": opened(other),
    "server": opened(port),
    "proxied": asked(server + "healthz", urllib.request.getproxies()),
    "site": asked(site, urllib.request.getproxies()),
    "gateway": asked("http://127.0.0.1:3129/v1/browser_sessions", {}),
    "neighbour": asked(f"http://127.0.0.1:3129/v1/browser_sessions/{neighbour}/", {}),
    "udp": datagram(),
}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn code_reaches_its_page_and_what_its_session_may_reach() {
    let site = Site::start().await;
    let python = installed(".venv/bin/python");
    let allowed = site.url.strip_prefix("http://").unwrap();
    let server = Setup::real()
        .set("workflow.python", python.to_str().unwrap())
        .set("egress.allow", allowed)
        .start()
        .await;
    let client = &server.client;
    let (id, neighbour) = (client.session_id().await, client.session_id().await);
    let port = |address: &Value| -> u16 {
        address.as_str().unwrap().rsplit_once(':').unwrap().1.parse().unwrap()
    };
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let values = json!({
        "site": site.page("login.html"),
        "port": port(&json!(client.base)),
        "devtools": port(&desktop(&server, &id)["devtools"]),
        "other": other.local_addr().unwrap().port(),
        "neighbour": neighbour,
    });
    let parameters: Vec<Value> = values
        .as_object()
        .unwrap()
        .iter()
        .map(|(key, value)| {
            let kind = if value.is_string() { "string" } else { "integer" };
            json!({ "parameter_type": "workflow", "key": key, "workflow_parameter_type": kind,
                    "default_value": value })
        })
        .collect();
    let keys: Vec<&String> = values.as_object().unwrap().keys().collect();
    let block = json!({ "block_type": "code", "label": "tries", "code": CODE,
                        "parameter_keys": keys });
    let definition = json!({ "parameters": parameters, "blocks": [block] });
    let workflow = store(client, definition).await;
    let run = start(client, &workflow, json!({ "browser_session_id": id })).await;
    let run = ended(client, &run).await;
    assert_eq!(run["status"], "completed", "{run:#}");
    let tries = &run["output"]["tries_output"];
    for (tried, expected) in [
        ("devtools", json!("refused")),
        ("other", json!("refused")),
        ("server", json!("refused")),
        ("proxied", json!("address_not_public")),
        ("site", json!(200)),
        ("gateway", json!("path_not_of_session")),
        ("neighbour", json!("path_not_of_session")),
    ] {
        assert_eq!(tries[tried], expected, "{tried}: {run:#}");
    }
    assert_ne!(tries["udp"], "sent", "{run:#}");
    server.stop().await;
}
