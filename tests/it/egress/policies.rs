//! The policy file of a running program, refusals and the status.

use std::fs;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use greenroom::egress::files::{CONTROL, POLICY, STATUS};
use rustix::process::Signal;
use serde_json::Value;

use super::origins::{echo, mirror};
use super::support::{Egress, allow, read_all};
use crate::support::{PATIENCE, eventually};

const MISSING: &str = "X-Greenroom-Refused: policy_missing";

#[tokio::test]
async fn without_a_policy_everything_is_refused() {
    let port = mirror();
    let url = format!("http://127.0.0.1:{port}/");
    let egress = Egress::proxied("", &[]).await;
    for url in [&url, "http://192.0.2.1/", "http://name.invalid/"] {
        assert!(egress.get(url).contains(MISSING), "{url}");
    }
    assert!(egress.tunnel(&format!("127.0.0.1:{port}")).unwrap_err().contains(MISSING));
    assert_eq!(egress.control("state").await["state"], "missing");
    egress.policy(&allow(port));
    assert!(egress.get(&url).starts_with("HTTP/1.1 200"));
    // A removed file, and a path that is not a file, permit nothing either.
    let mut tunnel = egress.tunnel(&format!("127.0.0.1:{port}")).unwrap();
    fs::remove_file(egress.directory.join(POLICY)).unwrap();
    assert_eq!(egress.control("reload").await["state"], "missing");
    assert_eq!(read_all(&mut tunnel), "");
    assert!(egress.get(&url).contains(MISSING));
    fs::create_dir(egress.directory.join(POLICY)).unwrap();
    assert!(egress.get(&url).contains(MISSING));
    assert!(egress.control("state").await["error"].as_str().unwrap().contains("cannot be read"));
}

