//! The directory: its key, its lock, its path, and bounds of what is written there.

use std::fs;

use greenroom::egress::door;
use greenroom::egress::files;

use super::origins::{Resident, echoes, mirror};
use super::support::{Egress, allow, own_user};

#[tokio::test]
async fn two_programs_do_not_work_in_one_directory() {
    let port = mirror();
    let egress = Egress::proxied(&allow(port), &[]).await;
    let rival = egress.rival(&[]);
    assert!(!rival.status.success());
    let text = String::from_utf8_lossy(&rival.stderr).into_owned();
    assert!(text.contains("another egress process works in this directory"), "{text}");
    // The first one is unharmed.
    assert_eq!(egress.ready()["pid"], egress.pid());
    assert_eq!(egress.control("state").await["state"], "in_force");
    assert!(egress.get(&format!("http://127.0.0.1:{port}/")).starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn without_a_key_it_does_not_start() {
    for key in [None, Some(""), Some("short")] {
        let egress = Egress::new(own_user()).arguments(&["--level", "proxied"]);
        fs::remove_file(egress.directory.join(files::KEY)).unwrap();
        if let Some(key) = key {
            egress.write(files::KEY, key);
        }
        let output = egress.rival(&[]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains("the key of the sockets"), "{text}");
        assert!(!egress.directory.join(files::READY).exists());
    }
}

#[tokio::test]
async fn a_directory_that_is_not_there_is_named() {
    let egress = Egress::new(own_user());
    fs::remove_dir_all(&egress.directory).unwrap();
    let output = egress.rival(&[]);
    fs::create_dir(&egress.directory).unwrap();
    egress.write("log", "");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && text.contains("the directory"), "{text}");
}

#[tokio::test]
async fn a_directory_with_a_long_path_works() {
    let short = std::env::temp_dir().join(format!("greenroom-egress-long-{}", std::process::id()));
    fs::create_dir(&short).unwrap();
    let length = 200 - short.to_str().unwrap().len() - 1;
    let directory = short.join("d".repeat(length));
    assert_eq!(directory.to_str().unwrap().len(), 200);
    let port = mirror();
    let gateway = ["--gateway-port", "3129", "--gateway-prefix", "/s/1/"];
    let egress = Egress::at(own_user(), directory).arguments(&gateway);
    egress.policy(&allow(port));
    let egress = egress.start().await;
    let _resident = Resident::start(&egress, 9222).await;
    echoes(&mut door::connect(&egress.directory, 9222).await.unwrap()).await;
    assert_eq!(egress.control("state").await["state"], "in_force");
    let url = format!("http://127.0.0.1:{port}/page");
    assert!(egress.curl(&["-x", "http://127.0.0.1:3128", &url]).contains("GET /page"));
    drop(egress);
    fs::remove_dir_all(short).unwrap();
}

#[tokio::test]
async fn a_relative_directory_is_that_of_the_start() {
    let port = mirror();
    let user = own_user().to_string();
    let egress = Egress::new(own_user()).arguments(&["--level", "proxied", "--client-user", &user]);
    egress.policy(&allow(port));
    // The directory is an argument relative to its parent, where the program starts.
    let name = egress.directory.file_name().unwrap().to_str().unwrap().to_owned();
    let parent = egress.directory.parent().unwrap().to_str().unwrap().to_owned();
    let script =
        r#"cd "$0" && program="$1" && shift 4 && exec "$program" egress --directory "$NAME" "$@""#;
    let egress = egress.behind(&["sh", "-c", script, &parent]).environment("NAME", &name);
    let egress = egress.start().await;
    assert!(egress.get(&format!("http://127.0.0.1:{port}/")).starts_with("HTTP/1.1 200"));
    // It can still replace its files: it is confined to the same directory.
    egress.get("http://127.0.0.1:1/");
    crate::support::eventually("the status is written", async || {
        let text = fs::read_to_string(egress.directory.join(files::STATUS)).ok()?;
        text.contains("address_not_public").then_some(())
    })
    .await;
}

#[tokio::test]
async fn many_refused_targets_stay_within_the_bound_of_the_status() {
    let policy = r#"{"deny": ["*.denied.example"]}"#;
    let mut egress = Egress::proxied(policy, &[]).await;
    let long = "x".repeat(60);
    for number in 0..200 {
        let page = egress.get(&format!("http://{long}.{long}.h{number}.denied.example/"));
        assert!(page.contains("X-Greenroom-Refused: host_denied"), "{page}");
    }
    let status = egress.control("status").await;
    assert_eq!(status["refused"].as_array().unwrap().len(), 100);
    assert_eq!(status["refused_unlisted"], 100);
    assert_eq!(status["connections"]["accepted"], 200);
    assert!(status.to_string().len() < 40_000);
    // The next program continues within the same bound.
    assert!(egress.end(rustix::process::Signal::TERM));
    egress.start_again(&[]).await;
    egress.get("http://another.denied.example/");
    let status = egress.control("status").await;
    assert_eq!(status["refused"].as_array().unwrap().len(), 100);
    assert_eq!(status["refused_unlisted"], 101);
}
