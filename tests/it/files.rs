//! Files of a live session: lists, uploads, contents, names, rights, limits, and their end.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::time::Duration;

use greenroom::domain::checksum::Checksum;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::client::Answer;
use crate::support::{Client, Setup, TestServer, eventually};

fn files(id: &str) -> String {
    format!("/v1/browser_sessions/{id}/files")
}

async fn upload(client: &Client, id: &str, name: &str, content: &str) -> Answer {
    let path = format!("{}?name={name}", files(id));
    client.send(Method::POST, &path, Some(json!(content))).await
}

async fn names(client: &Client, id: &str) -> Vec<String> {
    let listed = client.get(&files(id)).await.ok();
    let name = |file: &Value| {
        let text = |name: &str| file[name].as_str().unwrap().to_owned();
        format!("{}/{}", text("folder"), text("name"))
    };
    listed.as_array().unwrap().iter().map(name).collect()
}

/// The path of a URL of the server.
fn path_of(client: &Client, file: &Value) -> String {
    file["uri"].as_str().unwrap().strip_prefix(&client.base).unwrap().to_owned()
}

async fn kinds(client: &Client, id: &str) -> String {
    client.events(&format!("/v1/browser_sessions/{id}/events")).await.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_uploaded_read_renamed_and_deleted_and_ends_with_its_session() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let id = client.session_id().await;
    assert_eq!(client.get(&files(&id)).await.ok(), json!([]));

    let stored = upload(client, &id, "..%2Fa%20b.txt", "hello").await.ok();
    let path = server.programs(&id).join("uploads/a b.txt");
    assert_eq!((&stored["name"], &stored["folder"]), (&json!("a b.txt"), &json!("uploads")));
    assert_eq!(stored["path"], json!(path), "a driver gives this path to a page");
    assert_eq!(stored["checksum"], Checksum::of(b"hello"));
    assert_eq!((&stored["file_size"], &stored["media_type"]), (&json!(5), &json!("text/plain")));
    assert_eq!(fs::read_to_string(&path).unwrap(), "hello");
    let second = upload(client, &id, "a%20b.txt", "other").await.ok();
    assert_eq!(second["name"], "a b (1).txt", "nothing is overwritten");
    assert_eq!(client.get(&files(&id)).await.ok()[1], stored);

    let uri = path_of(client, &stored);
    let range = [("range", "bytes=1-3")];
    let part = client.send_with(Method::GET, &uri, None, &range).await.unwrap();
    assert_eq!((part.status, part.text().as_str()), (206, "ell"));
    let disposition = part.headers["content-disposition"].to_str().unwrap();
    assert!(disposition.starts_with("attachment; filename=\"a_b.txt\""), "{disposition}");
    assert_eq!(part.headers["x-content-type-options"], "nosniff");

    let change = |name: &str| Some(json!({ "name": name }));
    let taken = client.send(Method::PATCH, &uri, change("a b (1).txt")).await;
    taken.problem(409, "file_name_taken");
    let wrong = client.send(Method::PATCH, &uri, change("../c.txt")).await.wrong_fields();
    assert!(wrong["body.name"].contains("`c.txt`"), "{wrong:?}");
    let renamed = client.send(Method::PATCH, &uri, change("ü.txt")).await.ok();
    assert_eq!((&renamed["name"], &renamed["checksum"]), (&json!("ü.txt"), &stored["checksum"]));
    client.get(&uri).await.problem(404, "file_unknown");
    let uri = path_of(client, &renamed);
    assert_eq!(client.get(&uri).await.text(), "hello");

    let archive = client.get(&format!("{}.zip", files(&id))).await;
    assert_eq!(archive.headers["content-type"], "application/zip");
    assert!(archive.bytes.starts_with(b"PK") && archive.text().contains("uploads/a b (1).txt"));

    assert_eq!(client.send(Method::DELETE, &uri, None).await.status, 204);
    client.send(Method::DELETE, &uri, None).await.problem(404, "file_unknown");
    assert_eq!(names(client, &id).await, ["uploads/a b (1).txt"]);
    eventually("the events are stored", async || {
        let kinds = kinds(client, &id).await;
        (kinds.matches("session.file_uploaded").count() == 2
            && kinds.matches("session.file_deleted").count() == 1)
            .then_some(())
    })
    .await;

    for (query, body) in [("", "x"), ("?name=", "x")] {
        let path = format!("{}{query}", files(&id));
        let wrong = client.send(Method::POST, &path, Some(json!(body))).await.wrong_fields();
        assert!(wrong.contains_key("query.name"), "{wrong:?}");
    }
    let mixed = [("content-type", "multipart/mixed; boundary=x")];
    let path = format!("{}?name=x", files(&id));
    let answer = client.send_with(Method::POST, &path, None, &mixed).await.unwrap();
    answer.problem(415, "media_type_unsupported");

    client.close(&id).await.ok();
    for answer in [client.get(&files(&id)).await, upload(client, &id, "late", "x").await] {
        let gone = answer.problem(410, "session_closed");
        assert!(gone["detail"].as_str().unwrap().contains("/artifacts"), "{gone}");
    }
    client.get(&files("pbs_1")).await.problem(404, "session_unknown");
    server.stop().await;
}

