//! Heads of messages: headers that are forwarded, and messages that are rejected.

use super::*;

fn request(text: &str) -> RequestHead {
    RequestHead::parse(text.as_bytes()).unwrap().unwrap().0
}

fn response(text: &str) -> ResponseHead {
    ResponseHead::parse(text.as_bytes()).unwrap().unwrap().0
}

#[test]
fn order_and_case_stay_and_the_connection_is_replaced_in_its_place() {
    let head = request(
        "GET http://example.com/a HTTP/1.1\r\nHost: other.example\r\nProxy-Connection: keep-alive\r\n\
         sec-ch-ua: \"x\"\r\nUser-Agent: y\r\nProxy-Authorization: Basic z\r\nTE: trailers\r\n\
         Accept-Encoding: gzip\r\n\r\n",
    );
    let sent = String::from_utf8(head.forward("/a", "example.com", &[])).unwrap();
    assert_eq!(
        sent,
        "GET /a HTTP/1.1\r\nHost: example.com\r\nConnection: keep-alive\r\nsec-ch-ua: \"x\"\r\n\
         User-Agent: y\r\nAccept-Encoding: gzip\r\n\r\n"
    );
}

#[test]
fn headers_that_connection_names_are_removed_but_not_framing() {
    let head = request(
        "POST http://a/ HTTP/1.1\r\nConnection: close, X-Hop, Content-Length, Host\r\nX-Hop: 1\r\n\
         X-End: 2\r\nContent-Length: 3\r\n\r\n",
    );
    let sent = String::from_utf8(head.forward("/", "a", &[("X-More", "4")])).unwrap();
    assert_eq!(
        sent,
        "POST / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nX-End: 2\r\nContent-Length: 3\r\n\
         X-More: 4\r\n\r\n"
    );
}

#[test]
fn an_upgrade_stays_one() {
    let head = request(
        "GET ws://a/ HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n",
    );
    let sent = String::from_utf8(head.forward("/", "a", &[])).unwrap();
    assert_eq!(
        sent,
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    );
    let answer =
        response("HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
    let sent = String::from_utf8(answer.forward(false)).unwrap();
    assert_eq!(sent, "HTTP/1.1 101 Switching\r\nupgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
}

#[test]
fn the_framing_of_a_request_is_never_a_guess() {
    let framing = |headers: &str| {
        let head = request(&format!("POST / HTTP/1.1\r\n{headers}\r\n"));
        head.framing().ok()
    };
    assert_eq!(framing(""), Some(Framing::NONE));
    assert_eq!(framing("Content-Length: 5\r\n"), Some(Framing::Length(5)));
    assert_eq!(framing("Content-Length: 5\r\nContent-Length: 5\r\n"), Some(Framing::Length(5)));
    assert_eq!(framing("Transfer-Encoding: Chunked\r\n"), Some(Framing::CHUNKED));
    for headers in [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: 5x\r\n",
        "Content-Length: 99999999999999999999999\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
    ] {
        assert_eq!(framing(headers), None, "{headers:?}");
    }
}

#[test]
fn the_framing_of_a_response_depends_on_status_and_method() {
    let framing = |method: &str, text: &str| response(text).framing(method).unwrap();
    let length = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
    assert_eq!(framing("GET", length), Framing::Length(5));
    assert_eq!(framing("HEAD", length), Framing::NONE);
    assert_eq!(framing("GET", "HTTP/1.1 304 X\r\nContent-Length: 5\r\n\r\n"), Framing::NONE);
    assert_eq!(framing("GET", "HTTP/1.1 204 X\r\n\r\n"), Framing::NONE);
    assert_eq!(framing("GET", "HTTP/1.0 200 OK\r\n\r\n"), Framing::UntilClose);
    let both = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(framing("GET", both), Framing::CHUNKED);
    assert!(!String::from_utf8(response(both).forward(true)).unwrap().contains("Content-Length"));
}

#[tokio::test]
async fn a_head_is_the_same_however_it_arrives() {
    let text = b"GET http://a/ HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\nrest";
    for cut in 0..text.len() {
        let (first, second) = text.split_at(cut);
        let mut reader = tokio::io::AsyncReadExt::chain(first, second);
        let mut buffer = BytesMut::new();
        let head = read_head::<RequestHead, _>(&mut reader, &mut buffer).await.unwrap();
        assert_eq!((head.method.as_str(), head.headers.0.len()), ("GET", 2));
        assert!(b"rest".starts_with(&buffer[..]));
    }
}

#[tokio::test]
async fn an_endless_head_is_rejected() {
    let mut reader =
        tokio::io::AsyncReadExt::chain(&b"GET / HTTP/1.1\r\nX: "[..], tokio::io::repeat(b'x'));
    let outcome = read_head::<RequestHead, _>(&mut reader, &mut BytesMut::new()).await;
    assert!(matches!(outcome, Err(HeadError::TooLong)));
}
