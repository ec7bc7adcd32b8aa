//! The commands of a real browser in the trace of the request that needs them.

use serde_json::json;

use crate::support::Setup;
use crate::support::receiver::Receiver;
use crate::traces::{Span, span, spans, traced};

#[tokio::test(flavor = "multi_thread")]
async fn a_session_and_a_run_are_traced_to_the_commands_of_the_browser() {
    let collector = Receiver::start().await;
    let server = traced(Setup::real(), &collector).start().await;
    let client = &server.client;
    let id = client.session_id().await;
    client.once(&id, "running").await;
    let find = |name: &str| spans(&collector).into_iter().find(|span| span.name == name);
    let create = crate::support::eventually("the session is traced", async || {
        find("POST /v1/browser_sessions")
    })
    .await;
    let start = span(&collector, &create.trace, "start browser").await;
    let of_start = |span: &Span| span.parent == start.id && span.name.starts_with("cdp ");
    let commands: Vec<Span> = spans(&collector).into_iter().filter(of_start).collect();
    assert!(!commands.is_empty(), "{:#?}", spans(&collector));
    for command in &commands {
        assert_eq!((command.trace.as_str(), command.kind), (create.trace.as_str(), 3));
        assert_eq!(command.attributes["greenroom.session.id"], id);
        assert_eq!(command.name, format!("cdp {}", command.attributes["rpc.method"]));
    }

    let url = "data:text/html,<title>planted-in-a-page</title>";
    let block = json!({ "block_type": "goto_url", "label": "go", "url": url });
    let workflow = client.workflow(json!([block])).await;
    let run = client.run(&workflow, json!({ "browser_session_id": id })).await;
    client.run_once(&run, "completed").await;
    let request =
        crate::support::eventually("the run is traced", async || find("POST /v1/run/workflows"))
            .await;
    let executed = span(&collector, &request.trace, "execute run").await;
    let navigated = span(&collector, &request.trace, "cdp Page.navigate").await;
    assert_eq!(navigated.parent, executed.id);
    assert_eq!(navigated.attributes["greenroom.run.id"], run);
    let begun = span(&collector, &request.trace, "begin").await;
    assert_eq!(begun.attributes["greenroom.session.id"], id);
    server.stop().await;
    let everything: String = collector.received().iter().map(|it| it.body.clone()).collect();
    assert!(!everything.contains("planted-"), "a parameter of a command is in a span");
}
