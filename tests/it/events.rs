//! The log of events: order, pages, streams, and gaps.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::client::{Lease, id_of};
use crate::support::{Setup, TestServer, eventually, on_both_databases};

fn kinds(page: &Value) -> Vec<&str> {
    page["events"].as_array().unwrap().iter().map(|it| it["kind"].as_str().unwrap()).collect()
}

fn seqs(page: &Value) -> Vec<i64> {
    page["events"].as_array().unwrap().iter().map(|it| it["seq"].as_i64().unwrap()).collect()
}

on_both_databases! {
    async fn a_sessions_life_is_told_in_order_and_numbered_without_gaps(database) {
        let server = Setup::fakes().on(database).start().await;
        let client = &server.client;
        let (one, other) = (client.session_id().await, client.session_id().await);
        let begun = client.begin(&one, "ann", 60).await.ok();
        client.release(&one, &Lease::of(&begun)).await.ok();
        client.close(&one).await.ok();

        let path = format!("/v1/browser_sessions/{one}/events");
        let page = eventually("the end is reported", async || {
            let page = client.events(&path).await;
            kinds(&page).contains(&"session.ended").then_some(page)
        })
        .await;
        assert_eq!(kinds(&page), [
            "session.created", "session.started", "occupancy.begun", "occupancy.released",
            "session.closing", "session.ended",
        ]);
        let first = &page["events"][0];
        assert_eq!(first["browser_session_id"], json!(one));
        assert_eq!(first["data"], json!({"timeout_seconds": 3600}));
        assert_eq!(page["events"][2]["data"]["runnable_id"], "ann");
        assert!(!page.to_string().contains(begun["lease_token"].as_str().unwrap()));

        let all = client.events("/v1/events").await;
        let numbers = seqs(&all);
        let last = *numbers.last().unwrap();
        assert_eq!(numbers, (1..=last).collect::<Vec<i64>>());
        assert_eq!(all["next"], json!(last));
        let rest = client.events(&format!("/v1/events?after={}&limit=1", last - 2)).await;
        assert_eq!((seqs(&rest), &rest["next"]), (vec![last - 1], &json!(last - 1)));
        let none = client.events("/v1/events?after=latest").await;
        assert_eq!((kinds(&none), &none["next"], &none["reset"]), (vec![], &json!(last), &json!(null)));

        // A page can wait for new events.
        let waiting = format!("/v1/browser_sessions/{other}/events?after={last}&wait_seconds=20");
        let (page, _) = tokio::join!(client.events(&waiting), client.begin(&other, "bob", 60));
        assert_eq!(kinds(&page), ["occupancy.begun"]);

        let stranger = server.another_organization().await;
        stranger.get(&path).await.problem(404, "session_unknown");
        assert_eq!(kinds(&stranger.events("/v1/events").await), [""; 0]);
        let wrong = client.get("/v1/events?after=yesterday").await.wrong_fields();
        assert!(wrong.contains_key("query.after"), "{wrong:?}");
        server.stop().await;
    }
}

