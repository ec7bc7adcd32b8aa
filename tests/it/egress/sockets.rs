//! The sockets of the directory: keys, invalid requests, and ports.

use std::io::ErrorKind;

use greenroom::egress::door;
use greenroom::egress::files::{self, CONTROL, DOOR, Key};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::origins::{Resident, echoes};
use super::support::{Egress, own_user};

#[tokio::test]
async fn the_door_opens_ports_only_to_the_key() {
    let egress = Egress::enforced(own_user(), "{}").await;
    let _resident = Resident::start(&egress, 9222).await;
    let other = "0".repeat(48);
    for line in [
        format!("{other} 9222\n").into_bytes(),
        b"9222\n".to_vec(),
        b" 9222\n".to_vec(),
        b"\n".to_vec(),
        b"\xff\xfe 9222\n".to_vec(),
        vec![b'x'; 10_000],
    ] {
        let answer = egress.raw(DOOR, &line).await;
        assert_eq!(answer, "error the key is wrong\n", "{:?}", String::from_utf8_lossy(&line));
    }
    for port in ["0", "x", "-1", "65536", "92 22", "9222 x"] {
        let answer = egress.raw(DOOR, &egress.keyed(port)).await;
        assert_eq!(answer, "error expected a port\n", "{port}");
    }
    assert_eq!(egress.raw(DOOR, b"").await, "");
    let closed = egress.raw(DOOR, &egress.keyed("9")).await;
    assert!(closed.starts_with("error port 9: "), "{closed}");
    assert_eq!(egress.raw(DOOR, &egress.keyed("9222")).await, "ok\n");
}

#[tokio::test]
async fn the_client_of_the_door_names_the_cause() {
    let egress = Egress::enforced(own_user(), "{}").await;
    let _resident = Resident::start(&egress, 9222).await;
    for (port, cause) in [(9, "port 9: "), (0, "expected a port")] {
        let refused = door::connect(&egress.directory, port).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        assert!(refused.to_string().contains(cause), "{refused}");
    }
    // Another directory, whose key is not that of the socket.
    let stranger = Egress::new(own_user());
    std::os::unix::fs::symlink(egress.directory.join(DOOR), stranger.directory.join(DOOR)).unwrap();
    let refused = door::connect(&stranger.directory, 9222).await.unwrap_err();
    assert!(refused.to_string().contains("the key is wrong"), "{refused}");
    // The socket has no listener, or does not exist.
    let empty = Egress::new(own_user());
    assert_eq!(
        door::connect(&empty.directory, 9222).await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
}

#[tokio::test]
async fn clients_that_say_nothing_keep_nobody_waiting() {
    let egress = Egress::enforced(own_user(), "{}").await;
    let _resident = Resident::start(&egress, 9222).await;
    let mut idle = Vec::new();
    for name in [DOOR, CONTROL] {
        for _ in 0..20 {
            let mut stream = files::socket(&egress.directory, name).await.unwrap();
            stream.write_all(b"half a li").await.unwrap();
            idle.push(stream);
        }
    }
    echoes(&mut door::connect(&egress.directory, 9222).await.unwrap()).await;
    assert_eq!(egress.control("state").await["state"], "in_force");
}

#[tokio::test]
async fn strangers_do_not_use_up_the_control_socket() {
    let egress = Egress::proxied("{}", &[]).await;
    let mut strangers = Vec::new();
    // More than are served at once, and fewer than the kernel queues.
    for _ in 0..100 {
        strangers.push(files::socket(&egress.directory, CONTROL).await.unwrap());
    }
    let mut closed = 0;
    for stranger in &mut strangers {
        // A long line without a key is closed before its end.
        let _ = stranger.write_all(&[b'x'; 4096]).await;
        closed += usize::from(matches!(stranger.read(&mut [0]).await, Ok(0) | Err(_)));
    }
    assert_eq!(closed, 100);
    assert_eq!(egress.control("state").await["state"], "in_force");
}

#[tokio::test]
async fn commands_are_answered_only_to_the_key() {
    let egress = Egress::proxied(r#"{"revision": 1}"#, &[]).await;
    egress.policy(r#"{"revision": 2}"#);
    let other = "0".repeat(48);
    for line in ["reload\n", "status\n", &format!("{other} reload\n"), "\n", "x y z\n"] {
        assert_eq!(egress.raw(CONTROL, line.as_bytes()).await, "", "{line}");
    }
    // None of them has read the new policy.
    assert_eq!(egress.control("state").await["revision"], 1);
    assert_eq!(egress.control("reload").await["revision"], 2);
    let unknown = egress.control("frobnicate").await;
    assert!(unknown["error"].as_str().unwrap().contains("reload, state, status"), "{unknown}");
    // A key in one line does not authenticate the next line.
    let mut lines = egress.keyed("state");
    lines.extend(b"status\n");
    assert_eq!(egress.raw(CONTROL, &lines).await.lines().count(), 1);
    let twice = [egress.keyed("state"), egress.keyed("status")].concat();
    assert_eq!(egress.raw(CONTROL, &twice).await.lines().count(), 2);
}

#[tokio::test]
async fn a_key_is_made_once_and_again_where_it_is_unusable() {
    let egress = Egress::new(own_user());
    let first = Key::read(&egress.directory).unwrap().text().to_owned();
    Key::make(&egress.directory).unwrap();
    assert_eq!(Key::read(&egress.directory).unwrap().text(), first);
    // A crash of the machine can leave an empty file.
    egress.write(files::KEY, "");
    Key::make(&egress.directory).unwrap();
    assert_ne!(Key::read(&egress.directory).unwrap().text(), first);
}
