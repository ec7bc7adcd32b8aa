//! The measurements of `greenroom bench` with real browsers.

use serde_json::{Value, json};

use crate::support::Setup;

#[tokio::test(flavor = "multi_thread")]
async fn real_sessions_are_watched_driven_weighed_and_recovered() {
    // A browser with a network of its own cannot be reached directly.
    let server = Setup::real().set("isolation.network", "off").start().await;
    let key = server.client.key().to_owned();
    let measured = async |arguments: &[&str]| -> Value {
        let arguments = [&["bench"], arguments, &["--json", "--api-key", &key]].concat();
        let printed = server.greenroom(&arguments).await;
        let errors = String::from_utf8_lossy(&printed.stderr);
        assert!(printed.status.success(), "{arguments:?}: {errors}");
        let report: Value = serde_json::from_slice(&printed.stdout).unwrap();
        assert_eq!(report["errors"], json!([]), "{report:#}");
        assert_eq!(server.client.list().await, Vec::<Value>::new(), "{arguments:?}");
        report
    };
    let streams = measured(&["streams", "--rounds", "2", "--clicks", "2", "--seconds", "2"]).await;
    for step in ["first pixel", "input to pixel"] {
        assert_eq!(streams["steps"][step]["count"], 2, "{streams:#}");
    }
    for figure in ["pictures per second, slowest viewer", "KiB per second and viewer"] {
        assert!(streams["figures"][figure].as_f64().unwrap() > 0.0, "{streams:#}");
    }
    let pictures = measured(&["screenshots", "--seconds", "1", "--animated"]).await;
    assert!(pictures["steps"]["screenshot"]["count"].as_u64().unwrap() > 0, "{pictures:#}");
    let actions = measured(&["actions", "--seconds", "1"]).await;
    for way in ["server", "direct"] {
        let step = &actions["steps"][format!("evaluate, {way}")];
        assert!(step["count"].as_u64().unwrap() > 0, "{actions:#}");
    }
    let arguments = ["density", "--sessions", "1", "--seconds", "2", "--settle", "1"];
    let density = measured(&arguments).await["figures"].take();
    let cores = |state: &str| density[format!("{state}: cores of a session")].as_f64().unwrap();
    assert!(cores("animated") > 0.0, "{density:#}");
    assert!(density["idle: MiB of a session"].as_f64().unwrap() > 50.0, "{density:#}");
    let recovery = measured(&["recovery", "--rounds", "1"]).await;
    for part in ["chromium", "xvfb"] {
        let step = &recovery["steps"][format!("{part}: DevTools answers")];
        assert_eq!(step["count"], 1, "{recovery:#}");
    }
    server.stop().await;
}
