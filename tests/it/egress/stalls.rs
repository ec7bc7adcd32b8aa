//! The program killed, stopped and ended.

use std::io::{ErrorKind, Write as _};
use std::time::Instant;

use greenroom::egress::{door, files};
use rustix::process::Signal;
use serde_json::Value;

use super::origins::{Resident, echoes, mirror, silent};
use super::support::{Egress, allow, ordinary_user, own_user};
use crate::support::eventually;

const PROXY: &str = "http://127.0.0.1:3128";

async fn killed(user: u32) {
    let outside = mirror();
    let url = format!("http://127.0.0.1:{outside}/page");
    let mut egress = Egress::enforced(user, &allow(outside)).await;
    let resident = Resident::start(&egress, 9222).await;
    let mut stream = door::connect(&egress.directory, 9222).await.unwrap();
    assert!(egress.curl(&["-x", PROXY, "http://127.0.0.1:1/"]).contains("address_not_public"));
    let refusals = |status: &Value| status["refused"][0]["count"] == 1;
    eventually("the refusal is in the status file", async || {
        let text = std::fs::read(egress.directory.join(files::STATUS)).ok()?;
        serde_json::from_slice(&text).ok().filter(refusals)
    })
    .await;
    let before = egress.ready();

    egress.end(Signal::KILL);
    assert!(door::connect(&egress.directory, 9222).await.is_err());
    // A connection that was handed to the session outlives the program.
    echoes(&mut stream).await;

    egress.start_again(&["--join", &resident.pid()]).await;
    let after = egress.ready();
    assert_ne!(before["pid"], after["pid"]);
    assert_eq!((&before["proxy"], &before["gateway"]), (&after["proxy"], &after["gateway"]));
    let page = egress.curl(&["-x", PROXY, &url]);
    assert!(page.contains("GET /page HTTP/1.1"), "{page}");
    assert!(egress.curl(&[&url]).contains("curl: (7)"), "nothing beside the proxy");
    assert!(egress.curl(&["http://127.0.0.1:3129/s/2/"]).contains("path_not_of_session"));
    echoes(&mut stream).await;
    echoes(&mut door::connect(&egress.directory, 9222).await.unwrap()).await;
    assert!(refusals(&egress.control("status").await));
}

#[tokio::test]
async fn after_a_kill_the_next_program_has_the_same_addresses() {
    killed(own_user()).await;
}

#[tokio::test]
async fn after_a_kill_as_an_ordinary_user_the_next_program_has_the_same_addresses() {
    killed(ordinary_user()).await;
}

#[tokio::test]
async fn after_a_kill_at_the_level_proxied_the_next_program_has_the_same_port() {
    let port = mirror();
    let url = format!("http://127.0.0.1:{port}/");
    let mut egress = Egress::proxied(&allow(port), &[]).await;
    let before = egress.ready();
    egress.end(Signal::KILL);
    // No process answers at its address meanwhile.
    let address = before["proxy"].as_str().unwrap();
    assert!(std::net::TcpStream::connect(address).is_err());
    egress.start_again(&[]).await;
    assert_eq!(egress.ready()["proxy"], before["proxy"]);
    assert!(egress.get(&url).starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_start_that_cannot_have_its_port_leaves_the_former_address_known() {
    let mut egress = Egress::proxied("{}", &[]).await;
    let before = egress.ready();
    egress.end(Signal::KILL);
    let address = before["proxy"].as_str().unwrap();
    let squatter = std::net::TcpListener::bind(address).unwrap();
    let failed = egress.rival(&[]);
    let text = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(!failed.status.success() && text.contains("cannot be bound"), "{text}");
    drop(squatter);
    egress.start_again(&[]).await;
    assert_eq!(egress.ready()["proxy"], before["proxy"]);
}

#[tokio::test]
async fn a_stopped_program_holds_everything_back_and_goes_on() {
    let outside = mirror();
    let url = format!("http://127.0.0.1:{outside}/page");
    let egress = Egress::enforced(own_user(), &allow(outside)).await;
    let _resident = Resident::start(&egress, 9222).await;
    let mut stream = door::connect(&egress.directory, 9222).await.unwrap();

    egress.signal(Signal::STOP);
    // Established connections do not depend on it; new connections wait, with a timeout.
    echoes(&mut stream).await;
    let refused = door::connect(&egress.directory, 9222).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::TimedOut);
    let page = egress.curl(&["-m", "1", "-x", PROXY, &url]);
    assert!(page.contains("curl: (28)"), "{page}");
    assert!(egress.curl(&[&url]).contains("curl: (7)"), "nothing beside the proxy");

    egress.signal(Signal::CONT);
    assert!(egress.curl(&["-x", PROXY, &url]).contains("GET /page HTTP/1.1"));
    echoes(&mut door::connect(&egress.directory, 9222).await.unwrap()).await;
}

#[tokio::test]
async fn a_policy_that_is_replaced_while_the_program_stands_still_holds_from_then_on() {
    let port = mirror();
    let url = format!("http://127.0.0.1:{port}/");
    let egress = Egress::proxied(&allow(port), &[]).await;
    let mut tunnel = egress.tunnel(&format!("127.0.0.1:{port}")).unwrap();
    egress.signal(Signal::STOP);
    egress.policy("{}");
    egress.signal(Signal::CONT);
    assert!(egress.get(&url).contains("X-Greenroom-Refused: address_not_public"));
    let cut = std::io::Read::read(&mut tunnel, &mut [0]);
    assert_eq!(cut.unwrap_or(0), 0, "the tunnel is cut");
}

#[tokio::test]
async fn a_signal_ends_it_at_once_and_leaves_the_status() {
    let port = silent();
    let mut egress = Egress::proxied(&allow(port), &[]).await;
    let mut tunnel = egress.tunnel(&format!("127.0.0.1:{port}")).unwrap();
    tunnel.write_all(&[b'x'; 1000]).unwrap();
    eventually("sent", async || {
        (egress.control("status").await["bytes_sent"] == 1000).then_some(())
    })
    .await;
    let (began, before) = (Instant::now(), egress.ready());
    assert!(egress.end(Signal::TERM));
    assert!(began.elapsed().as_secs() < 5);
    let entries = std::fs::read_dir(&egress.directory).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["egress.lock", "key", "log", "policy.json", "port", "status.json"]);
    // The next program continues the counters, on the same port.
    egress.start_again(&[]).await;
    assert_eq!(egress.ready()["proxy"], before["proxy"]);
    assert_eq!(egress.control("status").await["bytes_sent"], 1000);
}
