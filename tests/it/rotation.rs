//! Rotation of a session: new credentials replace the former, and after a kill of the server either the former
//! or the new are valid, not both.

use greenroom::db;
use greenroom::db::store::{Occupied, Rotated, Store as _};
use greenroom::domain::ids::{Mint, OrganizationId, SessionId};
use greenroom::domain::occupancy::{Event, Occupancy};
use greenroom::domain::run::ArtifactRecord;
use reqwest::Method;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::client::{Client, Lease};
use crate::support::driver::Driver;
use crate::support::viewer::{Viewer, refusal, stream_url};
use crate::support::{Setup, TestServer, eventually, on_both_databases};

fn path(id: &str, what: &str) -> String {
    format!("/v1/browser_sessions/{id}/{what}")
}

async fn rotate(client: &Client, id: &str) -> Value {
    client.post(&path(id, "rotate"), json!({})).await.ok()
}

async fn ticket(client: &Client, id: &str, role: &str) -> Value {
    client.post(&path(id, "viewers"), json!({ "role": role })).await.ok()
}

async fn password(client: &Client, id: &str) -> Value {
    client.get(&path(id, "vnc")).await.ok()["password"].clone()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("no {name}: {value}"))
}

/// Stores the row of a file of a session, without a file.
async fn artifact(server: &TestServer, id: &str) -> String {
    let session = server.client.look(id).await;
    let now = chrono::Utc::now();
    let artifact = ArtifactRecord {
        id: Mint::new(9).mint(now),
        organization: text(&session, "organization_id").parse().unwrap(),
        session: Some(id.parse().unwrap()),
        run: None,
        block: None,
        artifact_type: "download".to_owned(),
        path: "nowhere".to_owned(),
        media_type: "text/plain".to_owned(),
        size: 1,
        checksum: None,
        created_at: now,
        rotation: 0,
    };
    let name = artifact.id.to_string();
    let db = server.database().await;
    db.insert_artifact(artifact).await.unwrap();
    db.close();
    name
}

async fn link(client: &Client, artifact: &str) -> String {
    let signed = client.get(&format!("/v1/artifacts/{artifact}/signed-url")).await.ok();
    text(&signed, "signed_url").strip_prefix(&client.base).unwrap().to_owned()
}

/// The same address at the present port of the server, which changes with each start.
fn at(client: &Client, address: &str) -> String {
    let (_former, path) = address.split_once("/v1/").unwrap();
    client.socket_url(&format!("/v1/{path}"))
}

/// Kills the server, and starts it again.
async fn restart(server: &mut TestServer, id: &str) -> Client {
    server.signal(Signal::KILL);
    server.ended().await;
    server.serve().await;
    server.client.once(id, "running").await;
    server.client.clone()
}

