//! The pages, in headless Chromium, against a server with a real session.

use serde_json::json;
use tokio::process::Command;

use super::{Site, installed, root, run};
use crate::support::Setup;
use crate::support::client::id_of;

#[tokio::test(flavor = "multi_thread")]
async fn the_view_and_the_wall_show_a_real_session_and_a_click_reaches_it() {
    installed("web/node_modules/playwright-core");
    let site = Site::start().await;
    let server = Setup::real().start().await;
    let client = &server.client;
    let ended = client.session_id().await;
    client.close(&ended).await.ok();
    let url = site.page("click.html");
    let body = json!({"width": 1280, "height": 720, "start_url": url});
    let id = id_of(&client.session_of(body).await);

    let mut command = Command::new(root().join("scripts/test-pages"));
    command
        .arg("--real")
        .env("GREENROOM_URL", &client.base)
        .env("GREENROOM_KEY", client.key())
        .env("GREENROOM_SESSION", &id)
        .env("GREENROOM_ENDED", &ended);
    let printed = run(&mut command).await;
    assert!(printed.contains("# fail 0") || printed.contains("ℹ fail 0"), "{printed}");
    server.stop().await;
}
