//! The level `enforced`, as root and as an ordinary user; the users of the level `proxied`.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::process::Command;

use greenroom::egress::door;

use super::origins::{Resident, echoes, mirror, origin};
use super::support::{Egress, allow, is_root, ordinary_user, own_user, read_head};

const PROXY: &str = "http://127.0.0.1:3128";

/// A port on which nothing listens.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

async fn enforced(user: u32) {
    let outside = mirror();
    let egress = Egress::enforced(user, &allow(outside)).await;

    // The policy's targets through the proxy, and nothing without it.
    let url = format!("http://127.0.0.1:{outside}/page");
    let page = egress.curl(&["-x", PROXY, &url]);
    assert!(page.contains("GET /page HTTP/1.1"), "{page}");
    assert!(egress.curl(&["-p", "-x", PROXY, &url]).contains("GET /page"));
    assert!(egress.curl(&[&url]).contains("curl: (7)"));
    assert!(egress.curl(&["http://192.0.2.1/"]).contains("curl: (7)"));
    let refused = egress.curl(&["-x", PROXY, "http://127.0.0.1:1/"]);
    assert!(refused.contains("address_not_public"), "{refused}");

    // A port of the session from outside, only by path.
    let port = free_port();
    let _resident = Resident::start(&egress, port).await;
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    let mut stream = door::connect(&egress.directory, port).await.unwrap();
    echoes(&mut stream).await;

    // The server from inside, below its prefix.
    let gateway =
        |path: &str| egress.curl(&["--path-as-is", &format!("http://127.0.0.1:3129{path}")]);
    let absent = gateway("/s/1/json");
    assert!(absent.contains("503") && absent.contains("server_absent"), "{absent}");
    let server = origin(|mut stream| {
        let head = read_head(&mut stream);
        let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{head}", head.len());
    });
    egress.write("server", &format!("127.0.0.1:{server}"));
    for path in ["/", "/s/2/json", "/s/1/../2/json", "/s/1/%2e%2e/2"] {
        assert!(gateway(path).contains("path_not_of_session"), "{path}");
    }
    let spoofed = ["-H", "X-Forwarded-For: 127.0.0.1", "http://127.0.0.1:3129/s/1/json"];
    let page = egress.curl(&spoofed);
    assert!(page.contains("GET /s/1/json HTTP/1.1"), "{page}");
    assert!(!page.contains("X-Forwarded-For"), "{page}");
    // After its next start the server has another address, or none yet.
    egress.write("server", "127.0.0.1:1");
    assert!(gateway("/s/1/json").contains("server_absent"));
}

#[tokio::test]
async fn a_namespace_of_the_own_user() {
    enforced(own_user()).await;
}

#[tokio::test]
async fn a_namespace_of_an_ordinary_user() {
    enforced(ordinary_user()).await;
}

#[tokio::test]
async fn only_the_network_of_a_session_is_joined() {
    let own = std::process::id().to_string();
    let machine = Egress::new(own_user()).rival(&["--join", &own]);
    let text = String::from_utf8_lossy(&machine.stderr).into_owned();
    assert!(!machine.status.success() && text.contains("the machine's network"), "{text}");
    let absent = Egress::new(own_user()).rival(&["--join", "4194305"]);
    let text = String::from_utf8_lossy(&absent.stderr).into_owned();
    assert!(!absent.status.success() && text.contains("process 4194305"), "{text}");
}

#[tokio::test]
async fn at_the_level_proxied_other_users_are_rejected() {
    let url = format!("http://127.0.0.1:{}/", mirror());
    let policy = r#"{"allow": ["127.0.0.0/8"]}"#;
    let own = Egress::proxied(policy, &[]).await;
    assert!(own.get(&url).starts_with("HTTP/1.1 200"));
    if is_root() {
        let proxy = format!("http://{}", own.ready()["proxy"].as_str().unwrap());
        let user = ordinary_user().to_string();
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &user, "--regid", &user, "--clear-groups"]);
        command.args(["curl", "-sS", "-i", "-m", "10", "-x", &proxy, &url]);
        let page = String::from_utf8_lossy(&command.output().unwrap().stdout).into_owned();
        assert!(!page.starts_with("HTTP/1.1 200"), "{page}");
        assert_eq!(own.control("status").await["connections"]["rejected"], 1);
    }
    // The reverse: the session belongs to another user.
    let other = (own_user() + 1).to_string();
    let foreign = Egress::new(own_user());
    foreign.policy(policy);
    let foreign = foreign.arguments(&["--level", "proxied", "--client-user", &other]).start().await;
    assert!(!foreign.get(&url).starts_with("HTTP/1.1 200"));
    let status = foreign.control("status").await;
    assert_eq!(status["connections"]["rejected"], 1);
    assert_eq!(status["connections"]["accepted"], 0);
}

#[tokio::test]
async fn the_level_proxied_needs_the_user_of_its_clients() {
    let output = Egress::new(own_user()).rival(&["--level", "proxied"]);
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("needs the user"), "{text}");
}
