//! Parallel sessions: each has its own display, port and picture.

use std::collections::BTreeSet;

use serde_json::json;

use super::Site;
use crate::support::Setup;
use crate::support::client::id_of;
use crate::support::viewer::{Viewer, screenshot_share, screenshot_shows};

const COLOURS: [(&str, [u8; 3]); 3] =
    [("ff0000", [255, 0, 0]), ("00ff00", [0, 255, 0]), ("0000ff", [0, 0, 255])];

#[tokio::test(flavor = "multi_thread")]
async fn of_three_sessions_at_once_each_viewer_sees_its_own_page_and_never_anothers() {
    let site = Site::start().await;
    let server = Setup::real().start().await;
    let client = &server.client;
    let make = |name: &str| {
        let url = site.page(&format!("colour.html?c={name}"));
        client.session_of(json!({"width": 640, "height": 480, "start_url": url}))
    };
    let (a, b, c) = tokio::join!(make(COLOURS[0].0), make(COLOURS[1].0), make(COLOURS[2].0));
    let sessions = [a, b, c];
    for field in ["display_number", "vnc_port"] {
        let values: BTreeSet<_> = sessions.iter().map(|it| it[field].as_u64().unwrap()).collect();
        assert_eq!(values.len(), 3, "{field}");
    }
    for session in &sessions {
        let socket = format!("/tmp/.X11-unix/X{}", session["display_number"]);
        assert!(std::path::Path::new(&socket).exists(), "{socket}");
    }
    let ids: Vec<_> = sessions.iter().map(id_of).collect();

    let (mut a, mut b, mut c) = tokio::join!(
        Viewer::of(client, &ids[0]),
        Viewer::of(client, &ids[1]),
        Viewer::of(client, &ids[2])
    );
    let mut viewers = [&mut a, &mut b, &mut c];
    for (viewer, (_, colour)) in viewers.iter_mut().zip(COLOURS) {
        viewer.sees(colour).await;
    }
    // All sessions show their pages; the pictures are taken at the same time.
    for _ in 0..5 {
        for (seen, viewer) in viewers.iter_mut().enumerate() {
            viewer.look().await;
            for (at, (name, colour)) in COLOURS.iter().enumerate() {
                let count = viewer.count(*colour);
                let mine = at == seen;
                assert_eq!(count > 0, mine, "viewer {seen} sees {count} pixels of {name}");
            }
        }
    }
    for (own, id) in ids.iter().enumerate() {
        for (at, (_, colour)) in COLOURS.iter().enumerate() {
            if at == own {
                screenshot_shows(client, id, *colour).await;
            } else {
                assert_eq!(screenshot_share(client, id, *colour).await.to_bits(), 0);
            }
        }
    }
    drop((a, b, c));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_one_session_leaves_the_others_and_their_viewers() {
    let site = Site::start().await;
    let server = Setup::real().start().await;
    let client = &server.client;
    let make = |name: &str| {
        let url = site.page(&format!("colour.html?c={name}"));
        client.session_of(json!({"width": 640, "height": 480, "start_url": url}))
    };
    let (stays, goes) = tokio::join!(make(COLOURS[0].0), make(COLOURS[1].0));
    let (stays, goes) = (id_of(&stays), id_of(&goes));
    let mut staying = Viewer::of(client, &stays).await;
    let mut going = Viewer::of(client, &goes).await;
    staying.sees(COLOURS[0].1).await;
    going.sees(COLOURS[1].1).await;

    client.close(&goes).await.ok();
    let code = going.closed().await;
    assert!((4000..5000).contains(&code) || code == 1000 || code == 1001, "{code}");
    staying.look().await;
    staying.sees(COLOURS[0].1).await;
    assert_eq!(client.look(&stays).await["status"], "running");
    drop(staying);
    server.stop().await;
}
