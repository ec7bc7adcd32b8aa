//! The sample workflow, run from the command line in a real session.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::process::Command;

use super::{Site, root, run};
use crate::support::Setup;
use crate::support::server::GREENROOM;

#[tokio::test(flavor = "multi_thread")]
async fn the_sample_workflow_takes_the_session_drives_it_and_gives_it_back() {
    let site = Site::start().await;
    let server = Setup::real().start().await;
    let client = &server.client;
    let id = client.session_id().await;

    let mut command = Command::new(GREENROOM);
    command
        .args(["run", "--json", "--session", &id, "--param", &format!("site_url={}", site.url)])
        .arg(root().join("demo/workflow.yaml"))
        .env("GREENROOM_URL", &client.base)
        .env("GREENROOM_API_KEY", client.key())
        .stderr(Stdio::inherit());
    let told: Value = serde_json::from_str(&run(&mut command).await).unwrap();
    let ran = &told["run"];
    assert_eq!(ran["status"], "completed", "{told:#}");
    assert_eq!(ran["browser_session_id"], id);
    let output = ran["output"].to_string();
    for expected in ["Signed in as Ann", "sku", "price"] {
        assert!(output.contains(expected), "{expected}: {output}");
    }

    // The journal: the begin, every block, the release, in this order.
    let run_id = ran["run_id"].as_str().unwrap();
    let query = format!("/admin/messages?run={run_id}&limit=1000");
    let answer = server.operator().get(&query).await.ok();
    let mut messages = answer["messages"].as_array().unwrap().clone();
    messages.reverse();
    let at = |kind: &str| messages.iter().position(|message| message["kind"] == kind);
    let (begin, release) = (at("begin").expect("a begin"), at("release").expect("a release"));
    let blocks: Vec<_> = messages
        .iter()
        .enumerate()
        .filter(|(_, message)| message["kind"].as_str().is_some_and(|kind| kind.contains("block")))
        .map(|(at, _)| at)
        .collect();
    assert!(blocks.len() >= 10, "{:#?}", messages);
    assert!(blocks.iter().all(|at| (begin..release).contains(at)), "{messages:#?}");
    for message in messages.iter().filter(|message| message["outcome"] != json!(null)) {
        let text = |name: &str| message[name].as_str().unwrap_or_default().to_owned();
        println!(
            "{:>6} {:14} {} -> {}  waited {} us, handled {} us, {}",
            message["id"],
            text("kind"),
            text("sender"),
            text("receiver"),
            message["wait_us"],
            message["handling_us"],
            text("outcome")
        );
    }
    assert_eq!(client.look(&id).await["occupancy"]["state"], "vacant");
    server.stop().await;
}