#[tokio::test]
async fn a_policy_that_does_not_parse_leaves_the_former_in_force() {
    let port = mirror();
    let url = format!("http://127.0.0.1:{port}/");
    let mut egress = Egress::proxied("", &[]).await;
    egress.policy(&allow(port).replacen('{', r#"{"revision": 7, "#, 1));
    assert!(egress.get(&url).starts_with("HTTP/1.1 200"));
    let mut tunnel = egress.tunnel(&format!("127.0.0.1:{port}")).unwrap();
    let secret = r#"{"upstream": {"url": "http://user:hunter2@ /"}}"#;
    let too_long = format!("{{{}}}", " ".repeat(1 << 20));
    for (text, expected) in [
        ("{\"revision\": 8,", "line 1"),
        ("", "line 1"),
        ("{} x", "line 1"),
        ("[]", "not a policy"),
        (r#"{"alow": []}"#, "not a policy"),
        (r#"{"allow": ["10.0.0.0/64"]}"#, "`allow`"),
        (r#"{"deny": ["a:0"]}"#, "`deny`"),
        (secret, "`upstream`"),
        (&too_long, "longer than"),
    ] {
        egress.policy(text);
        let state = egress.control("reload").await;
        assert_eq!((&state["state"], &state["revision"]), (&"invalid".into(), &7.into()), "{text}");
        let error = state["error"].as_str().unwrap();
        assert!(error.contains(expected) && !error.contains("hunter2"), "{error}");
        assert!(egress.get(&url).starts_with("HTTP/1.1 200"), "{text}");
    }
    write!(tunnel, "GET /kept HTTP/1.1\r\n\r\n").unwrap();
    let mut byte = [0];
    assert_eq!(tunnel.read(&mut byte).unwrap(), 1, "the tunnel is still open");
    // The next program has no former policy: it refuses everything, and reports the reason.
    egress.policy(secret);
    egress.end(Signal::KILL);
    egress.start_again(&[]).await;
    assert!(egress.get(&url).contains(MISSING));
    let state = egress.control("state").await;
    assert_eq!((&state["state"], &state["revision"]), (&"invalid".into(), &Value::Null));
    assert!(!egress.log().contains("hunter2"));
    egress.policy(&allow(port));
    assert!(egress.get(&url).starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn the_machine_is_out_of_reach_in_every_way_to_write_it() {
    let port = mirror();
    let egress = Egress::proxied("{}", &[]).await;
    for host in [
        "127.0.0.1",
        "localhost",
        "a.localhost",
        "LOCALHOST.",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "2130706433",
        "0x7f.1",
        "0177.1",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "127.1",
        "169.254.169.254",
        "168.63.129.16",
        "100.100.100.200",
        "[fd00:ec2::254]",
    ] {
        let page = egress.get(&format!("http://{host}:{port}/"));
        assert!(page.starts_with("HTTP/1.1 403"), "{host}: {page}");
        assert!(page.contains("X-Greenroom-Refused: address_not_public"), "{host}: {page}");
        assert!(page.contains("egress.allow"), "{page}");
        let refusal = egress.tunnel(&format!("{host}:{port}")).unwrap_err();
        assert!(refusal.contains("X-Greenroom-Refused: address_not_public"), "{host}: {refusal}");
    }
    let status = egress.control("status").await;
    let row = status["refused"].as_array().unwrap().iter().find(|row| row["host"] == "localhost");
    let row = row.unwrap();
    assert_eq!((&row["port"], &row["count"]), (&port.into(), &4.into()));
    assert_eq!((&status["bytes_sent"], &status["bytes_received"]), (&0.into(), &0.into()));
}

#[tokio::test]
async fn a_new_policy_cuts_what_it_denies_and_leaves_the_rest() {
    let (one, two) = (echo(), echo());
    let both = format!(r#"{{"allow": ["127.0.0.1:{one},{two}"]}}"#);
    let egress = Egress::proxied(&both, &[]).await;
    let mut cut = egress.tunnel(&format!("127.0.0.1:{one}")).unwrap();
    let mut stays = egress.tunnel(&format!("127.0.0.1:{two}")).unwrap();
    egress.policy(&allow(two));
    assert_eq!(egress.control("reload").await["state"], "in_force");
    assert_eq!(read_all(&mut cut), "");
    stays.write_all(b"x").unwrap();
    stays.read_exact(&mut [0]).unwrap();
    assert!(egress.tunnel(&format!("127.0.0.1:{one}")).is_err());
}

#[tokio::test]
async fn the_status_file_follows() {
    let policy = r#"{"revision": 7, "deny": ["denied.example"]}"#;
    let egress = Egress::proxied(policy, &[]).await;
    for _ in 0..3 {
        assert!(egress.get("http://denied.example/").contains("host_denied"));
    }
    let status = eventually("the row", async || {
        let text = fs::read(egress.directory.join(STATUS)).ok()?;
        let status: Value = serde_json::from_slice(&text).ok()?;
        let open = &status["connections"]["open"];
        (status["refused"][0]["count"] == 3 && *open == 0).then_some(status)
    })
    .await;
    assert_eq!(status["policy"]["revision"], 7);
    assert_eq!(status["refused"][0]["host"], "denied.example");
}

#[tokio::test]
async fn a_watcher_gets_the_status_after_each_change_and_nothing_otherwise() {
    let egress = Egress::proxied(r#"{"deny": ["denied.example"]}"#, &[]).await;
    let mut socket = UnixStream::connect(egress.directory.join(CONTROL)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.write_all(&egress.keyed("watch")).unwrap();
    let mut lines = BufReader::new(socket.try_clone().unwrap()).lines();
    let first: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(first["refused"], Value::Array(vec![]));
    egress.get("http://denied.example/");
    let is_last =
        |status: &Value| status["refused"][0]["count"] == 1 && status["connections"]["open"] == 0;
    let last = lines.by_ref().take(5).find_map(|line| {
        let status: Value = serde_json::from_str(&line.unwrap()).unwrap();
        is_last(&status).then_some(status)
    });
    assert_eq!(last.unwrap()["refused"][0]["code"], "host_denied");
    // Longer than the interval of the status; one more line may have been in progress.
    socket.set_read_timeout(Some(Duration::from_millis(1500))).unwrap();
    let quiet = lines.by_ref().take(2).find_map(Result::err).unwrap();
    assert_eq!(quiet.kind(), ErrorKind::WouldBlock);
}

#[tokio::test]
async fn a_target_that_does_not_listen_is_named() {
    let egress = Egress::proxied(r#"{"allow": ["127.0.0.1:1"]}"#, &[]).await;
    let page = egress.get("http://127.0.0.1:1/");
    assert!(page.contains("X-Greenroom-Failed: target_unreachable"), "{page}");
    assert_eq!(egress.control("status").await["refused"], Value::Array(vec![]));
}
