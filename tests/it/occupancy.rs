//! The occupancy of a session: begin, heartbeat, release.

use futures_util::future::join_all;
use serde_json::json;
use tokio::time::Instant;

use crate::support::client::Lease;
use crate::support::{Setup, eventually, on_both_databases};

on_both_databases! {
    async fn an_occupancy_is_taken_kept_and_given_back(database) {
        let server = Setup::fakes().on(database).start().await;
        let client = &server.client;
        let id = client.session_id().await;

        let begun = client.begin(&id, "ann", 60).await.ok();
        insta::with_settings!({sort_maps => true}, { insta::assert_json_snapshot!(begun, {
            ".lease_token" => "[secret]", ".expires_at" => "[time]", ".browser_address" => "[url]",
        }, @r#"
        {
          "browser_address": "[url]",
          "expires_at": "[time]",
          "generation": 1,
          "heartbeat_interval_seconds": 20,
          "lease_token": "[secret]"
        }
        "#); });
        let lease = Lease::of(&begun);
        let held = client.look(&id).await;
        assert_eq!(
            (&held["runnable_type"], &held["runnable_id"]),
            (&json!("external"), &json!("ann"))
        );
        insta::with_settings!({sort_maps => true}, { insta::assert_json_snapshot!(held["occupancy"], {
            ".since" => "[time]", ".heartbeat_at" => "[time]", ".expires_at" => "[time]",
        }, @r#"
        {
          "expires_at": "[time]",
          "generation": 1,
          "heartbeat_at": "[time]",
          "runnable_id": "ann",
          "runnable_type": "external",
          "since": "[time]",
          "state": "held",
          "waiters": []
        }
        "#); });
        assert!(!held.to_string().contains(&lease.token), "the secret is nobody else's");

        let beat = client.heartbeat(&id, &lease).await.ok();
        assert_eq!(beat["generation"], 1);
        assert!(beat["expires_at"].as_str() >= begun["expires_at"].as_str());

        let released = client.release(&id, &lease).await.ok();
        assert_eq!(released, json!({"released": true, "generation": 1}));
        assert_eq!(client.look(&id).await["occupancy"]["state"], "vacant");
        // The response may have been lost: a release can be repeated, a heartbeat cannot.
        client.release(&id, &lease).await.ok();
        client.heartbeat(&id, &lease).await.problem(409, "occupancy_lost");

        assert_eq!(client.begin(&id, "bob", 60).await.ok()["generation"], 2);
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_begin_one_wins_and_the_other_is_told_who_and_until_when() {
    let server = Setup::fakes().start().await;
    let id = server.client.session_id().await;
    let begun = server.client.begin(&id, "ann", 60).await.ok();
    let refused = server.client.begin(&id, "bob", 60).await.problem(409, "session_occupied");
    assert_eq!(refused["retryable"], true);
    assert_eq!(
        refused["occupancy"],
        json!({
            "runnable_type": "external", "runnable_id": "ann", "expires_at": begun["expires_at"],
        })
    );
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.contains("ann"), "{detail}");
    // The name of the occupant is not enough to act for it.
    server.client.begin(&id, "ann", 60).await.problem(409, "session_occupied");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_holder_keeps_or_gives_back_and_only_under_its_generation() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let id = client.session_id().await;
    let ann = Lease::of(&client.begin(&id, "ann", 60).await.ok());
    client.release(&id, &ann).await.ok();
    let bob = Lease::of(&client.begin(&id, "bob", 60).await.ok());

    let late = client.heartbeat(&id, &ann).await.problem(409, "occupancy_lost");
    assert_eq!((&late["generation"], &late["latest_generation"]), (&json!(1), &json!(2)));
    let thief = Lease { generation: 2, ..ann.clone() };
    client.heartbeat(&id, &thief).await.problem(403, "lease_token_wrong");
    client.release(&id, &thief).await.problem(403, "lease_token_wrong");
    assert_eq!(client.look(&id).await["runnable_id"], "bob", "nothing has changed");
    client.release(&id, &bob).await.ok();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_repeats_a_begin_with_its_lease_gets_a_new_generation() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let id = client.session_id().await;
    let first = Lease::of(&client.begin(&id, "ann", 60).await.ok());
    let body = json!({"runnable_id": "ann", "lease_token": first.token});
    let again = client.post(&format!("/v1/browser_sessions/{id}/begin"), body).await.ok();
    assert_eq!(again["generation"], 2);
    client.heartbeat(&id, &first).await.problem(409, "occupancy_lost");
    client.heartbeat(&id, &Lease::of(&again)).await.ok();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_occupant_that_falls_silent_loses_the_session() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let id = client.session_id().await;
    let ann = Lease::of(&client.begin(&id, "ann", 1).await.ok());
    eventually("ann's lease lapses", async || {
        (client.look(&id).await["occupancy"]["state"] == "vacant").then_some(())
    })
    .await;
    client.heartbeat(&id, &ann).await.problem(409, "occupancy_lost");
    let bob = client.begin(&id, "bob", 60).await.ok();
    assert_eq!(bob["generation"], 2);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_begins_when_the_session_is_given_back() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let id = client.session_id().await;
    let ann = Lease::of(&client.begin(&id, "ann", 60).await.ok());
    let body = json!({"runnable_id": "bob", "wait_seconds": 20});
    let path = format!("/v1/browser_sessions/{id}/begin");
    let waits = client.post(&path, body);
    let gives = async {
        eventually("bob waits", async || {
            let waiters = client.look(&id).await["occupancy"]["waiters"].clone();
            (waiters[0]["runnable_id"] == "bob").then_some(())
        })
        .await;
        client.release(&id, &ann).await.ok();
    };
    let (bob, ()) = tokio::join!(waits, gives);
    assert_eq!(bob.ok()["generation"], 2);

    let began = Instant::now();
    let body = json!({"runnable_id": "cid", "wait_seconds": 1});
    client.post(&path, body).await.problem(409, "session_occupied");
    assert!(began.elapsed().as_millis() >= 900, "it did not wait");
    server.stop().await;
}

on_both_databases! {
    async fn of_two_hundred_that_begin_at_once_one_wins_and_all_others_are_refused(database) {
        let server = Setup::fakes().on(database).start().await;
        let id = server.client.session_id().await;
        let began = Instant::now();
        let names: Vec<_> = (0..200).map(|number| format!("contender-{number}")).collect();
        let answers = join_all(names.iter().map(|name| server.client.begin(&id, name, 60))).await;
        let took = began.elapsed();

        let mut winners = Vec::new();
        let mut told = Vec::new();
        for (name, answer) in names.iter().zip(answers) {
            if answer.status == 200 {
                assert_eq!(answer.json()["generation"], 1);
                winners.push(name.clone());
            } else {
                let refused = answer.problem(409, "session_occupied");
                told.push(refused["occupancy"]["runnable_id"].as_str().unwrap().to_owned());
            }
        }
        assert_eq!((winners.len(), told.len()), (1, 199));
        assert!(told.iter().all(|holder| *holder == winners[0]), "they were told another: {told:?}");
        let occupancy = &server.client.look(&id).await["occupancy"];
        assert_eq!(occupancy["runnable_id"], winners[0]);
        assert_eq!(occupancy["generation"], 1);
        println!("200 begins at once on {database:?}: 1 winner, 199 refusals, {took:?}");
        server.stop().await;
    }
}
