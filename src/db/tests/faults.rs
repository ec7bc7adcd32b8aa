//! Errors of a database that is unavailable or refuses a query.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use tokio_postgres::NoTls;

use crate::db::store::{Store as _, StoreError};
use crate::db::testing::{TestDb, mint, on_both, on_both_with, time};
use crate::db::{
    Db, DbError, OpenError, Pools, Reason, Settings, events, nodes, sessions, workflows,
};
use crate::domain::deadlines::Deadlines;
use crate::domain::event::{EventKind, NewEvent, Subject};
use crate::domain::quota::Limits;
use crate::domain::session::SessionRecord;

/// Takes a lock that blocks every write, until the sender is dropped.
async fn lock(world: &TestDb) -> tokio::sync::oneshot::Sender<()> {
    let (release, mut released) = tokio::sync::oneshot::channel();
    let (locked, is_locked) = tokio::sync::oneshot::channel();
    if let Some(url) = &world.settings.url {
        let (client, connection) = tokio_postgres::connect(url.reveal(), NoTls).await.unwrap();
        tokio::spawn(connection);
        let take = "BEGIN; LOCK TABLE browser_sessions IN ACCESS EXCLUSIVE MODE";
        client.batch_execute(take).await.unwrap();
        tokio::spawn(async move {
            locked.send(()).unwrap();
            let _ = (&mut released).await;
            drop(client);
        });
    } else {
        let file = world.dir.join("greenroom.db");
        tokio::task::spawn_blocking(move || {
            use diesel::Connection as _;
            use diesel::connection::SimpleConnection as _;
            let mut c = diesel::SqliteConnection::establish(file.to_str().unwrap()).unwrap();
            c.batch_execute("BEGIN EXCLUSIVE").unwrap();
            locked.send(()).unwrap();
            let _ = released.blocking_recv();
        });
    }
    is_locked.await.unwrap();
    release
}

#[test]
fn a_write_that_waits_too_long_is_unavailable_and_the_next_one_is_not() {
    let settings = Settings { statement_timeout_seconds: NonZeroU64::MIN, ..Settings::default() };
    on_both_with(&settings, async |world| {
        let tenant = world.tenant().await;
        let id = tenant.stored_session(&world.db).await;
        let moved = Deadlines { expires_at: Some(time(5)), ..Deadlines::default() };

        let release = lock(world).await;
        let began = Instant::now();
        let outcome = world.db.extend_deadlines(id, moved.clone(), Vec::new()).await;
        assert!(matches!(outcome, Err(StoreError::Unavailable { .. })), "{outcome:?}");
        assert!(began.elapsed() >= Duration::from_millis(900), "did not wait");
        assert!(began.elapsed() < Duration::from_secs(10), "waited {:?}", began.elapsed());
        drop(release);

        // The lock is released slightly later than its holder is dropped.
        let deadline = Instant::now() + Duration::from_secs(20);
        while let Err(error) = world.db.extend_deadlines(id, moved.clone(), Vec::new()).await {
            assert!(Instant::now() < deadline, "{error}");
        }
        let read = sessions::by_id(&world.db, tenant.organization, id).await.unwrap();
        assert_eq!(read.unwrap().deadlines, moved);
    });
}

#[test]
fn writes_that_wait_together_have_their_own_outcomes() {
    on_both(async |world| {
        let tenant = world.tenant().await;
        let release = lock(world).await;
        let (mut accepted, mut refused) = (Vec::new(), Vec::new());
        for second in 0..40 {
            let session = tenant.session(second);
            let db = world.db.clone();
            if second % 4 == 3 {
                let foreign = SessionRecord { organization: mint(), ..session };
                let write = db.insert_session(foreign, Limits::default(), Vec::new());
                refused.push(tokio::spawn(write));
            } else {
                let id = session.id;
                let write = db.insert_session(session, Limits::default(), Vec::new());
                accepted.push((id, tokio::spawn(write)));
            }
        }
        tokio::task::yield_now().await;
        drop(release);
        for (id, write) in accepted {
            write.await.unwrap().unwrap();
            let stored = sessions::by_id(&world.db, tenant.organization, id).await.unwrap();
            assert!(stored.is_some(), "{id} is acknowledged and not stored");
        }
        for write in refused {
            let outcome = write.await.unwrap();
            assert!(matches!(outcome, Err(StoreError::Rejected(_))), "{outcome:?}");
        }
    });
}