/// The parts of a form, each with its header fields and its content.
fn form(parts: &[(&str, &str)]) -> String {
    let parts = parts.iter().map(|(disposition, content)| {
        format!(
            "--line\r\nContent-Disposition: form-data; {disposition}\r\n\
             Content-Type: text/plain\r\n\r\n{content}\r\n"
        )
    });
    parts.chain(["--line--\r\n".to_owned()]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_comes_as_a_form_under_the_same_limits() {
    let server = Setup::fakes().set("desktop.uploads.max_file_mib", "1").start().await;
    let client = &server.client;
    let id = client.session_id().await;
    let http = reqwest::Client::new();
    let send = async |query: &str, body: String| {
        let url = format!("{}{}{query}", client.base, files(&id));
        let request = http.post(url).header("x-api-key", client.key());
        let request = request.header("content-type", "multipart/form-data; boundary=line");
        let answer = request.body(body).send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Answer { status, headers, bytes: answer.bytes().await.unwrap().to_vec() }
    };
    let text = (r#"name="comment""#, "a text field");
    let file = (r#"name="file"; filename="../a b.txt""#, "hello\r\n--lin");
    let stored = send("", form(&[text, file, text])).await.ok();
    assert_eq!((&stored["name"], &stored["file_size"]), (&json!("a b.txt"), &json!(12)));
    assert_eq!(stored["checksum"], Checksum::of(b"hello\r\n--lin"));
    let named = send("?name=c.txt", form(&[file])).await.ok();
    assert_eq!(named["name"], "c.txt", "the query comes first");

    let expected = ["uploads/a b.txt", "uploads/c.txt"];
    let long = "x".repeat(70_000);
    for (parts, reason) in [
        (vec![text], "a part with a file"),
        (vec![], "a part with a file"),
        (vec![file, file], "one file"),
        (vec![(r#"name="long""#, long.as_str()), file], "65536 bytes"),
        (vec![text; 21], "first 20 parts"),
    ] {
        let wrong = send("", form(&parts)).await.wrong_fields();
        assert!(wrong["body.file"].contains(reason), "{wrong:?}");
        assert_eq!(names(client, &id).await, expected, "{reason}");
    }
    let large = "x".repeat((1 << 20) + 1);
    let large = (r#"name="file"; filename="large""#, large.as_str());
    send("", form(&[large])).await.problem(413, "file_too_large");
    let whole = form(&[file]);
    let cut = whole[..whole.len() - 12].to_owned();
    send("", cut).await.problem(400, "body_unreadable");
    assert_eq!(names(client, &id).await, expected, "nothing is left of those");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_names_of_downloads_are_shown_escaped_and_reach_no_other_file() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let id = client.session_id().await;
    let folder = server.programs(&id).join("downloads");
    let hostile: [&[u8]; 6] =
        [b"a\nb", "fdp\u{202e}.exe".as_bytes(), b"CON", b".profile", b"\xff.bin", b"50%41.txt"];
    for name in hostile {
        fs::write(folder.join(std::ffi::OsStr::from_bytes(name)), name).unwrap();
    }
    symlink("/etc/passwd", folder.join("link")).unwrap();
    fs::write(folder.join("half.pdf.crdownload"), "%").unwrap();

    let listed = client.get(&files(&id)).await.ok();
    let listed = listed.as_array().unwrap();
    assert_eq!(listed.len(), hostile.len() + 1, "{listed:#?}");
    for file in listed {
        assert_eq!(file["complete"], json!(file["name"] != "half.pdf.crdownload"));
        assert_eq!((&file["folder"], &file["path"]), (&json!("downloads"), &Value::Null));
        let answer = client.get(&path_of(client, file)).await;
        assert_eq!(answer.status, 200, "{file}");
        let disposition = answer.headers["content-disposition"].to_str().unwrap();
        assert!(!disposition.contains("filename=\"CON\"") && !disposition.contains("=\"."));
        let deleted = client.send(Method::DELETE, &path_of(client, file), None).await;
        assert_eq!(deleted.status, 204, "{file}");
    }
    assert_eq!(names(client, &id).await, [""; 0]);
    for name in ["link", "..%2F..%2Fkeys%2Fxauthority", "%2e%2e%2fx", "..%252Fx", "%00", "%ff"] {
        let path = format!("{}/downloads/{name}", files(&id));
        client.get(&path).await.problem(404, "file_unknown");
    }
    client.get(&format!("{}/keys/xauthority", files(&id))).await.problem(404, "file_unknown");

    // A file that the server stored is listed with its artifact.
    fs::write(folder.join("report.csv"), "1").unwrap();
    let listed = eventually("the download is stored", async || {
        let listed = client.get(&files(&id)).await.ok();
        listed[0]["artifact_id"].is_string().then_some(listed)
    })
    .await;
    assert_eq!(listed[0]["checksum"], Checksum::of(b"1"));
    let artifact = format!("/v1/artifacts/{}", listed[0]["artifact_id"].as_str().unwrap());
    assert_eq!(client.get(&artifact).await.ok()["file_name"], "report.csv");
    assert_eq!(client.look(&id).await["downloaded_files"][0]["filename"], "report.csv");
    server.stop().await;
}

/// The secret of a ticket of this role.
async fn ticket(client: &Client, id: &str, role: &str) -> String {
    let path = format!("/v1/browser_sessions/{id}/viewers");
    let made = client.post(&path, json!({ "role": role })).await.ok();
    made["ticket"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn tickets_to_control_and_to_drive_add_and_read_files_and_take_none_away() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let id = client.session_id().await;
    fs::write(server.programs(&id).join("downloads/secret.csv"), "1").unwrap();
    let stranger = server.stranger();
    for role in ["watch", "control", "drive"] {
        let ticket = ticket(client, &id, role).await;
        let ask = async |method: Method, path: String| {
            let joint = if path.contains('?') { '&' } else { '?' };
            let body = (method == Method::PATCH).then(|| json!({ "name": "x" }));
            stranger.send(method, &format!("{path}{joint}ticket={ticket}"), body).await
        };
        let download = format!("{}/downloads/secret.csv", files(&id));
        for (method, path, changes) in [
            (Method::GET, files(&id), false),
            (Method::GET, format!("{}.zip", files(&id)), false),
            (Method::GET, download.clone(), false),
            (Method::POST, format!("{}?name={role}", files(&id)), false),
            (Method::PATCH, download.clone(), true),
            (Method::DELETE, download, true),
        ] {
            let answer = ask(method.clone(), path.clone()).await;
            if role == "watch" || changes {
                answer.problem(403, "ticket_insufficient");
            } else {
                assert_eq!(answer.status, 200, "{role}: {method} {path}: {}", answer.text());
            }
        }
    }
    let left = names(client, &id).await;
    assert_eq!(left, ["downloads/secret.csv", "uploads/control", "uploads/drive"]);
    server.stop().await;
}

/// The number of entries in a session's folder for uploads.
fn entries(server: &TestServer, id: &str) -> usize {
    fs::read_dir(server.programs(id).join("uploads")).unwrap().count()
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_are_bounded_and_one_that_breaks_off_leaves_nothing() {
    let setup = Setup::fakes()
        .set("desktop.uploads.max_file_mib", "1")
        .set("desktop.uploads.max_files", "3")
        .set("desktop.uploads.max_total_mib", "2");
    let server = setup.start().await;
    let client = &server.client;
    let id = client.session_id().await;
    let mib = "x".repeat(1 << 20);
    let large = upload(client, &id, "large", &format!("{mib}x")).await;
    let large = large.problem(413, "file_too_large");
    assert!(large["detail"].as_str().unwrap().contains("desktop.uploads.max_file_mib"), "{large}");
    upload(client, &id, "one", &mib).await.ok();
    upload(client, &id, "two", &mib).await.ok();
    upload(client, &id, "three", "x").await.problem(429, "too_many_bytes");
    upload(client, &id, "empty", "").await.ok();
    upload(client, &id, "four", "").await.problem(429, "too_many_files");
    assert_eq!(entries(&server, &id), 3);
    for name in ["one", "two"] {
        let path = format!("{}/uploads/{name}", files(&id));
        client.send(Method::DELETE, &path, None).await;
    }

    // A client that leaves, and one whose body is longer than it may be without a length.
    let address = client.base.strip_prefix("http://").unwrap();
    let head = |name: &str, more: &str| {
        let (path, key) = (files(&id), client.key());
        format!("POST {path}?name={name} HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\n{more}\r\n\r\n")
    };
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(head("half", "content-length: 1000").as_bytes()).await.unwrap();
    socket.write_all(b"half").await.unwrap();
    eventually("a part is there", async || (entries(&server, &id) == 2).then_some(())).await;
    assert_eq!(names(client, &id).await, ["uploads/empty"]);
    drop(socket);
    eventually("nothing is left", async || (entries(&server, &id) == 1).then_some(())).await;
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(head("long", "transfer-encoding: chunked").as_bytes()).await.unwrap();
    let chunk = format!("{:x}\r\n{mib}\r\n{:x}\r\n{mib}\r\n0\r\n\r\n", mib.len(), mib.len());
    let _ = socket.write_all(chunk.as_bytes()).await; // It is refused meanwhile.
    let mut answer = vec![0; 200];
    let read = tokio::time::timeout(Duration::from_secs(10), socket.read(&mut answer));
    let read = read.await.unwrap().unwrap_or_default();
    let answer = String::from_utf8_lossy(answer.get(..read).unwrap()).into_owned();
    assert!(answer.is_empty() || answer.contains(" 413 "), "{answer}");
    eventually("nothing is left", async || (entries(&server, &id) == 1).then_some(())).await;

    // The end of the session ends an upload.
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(head("half", "content-length: 1000").as_bytes()).await.unwrap();
    eventually("a part is there", async || (entries(&server, &id) == 2).then_some(())).await;
    client.close(&id).await.ok();
    let mut answer = String::new();
    let read = tokio::time::timeout(Duration::from_secs(10), socket.read_to_string(&mut answer));
    read.await.unwrap().unwrap();
    assert!(answer.contains(" 410 ") && answer.contains("session_closed"), "{answer}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_waits_for_its_first_use_has_no_files_and_is_started_by_the_first() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let workflow =
        client.workflow(json!([{ "block_type": "wait", "label": "w", "wait_sec": 1 }])).await;
    let debug = client.get(&format!("/v1/debug-session/{workflow}")).await.ok();
    let id = debug["browser_session_id"].as_str().unwrap();
    assert_eq!(client.get(&files(id)).await.ok(), json!([]));
    assert_eq!(client.look(id).await["status"], "created", "a list starts nothing");
    let stored = upload(client, id, "a.txt", "1").await.ok();
    assert_eq!(client.look(id).await["status"], "running");
    assert_eq!(fs::read_to_string(stored["path"].as_str().unwrap()).unwrap(), "1");
    server.stop().await;
}