async fn collect(server: &TestServer, after: Option<i64>, until: &str) -> Vec<(i64, String)> {
    let mut stream = server.client.stream("/v1/events", after).await;
    let mut found = Vec::new();
    loop {
        let (id, kind, data) = stream.next().await.expect("the stream continues");
        assert_eq!(data["kind"], json!(kind));
        let done = kind == until;
        found.push((id.unwrap(), kind));
        if done {
            return found;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_on_where_it_was_when_the_server_was_killed() {
    let mut server = Setup::fakes().start().await;
    let session = server.client.session().await;
    let id = id_of(&session);
    let url = session["events_url"].as_str().unwrap();
    assert!(url.ends_with(&format!("/v1/browser_sessions/{id}/events")), "{url}");
    let before = collect(&server, None, "session.started").await;
    let last = before.last().unwrap().0;
    assert_eq!(
        before.iter().map(|(id, _)| *id).collect::<Vec<_>>(),
        (1..=last).collect::<Vec<_>>()
    );

    TestServer::kill(server.pid());
    server.ended().await;
    server.serve().await;
    let after = collect(&server, Some(last), "session.recovered").await;
    assert_eq!(after, [(last + 1, "session.recovered".to_owned())]);
    server.stop().await;
}

on_both_databases! {
    async fn no_acknowledged_change_lacks_its_event_and_its_message_after_a_kill(database) {
        let mut server = Setup::fakes().on(database).start().await;
        let id = server.client.session_id().await;
        for _ in 0..10 {
            let begun = server.client.begin(&id, "ann", 60).await.ok();
            server.client.release(&id, &Lease::of(&begun)).await.ok();
        }
        let ended = server.client.session_id().await;
        server.client.close(&ended).await.ok();
        server.client.session_id().await;
        server.client.begin(&id, "bob", 60).await.ok();
        TestServer::kill(server.pid());
        server.ended().await;
        server.serve().await;

        let path = format!("/v1/browser_sessions/{id}/events");
        let page = server.client.events(&path).await;
        let events = page["events"].as_array().unwrap().iter();
        let told = events.filter(|it| it["kind"].as_str().unwrap().starts_with("occupancy."));
        let told: Vec<_> = told
            .map(|it| (it["kind"].as_str().unwrap(), it["data"]["generation"].as_i64().unwrap()))
            .collect();
        let pairs = (1..=10).flat_map(|it| [("occupancy.begun", it), ("occupancy.released", it)]);
        assert_eq!(told, pairs.chain([("occupancy.begun", 11)]).collect::<Vec<_>>());
        let trail = format!("/admin/audit?session={id}&outcome=done&limit=100");
        let trail = server.operator().get(&trail).await.ok();
        let messages = trail["events"].as_array().unwrap().iter();
        let audited = |kind: &str| messages.clone().filter(|it| it["kind"] == kind).count();
        assert_eq!((audited("begin"), audited("release")), (11, 10), "{trail:#}");
        let all = server.client.events("/v1/events").await;
        let count = |kind: &str| {
            let events = all["events"].as_array().unwrap().iter();
            events.filter(|event| event["kind"] == kind).count()
        };
        assert_eq!((count("session.created"), count("session.ended")), (3, 1), "{all:#}");
        assert_eq!(count("session.started"), 3, "{all:#}");
        let numbers = seqs(&all);
        assert_eq!(numbers, (1..=*numbers.last().unwrap()).collect::<Vec<i64>>());
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_what_is_forgotten_is_told_so_and_goes_on_with_what_there_is() {
    let setup = Setup::fakes().set("events.keep_most", "2").set("events.keep_seconds", "600");
    let mut server = setup.start().await;
    let id = server.client.session_id().await;
    server.client.close(&id).await.ok();
    // Old events are deleted at a start, together with the first new event.
    server.signal(rustix::process::Signal::TERM);
    server.ended_clean().await;
    server.serve().await;
    server.client.session_id().await;
    let mut stream = server.client.stream("/v1/events", Some(1)).await;
    let (place, kind, data) = stream.next().await.unwrap();
    assert_eq!((place, kind.as_str(), &data["asked"]), (None, "reset", &json!(1)), "{data}");
    let (oldest, _, _) = stream.next().await.unwrap();
    assert!(oldest.unwrap() >= data["oldest"].as_i64().unwrap());
    let page = server.client.events("/v1/events?after=9999").await;
    assert_eq!(page["reset"]["asked"], 9999);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_streams_are_open_than_may_be_and_all_end_with_the_server() {
    let server = Setup::fakes().set("http.max_event_streams", "1").start().await;
    let mut stream = server.client.stream("/v1/events?after=latest", None).await;
    server.client.get("/v1/events").await.problem(429, "too_many_streams");
    let ended = tokio::spawn(async move { stream.next().await });
    server.stop().await;
    assert_eq!(ended.await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_renewed_and_changed_but_never_shortened() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let session = client.session_of(json!({"timeout_seconds": 300})).await;
    let id = id_of(&session);
    let path = format!("/v1/browser_sessions/{id}");
    let renew = format!("{path}/renew");
    let end = |session: &Value| session["expires_at"].as_str().unwrap().to_owned();

    let same = client.post(&renew, json!({"timeout_seconds": 1})).await.ok();
    assert_eq!(end(&same), end(&session));
    let longer = client.post(&renew, json!({"timeout": 60})).await.ok();
    assert!(end(&longer) > end(&session), "{longer:#}");
    assert_eq!(longer["next_deadline"]["at"], longer["expires_at"]);
    let capped = client.post(&renew, json!({"timeout_seconds": 9_999_999})).await.ok();
    assert!(capped["warning"].as_str().unwrap().contains("capped to 240 minutes"), "{capped:#}");

    let patch = async |body| client.send(Method::PATCH, &path, Some(body)).await;
    let kept = patch(json!({"generate_browser_profile": true})).await.ok();
    assert!(kept["browser_profile_id"].as_str().unwrap().starts_with("bp_"), "{kept:#}");
    let changed = patch(json!({"generate_browser_profile": false})).await.ok();
    assert_eq!(end(&changed), end(&capped));
    let same = patch(json!({"expires_at": "2020-01-01T00:00:00Z"})).await.ok();
    assert_eq!(end(&same), end(&capped));
    assert_eq!(
        (&same["generate_browser_profile"], &same["browser_profile_id"]),
        (&json!(false), &json!(null))
    );
    let wrong = patch(json!({})).await.wrong_fields();
    assert!(wrong.contains_key("body.generate_browser_profile"), "{wrong:?}");

    let viewers = format!("{path}/viewers");
    for (role, status) in [("watch", 403), ("control", 200)] {
        let ticket = client.post(&viewers, json!({"role": role})).await.ok();
        let ticket = ticket["ticket"].as_str().unwrap().to_owned();
        let headers = [("x-greenroom-ticket", ticket.as_str())];
        let asked = server.stranger();
        let asked = asked.send_with(Method::POST, &renew, Some(json!({})), &headers).await.unwrap();
        assert_eq!(asked.status, status, "{}", asked.text());
    }

    client.close(&id).await.ok();
    client.post(&renew, json!({})).await.problem(410, "session_closed");
    patch(json!({"generate_browser_profile": true})).await.problem(409, "session_closed");
    client
        .post("/v1/browser_sessions/pbs_1/renew", json!({}))
        .await
        .problem(404, "session_unknown");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_the_database_refuses_is_dropped_alone_and_on_record() {
    use diesel::Connection as _;
    use diesel::connection::SimpleConnection as _;
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let file = server.directory.join("d/greenroom.db");
    let poison = "ALTER TABLE session_events ADD COLUMN poison TEXT \
                  CHECK (kind <> 'occupancy.begun')";
    let mut database = diesel::SqliteConnection::establish(file.to_str().unwrap()).unwrap();
    database.batch_execute(&format!("PRAGMA busy_timeout = 5000; {poison}")).unwrap();
    drop(database);

    let id = client.session_id().await;
    let begun = client.begin(&id, "ann", 60).await.ok();
    client.release(&id, &Lease::of(&begun)).await.ok();
    client.close(&id).await.ok();
    let page = eventually("the events behind it are stored", async || {
        let page = client.events("/v1/events").await;
        kinds(&page).contains(&"session.ended").then_some(page)
    })
    .await;
    assert!(!kinds(&page).contains(&"occupancy.begun"));
    let gap = page["events"].as_array().unwrap().iter().find(|it| it["kind"] == "gap").unwrap();
    let expected = json!({"lost": 1, "kind": "occupancy.begun", "reason": "refused_by_database"});
    assert_eq!(gap["data"], expected);
    assert!(server.log().contains("which is dropped"));
    server.stop().await;
}