#[test]
fn what_no_request_waits_for_is_written_with_the_next_change() {
    on_both(async |world| {
        let Pools::Sqlite(database) = &*world.db.pools else { return };
        let (tenant, writer) = (world.tenant().await, &database.writer);
        let id = tenant.stored_session(&world.db).await;
        let transactions = || writer.metrics().batch.snapshot().count;
        let before = transactions();
        let release = lock(world).await;
        let extend = || world.db.extend_deadlines(id, Deadlines::default(), Vec::new());
        let mut first = std::pin::pin!(extend());
        assert!(futures_util::poll!(&mut first).is_pending());
        // The writer takes it, and waits for the lock.
        while writer.waiting() > 0 {
            tokio::task::yield_now().await;
        }
        let subject = Subject { organization: tenant.organization, session: None, run: None };
        let (kind, data) = (EventKind::RunStarted, serde_json::Value::Null);
        let event = NewEvent { id: mint(), subject, kind, data, at: time(1) };
        let mut numbered = std::pin::pin!(events::append(&world.db, vec![event]));
        assert!(futures_util::poll!(&mut numbered).is_pending());
        let mut second = std::pin::pin!(extend());
        assert!(futures_util::poll!(&mut second).is_pending());
        assert_eq!(writer.waiting(), 2);
        drop(release);
        let (first, second, numbered) = tokio::join!(first, second, numbered);
        first.and(second).unwrap();
        numbered.unwrap();
        assert_eq!(transactions() - before, 2);
    });
}

#[test]
fn a_write_ends_as_it_would_have_when_its_asker_has_left() {
    on_both(async |world| {
        let tenant = world.tenant().await;
        let session = tenant.session(0);
        let mut write = world.db.insert_session(session.clone(), Limits::default(), Vec::new());
        // Polled once, so that it is under way, and dropped.
        std::future::poll_fn(|cx| {
            let _ = write.as_mut().poll(cx);
            std::task::Poll::Ready(())
        })
        .await;
        drop(write);
        let deadline = Instant::now() + Duration::from_secs(20);
        let id = session.id;
        while sessions::by_id(&world.db, tenant.organization, id).await.unwrap().is_none() {
            assert!(Instant::now() < deadline, "it was lost");
        }
    });
}

#[test]
fn it_answers_on_a_thread_with_a_runtime_that_ends() {
    on_both(async |world| {
        let tenant = world.tenant().await;
        for _again in 0..2 {
            let db = world.db.clone();
            let worker = move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                runtime.block_on(nodes::by_id(&db, tenant.node)).unwrap().unwrap();
            };
            tokio::task::spawn_blocking(move || std::thread::spawn(worker).join().unwrap())
                .await
                .unwrap();
        }
        world.db.ping().await.unwrap();
    });
}

#[test]
fn a_database_that_was_closed_is_unavailable() {
    on_both(async |world| {
        world.db.close();
        let outcome = world.db.ping().await;
        assert!(matches!(outcome, Err(DbError::Unavailable { .. })), "{outcome:?}");
    });
}

#[test]
fn a_row_that_this_program_did_not_write_is_named() {
    on_both(async |world| {
        let tenant = world.tenant().await;
        let id = tenant.stored_session(&world.db).await;
        world.execute("UPDATE browser_sessions SET occupancy_state = 'held'").await;
        let outcome = sessions::by_id(&world.db, tenant.organization, id).await;
        let Err(DbError::Corrupt { column, row }) = outcome else { panic!("{outcome:?}") };
        assert_eq!((column, row), ("browser_sessions.runnable_type", id.to_string()));
    });
}

#[test]
fn what_cannot_be_opened_says_why() {
    on_both(async |world| {
        let open = async |url: &str| {
            let settings = Settings { url: Some(url.parse().unwrap()), ..Settings::default() };
            Db::open(&settings, &world.dir).await.unwrap_err()
        };
        let Some((server, _name)) = &world.postgres else {
            let missing = world.dir.join("no-such-directory/greenroom.db");
            let url = format!("sqlite:{}", missing.display());
            let error = open(&url).await;
            assert!(matches!(error, OpenError::File { path, .. } if path == missing));
            let no_database = world.dir.join("text.db");
            std::fs::write(&no_database, "This is a text, and a long one. ".repeat(99)).unwrap();
            let error = open(&format!("sqlite:{}", no_database.display())).await;
            assert!(matches!(error, OpenError::Migrations { .. }), "{error:?}");
            assert!(matches!(open("mysql://localhost/x").await, OpenError::UnknownKind));
            return;
        };
        let mut url: url::Url = server.parse().unwrap();
        url.set_password(Some("wrong-one")).unwrap();
        let error = open(url.as_str()).await;
        assert!(matches!(error, OpenError::Credentials { .. }), "{error:?}");
        assert!(!format!("{error} {error:?}").contains("wrong-one"));

        let mut url: url::Url = server.parse().unwrap();
        url.set_path("no_such_database");
        let error = open(url.as_str()).await;
        assert!(matches!(error, OpenError::NoDatabase { .. }), "{error:?}");

        // The certificate of the test server is not trusted.
        let error = open(&format!("{server}?sslmode=require")).await;
        let OpenError::Unreachable { cause } = &error else { panic!("{error:?}") };
        assert!(cause.contains("certificate"), "{cause}");
        let error = open(&format!("{server}?sslmode=perhaps")).await;
        assert!(matches!(error, OpenError::Url { .. }), "{error:?}");

        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let error = open(&format!("postgres://ann@127.0.0.1:{port}/x")).await;
        assert!(matches!(error, OpenError::Unreachable { .. }), "{error:?}");
    });
}

