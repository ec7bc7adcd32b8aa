//! Stores that are away, slow, broken or misconfigured.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

/// The number of files in a folder that a writer has not completed.
fn partials(folder: &Path) -> usize {
    let names = fs::read_dir(folder).unwrap().map(|it| it.unwrap().file_name());
    names.filter(|name| Partial::is_named_by(name.to_str().unwrap())).count()
}

/// Each operation fails in time and in the expected way, and leaves no file.
async fn check_outage(objects: &Objects, folder: &Path, expected: fn(&ObjectError) -> bool) {
    let (file, target) = (folder.join("source"), folder.join("target"));
    fs::write(&file, content(9_000_000)).unwrap();
    let put = objects.put_file("artifacts/a", &file, Transfer::Move).await.map(drop);
    let bytes = objects.put_bytes("artifacts/a", Bytes::from_static(b"x")).await;
    let fetched = objects.fetch_to("artifacts/a", &target).await.map(drop);
    let results = [
        put,
        bytes,
        fetched,
        objects.head("artifacts/a").await.map(drop),
        objects.delete("artifacts/a").await,
        objects.list("artifacts").await.map(drop),
        objects.check().await,
    ];
    for result in results {
        let cause = result.unwrap_err();
        assert!(expected(&cause), "{cause:?}");
        assert!(cause.to_string().contains("`films`"), "{cause}");
        assert!(!cause.to_string().contains(SECRET), "{cause}");
    }
    assert!(file.exists(), "the source of a failed move is gone");
    assert!(!target.exists() && partials(folder) == 0);
    assert!(objects.health().is_err());
}

#[tokio::test]
async fn a_store_that_refuses_connections_is_away() {
    let folder = scratch("refusing");
    let objects = Objects::open(&settings("http://127.0.0.1:1"), &folder).unwrap();
    check_outage(
        &objects,
        &folder,
        |it| matches!(it, ObjectError::StoreAway { cause, .. } if cause.contains("refused")),
    )
    .await;
    fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn a_store_that_accepts_and_is_silent_is_away_within_the_deadline() {
    let folder = scratch("silent");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let silent = tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((socket, _)) = listener.accept().await {
            open.push(socket);
        }
    });
    let settings = Settings { timeout_seconds: 1, ..settings(&endpoint) };
    let objects = Objects::open(&settings, &folder).unwrap();
    let is_late = |it: &ObjectError| matches!(it, ObjectError::StoreAway { .. });
    check_outage(&objects, &folder, is_late).await;
    silent.abort();
    fs::remove_dir_all(folder).unwrap();
}

/// Answers every request with `answer`, and closes the connection.
async fn answering(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let _ = socket.read(&mut [0; 4096]).await;
            let _ = socket.write_all(answer.as_bytes()).await;
        }
    });
    endpoint
}

const HALF: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\nETag: \"1\"\r\n\
                    Last-Modified: Sun, 29 Nov 2026 17:00:00 GMT\r\nContent-Length: 10\r\n\r\n\
                    half.";

#[tokio::test]
async fn half_an_object_is_never_taken_for_the_whole() {
    let folder = scratch("half");
    let objects = Objects::open(&settings(&answering(HALF).await), &folder).unwrap();
    let target = folder.join("target");
    fs::write(&target, b"former").unwrap();
    for cause in [
        objects.fetch_to("artifacts/a", &target).await.map(drop).unwrap_err(),
        objects.read_bytes("artifacts/a", 100).await.map(drop).unwrap_err(),
        all(objects.read("artifacts/a").await.unwrap()).await.map(drop).unwrap_err(),
    ] {
        assert!(matches!(cause, ObjectError::StoreAway { .. }), "{cause:?}");
    }
    assert_eq!(fs::read(&target).unwrap(), b"former");
    assert_eq!(partials(&folder), 0);
    fs::remove_dir_all(folder).unwrap();
}

/// A client that leaves drops the work. A thread may just create the file then.
#[test]
fn a_fetch_that_is_dropped_leaves_no_file() {
    let folder = scratch("dropped");
    let target = folder.join("target");
    fs::write(&target, b"former").unwrap();
    // The end of a runtime waits for the threads of its work.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let objects = Objects::open(&settings(&answering(HALF).await), &folder).unwrap();
        for number in 0..80 {
            let moment = Duration::from_millis(number % 4);
            let fetch = objects.fetch_to("artifacts/a", &target);
            drop(tokio::time::timeout(moment, fetch).await);
        }
    });
    drop(runtime);
    assert_eq!(partials(&folder), 0);
    assert_eq!(fs::read(&target).unwrap(), b"former");
    fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn a_full_store_says_so() {
    const FULL: &str = "HTTP/1.1 507 Insufficient Storage\r\nConnection: close\r\n\
                        Content-Length: 42\r\n\r\n<Error><Code>XMinioStorageFull</Code></Err>";
    let folder = scratch("full");
    let objects = Objects::open(&settings(&answering(FULL).await), &folder).unwrap();
    let full = objects.put_bytes("artifacts/a", Bytes::from_static(b"x")).await.unwrap_err();
    assert!(matches!(full, ObjectError::Full { .. }), "{full:?}");
    fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn wrong_credentials_and_a_missing_bucket_are_refusals() {
    let folder = scratch("refused");
    let server = Server::start(&folder);
    let wrong = [
        Settings { secret_access_key: Some(Secret::from("other")), ..server.settings() },
        Settings { access_key_id: Some("other".to_owned()), ..server.settings() },
    ];
    for settings in wrong {
        let objects = Objects::open(&settings, &folder).unwrap();
        check_outage(&objects, &folder, |it| matches!(it, ObjectError::Refused { .. })).await;
    }
    let settings = Settings { bucket: Some("films-2".to_owned()), ..server.settings() };
    let objects = Objects::open(&settings, &folder).unwrap();
    for cause in [
        objects.check().await.unwrap_err(),
        objects.head("artifacts/a").await.map(drop).unwrap_err(),
        objects.read("artifacts/a").await.map(drop).unwrap_err(),
        objects.list("artifacts").await.map(drop).unwrap_err(),
    ] {
        assert!(cause.to_string().ends_with("there is no such bucket"), "{cause:?}");
    }
    assert_eq!(server.names(), [""; 0]);
    drop(server);
    fs::remove_dir_all(folder).unwrap();
}