on_both_databases! {
    async fn the_former_credentials_end_the_new_ones_hold_and_connections_of_keys_stay(database) {
        let mut server = Setup::fakes().on(database).start().await;
        let client = server.client.clone();
        let id = client.session_id().await;
        let stranger = server.stranger();
        let file = artifact(&server, &id).await;
        let before = link(&client, &file).await;
        // A valid link reaches the file, which does not exist.
        stranger.get(&before).await.problem(410, "artifact_lost");
        let former_password = password(&client, &id).await;
        let drive = ticket(&client, &id, "drive").await;
        let watch = ticket(&client, &id, "watch").await;
        ticket(&client, &id, "control").await;
        let see = format!(
            "{}?ticket={}",
            client.socket_url(&format!("/v1/stream/vnc/browser_session/{id}")),
            text(&watch, "ticket")
        );
        let begun = client.begin(&id, "ann", 600).await.ok();
        let former = Lease::of(&begun);
        let by_key = client.socket_url(&format!("{}?apikey={}", path(&id, "cdp"), client.key()));
        let mut by_key = Driver::at(&by_key).await;
        let mut by_ticket = Driver::at(text(&drive, "cdp_url")).await;
        let mut by_lease = Driver::at(text(&begun, "browser_address")).await;
        let mut viewer = Viewer::at(&see).await;
        let mut keys_viewer = Viewer::at(&stream_url(&client, &id, client.key())).await;

        let answer = client.post(&path(&id, "rotate"), json!({})).await;
        assert_eq!(answer.headers["cache-control"], "no-store");
        let rotated = answer.ok();
        let ended = json!({
            "tickets": 3, "viewers": 1, "leases": 1, "signed_links": true, "vnc_password": true,
        });
        assert_eq!((&rotated["rotation"], &rotated["ended"]), (&json!(1), &ended));
        assert_eq!(by_ticket.closed().await, "ticket-revoked");
        assert_eq!(by_lease.closed().await, "occupancy-lost");
        assert_eq!(viewer.closed().await, 1008);
        by_key.asks().await;
        keys_viewer.press(0x61).await;
        eventually("the viewers with tickets have left, and those with keys have not", async || {
            let listed = client.get(&path(&id, "viewers")).await.ok();
            let connected = listed["connected"].as_array().unwrap();
            // The seat for native clients counts.
            let of_keys = connected.iter().filter(|it| it["ticket_viewer_id"].is_null());
            ((connected.len(), of_keys.count()) == (2, 2)).then_some(())
        })
        .await;

        let lease = &rotated["lease"];
        assert_eq!((&lease["runnable_id"], &lease["generation"]), (&json!("ann"), &json!(2)));
        let renewed = Lease::of(lease);
        let holds = async |client: &Client| {
            client.heartbeat(&id, &former).await.problem(409, "occupancy_lost");
            client.heartbeat(&id, &renewed).await.ok();
            let lost = Driver::refused(&at(client, text(&begun, "browser_address"))).await;
            assert_eq!(lost, (409, "occupancy_lost".to_owned()));
            Driver::at(&at(client, text(lease, "browser_address"))).await.asks().await;
            let ended = (403, "credentials_invalid".to_owned());
            assert_eq!(Driver::refused(&at(client, text(&drive, "cdp_url"))).await, ended);
            assert_eq!(refusal(&at(client, &see)).await, 1002);
            let stranger = client.with_key(None);
            assert_eq!(password(client, &id).await, rotated["vnc_password"]);
            assert_ne!(rotated["vnc_password"], former_password);
            let refused = stranger.get(&before).await.problem(403, "signature_invalid");
            assert!(text(&refused, "detail").contains("replaced"), "{refused}");
            let now = link(client, &file).await;
            stranger.get(&now).await.problem(410, "artifact_lost");
            // The signature includes the number.
            let older = now.replace("&rotation=1", "");
            stranger.get(&older).await.problem(403, "signature_invalid");
            let newer = now.replace("&rotation=1", "&rotation=2");
            stranger.get(&newer).await.problem(403, "signature_invalid");
            assert_eq!(client.look(&id).await["status"], "running");
        };
        holds(&client).await;

        let event = eventually("the event is stored", async || {
            let events = client.events(&format!("{}?limit=100", path(&id, "events"))).await;
            let mut events = events["events"].as_array().unwrap().clone().into_iter();
            events.find(|event| event["kind"] == "session.rotated")
        })
        .await;
        let data = json!({
            "rotation": 1, "tickets": 3, "viewers": 1, "leases": 1, "vnc_password": true,
        });
        assert_eq!(event["data"], data);
        let query = format!("/admin/messages?session={id}&kind=rotate");
        let told = server.operator().get(&query).await.ok();
        assert_eq!(told["messages"][0]["outcome"], "done", "{told}");

        drop((by_key, keys_viewer));
        let client = restart(&mut server, &id).await;
        holds(&client).await;
        client.release(&id, &renewed).await.ok();
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_rotations_at_once_the_values_of_the_later_one_hold() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let id = client.session_id().await;
    client.begin(&id, "ann", 600).await.ok();
    let (one, two) = tokio::join!(rotate(client, &id), rotate(client, &id));
    let (earlier, later) = if one["rotation"] == 1 { (one, two) } else { (two, one) };
    assert_eq!((&earlier["rotation"], &later["rotation"]), (&json!(1), &json!(2)));
    assert_eq!(later["lease"]["generation"], 3);
    let lost = client.heartbeat(&id, &Lease::of(&earlier["lease"])).await;
    lost.problem(409, "occupancy_lost");
    client.heartbeat(&id, &Lease::of(&later["lease"])).await.ok();
    assert_eq!(password(client, &id).await, later["vnc_password"]);
    assert_ne!(earlier["vnc_password"], later["vnc_password"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_in_the_middle_of_a_rotation_leaves_the_former_or_the_new_credentials() {
    let mut server = Setup::fakes().start().await;
    let client = server.client.clone();
    let id = client.session_id().await;
    let former_password = password(&client, &id).await;
    let begun = client.begin(&id, "ann", 600).await.ok();
    let lease = Lease::of(&begun);
    let organization = client.look(&id).await["organization_id"].clone();
    let organization: OrganizationId = organization.as_str().unwrap().parse().unwrap();
    let session: SessionId = id.parse().unwrap();

    // Before the row is written, all former credentials are valid.
    let client = restart(&mut server, &id).await;
    client.heartbeat(&id, &lease).await.ok();
    assert_eq!(password(&client, &id).await, former_password);

    // Right after it, none of them is valid, and the next server completes the rotation.
    server.signal(Signal::KILL);
    server.ended().await;
    let db = server.database().await;
    let record = db::sessions::by_id(&db, organization, session).await.unwrap().unwrap();
    let Occupancy::Held(held) = &record.occupancy else { panic!("{:?}", record.occupancy) };
    let occupancy = record.occupancy.after(Event::Replace { lease: held.lease }).unwrap();
    let change = Occupied::new(record.occupancy.generation(), occupancy);
    let rotated = Rotated { change, rotation: 1 };
    db.rotate_session(session, rotated).await.unwrap();
    db.close();
    server.serve().await;
    let client = server.client.clone();
    client.once(&id, "running").await;
    // A password is final when the desktop's record has its number: a server that dies before has it
    // replaced once more by the next one.
    let record = server.directory.join("d/sessions").join(&id).join("desktop.json");
    eventually("the rotation is on record", async || {
        let record: Value = serde_json::from_slice(&std::fs::read(&record).ok()?).ok()?;
        (record["rotation"] == 1).then_some(())
    })
    .await;
    assert_ne!(password(&client, &id).await, former_password);
    let lost = Driver::refused(&at(&client, text(&begun, "browser_address"))).await;
    assert_eq!(lost, (409, "occupancy_lost".to_owned()));

    // An ended credential stays invalid.
    let now = password(&client, &id).await;
    let client = restart(&mut server, &id).await;
    assert_eq!(password(&client, &id).await, now);
    // A replacement of the password with an unknown outcome does not block the next rotation.
    let next = rotate(&client, &id).await;
    assert_eq!(next["rotation"], 2);
    client.heartbeat(&id, &Lease::of(&next["lease"])).await.ok();
    client.release(&id, &Lease::of(&next["lease"])).await.ok();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_goes_on_and_a_session_without_a_browser_has_no_vnc_password_to_replace() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let id = client.session_id().await;
    let workflow =
        client.workflow(json!([{ "block_type": "wait", "label": "w", "wait_sec": 600 }])).await;
    let run = client.run(&workflow, json!({ "browser_session_id": id })).await;
    eventually("the run holds the session", async || {
        (client.look(&id).await["runnable_id"] == run.as_str()).then_some(())
    })
    .await;
    let rotated = rotate(client, &id).await;
    assert_eq!((&rotated["lease"], &rotated["ended"]["leases"]), (&Value::Null, &json!(0)));
    let session = client.look(&id).await;
    assert_eq!(session["runnable_id"], run.as_str());
    assert_eq!(client.run_of(&run).await["status"], "running");
    client.post(&format!("/v1/runs/{run}/cancel"), json!({})).await.ok();

    let debug = format!("/v1/debug-session/{workflow}");
    let dormant = client.get(&debug).await.ok()["browser_session_id"].clone();
    let dormant = dormant.as_str().unwrap();
    let ticket = ticket(client, dormant, "drive").await;
    let rotated = rotate(client, dormant).await;
    assert_eq!(rotated["vnc_password"], Value::Null);
    assert_eq!(rotated["ended"]["tickets"], 1);
    let ended = (403, "credentials_invalid".to_owned());
    assert_eq!(Driver::refused(text(&ticket, "cdp_url")).await, ended);

    let other = server.another_organization().await;
    other.post(&path(&id, "rotate"), json!({})).await.problem(404, "session_unknown");
    client.close(&id).await.ok();
    client.post(&path(&id, "rotate"), json!({})).await.problem(410, "session_closed");
    client.send(Method::DELETE, &path(&id, "viewers"), None).await.problem(410, "session_closed");
    server.stop().await;
}