/// Returns, for each connection to the test's database, true if it is encrypted.
async fn encrypted(server: &str, name: &str) -> Vec<bool> {
    let (client, connection) = tokio_postgres::connect(server, NoTls).await.unwrap();
    let driver = tokio::spawn(connection);
    let query = "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                 WHERE datname = $1 AND application_name = $2";
    let rows = client.query(query, &[&name, &"greenroom"]).await.unwrap();
    drop(client);
    driver.await.unwrap().unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[test]
fn a_connection_is_encrypted_where_the_server_can_unless_the_url_says_no() {
    on_both(async |world| {
        let Some((server, name)) = &world.postgres else { return };
        world.db.ping().await.unwrap();
        assert!(encrypted(server, name).await.contains(&true));
        world.db.close();

        let url = format!("{}?sslmode=disable", world.settings.url.as_ref().unwrap().reveal());
        let settings = Settings { url: Some(url.parse().unwrap()), ..Settings::default() };
        let plain = Db::open(&settings, &world.dir).await.unwrap();
        plain.ping().await.unwrap();
        assert!(encrypted(server, name).await.contains(&false));
        plain.close();
    });
}

#[test]
fn what_the_database_cannot_hold_is_refused_and_no_outage() {
    on_both(async |world| {
        let tenant = world.tenant().await;
        let mut workflow = tenant.workflow.clone();
        (workflow.id, workflow.permanent_id) = (mint(), mint());
        workflow.organization = mint();
        let outcome = workflows::insert(&world.db, &workflow).await;
        let Err(DbError::Rejected(cause)) = outcome else { panic!("{outcome:?}") };
        assert_eq!(cause.reason(), Reason::Constraint, "{cause}");
        if world.postgres.is_some() {
            workflow.organization = tenant.organization;
            workflow.title = "a\0b".to_owned();
            let outcome = workflows::insert(&world.db, &workflow).await;
            let Err(DbError::Rejected(cause)) = outcome else { panic!("{outcome:?}") };
            assert_eq!(cause.reason(), Reason::Data, "{cause}");
        }
    });
}

#[test]
fn an_id_that_another_row_has_is_not_taken_for_a_repetition() {
    on_both(async |world| {
        let (ours, theirs) = (world.tenant().await, world.tenant().await);
        let session = ours.session(0);
        world.db.insert_session(session.clone(), Limits::default(), Vec::new()).await.unwrap();
        world.db.insert_session(session.clone(), Limits::default(), Vec::new()).await.unwrap();
        let foreign = SessionRecord { organization: theirs.organization, ..session.clone() };
        let outcome = world.db.insert_session(foreign, Limits::default(), Vec::new()).await;
        let Err(StoreError::Rejected(cause)) = outcome else { panic!("{outcome:?}") };
        assert_eq!(cause.reason(), Reason::IdTaken, "{cause}");

        let event = |organization, second| NewEvent {
            id: mint(),
            subject: Subject { organization, session: Some(session.id), run: None },
            kind: EventKind::SessionRenewed,
            data: serde_json::Value::Null,
            at: time(second),
        };
        let first = event(ours.organization, 1);
        let second = NewEvent { id: first.id, ..event(theirs.organization, 2) };
        events::append(&world.db, vec![first]).await.unwrap();
        events::append(&world.db, vec![second]).await.unwrap();
        let stored = events::after(&world.db, theirs.organization, None, 0, 10).await.unwrap();
        assert_eq!(stored.len(), 1, "it has got another id");
    });
}
