//! Requests and tunnels through the egress program, and their refusals.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;

use rustix::process::{Resource, getrlimit, setrlimit};

use super::origins::{echo, mirror, origin, silent};
use super::support::{Egress, allow, read_all, read_head};

#[tokio::test]
async fn requests_of_one_connection_reach_the_target_without_the_hop_headers() {
    let port = mirror();
    let egress = Egress::proxied(&allow(port), &[]).await;
    let mut client = egress.client();
    for number in 0..3 {
        write!(
            client,
            "GET http://127.0.0.1:{port}/a?{number} HTTP/1.1\r\nHost: other\r\n\
             Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic x\r\nX-Y: z\r\n\r\n"
        )
        .unwrap();
        let head = read_head(&mut client);
        assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
        let body = read_head(&mut client);
        let expected = format!(
            "GET /a?{number} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: keep-alive\r\nX-Y: z\r\n\r\n"
        );
        assert_eq!(body, expected);
    }
}

#[tokio::test]
async fn bodies_are_streamed_in_both_framings() {
    let port = origin(|mut stream| {
        let head = read_head(&mut stream);
        let mut body = Vec::new();
        let mut byte = [0];
        let end: &[u8] = if head.contains("chunked") { b"0\r\n\r\n" } else { b"END" };
        while !body.ends_with(end) && stream.read(&mut byte).unwrap() == 1 {
            body.push(byte[0]);
        }
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        for part in body.chunks(1000) {
            let _ = write!(stream, "{:x}\r\n", part.len());
            let _ = stream.write_all(part);
            let _ = stream.write_all(b"\r\n");
        }
        let _ = stream.write_all(b"0\r\n\r\n");
    });
    let egress = Egress::proxied(&allow(port), &[]).await;
    let body = format!("{}END", "x".repeat(300_000));
    let text = format!(
        "POST http://127.0.0.1:{port}/ HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let answer = egress.ask(&text);
    assert!(answer.ends_with("END\r\n0\r\n\r\n") && answer.len() > 300_000, "{}", answer.len());
    let text = format!(
        "POST http://127.0.0.1:{port}/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\
         Connection: close\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    );
    assert!(egress.ask(&text).contains("5\r\nhello\r\n0\r\n\r\n"));
}

#[tokio::test]
async fn a_server_that_closes_an_idle_connection_costs_no_request() {
    let port = origin(|mut stream| {
        let _ = read_head(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    let egress = Egress::proxied(&allow(port), &[]).await;
    let mut client = egress.client();
    for _ in 0..5 {
        write!(client, "GET http://127.0.0.1:{port}/ HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        assert!(read_head(&mut client).starts_with("HTTP/1.1 200"));
        client.read_exact(&mut [0; 2]).unwrap();
    }
}

#[tokio::test]
async fn a_tunnel_passes_the_end_of_one_side_on_and_still_brings_the_answer() {
    let port = origin(|mut stream| {
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let _ = write!(stream, "got {}", text.len());
    });
    let egress = Egress::proxied(&allow(port), &[]).await;
    let mut tunnel = egress.tunnel(&format!("127.0.0.1:{port}")).unwrap();
    tunnel.write_all(&[b'x'; 200_000]).unwrap();
    tunnel.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&mut tunnel), "got 200000");
    drop(tunnel);
    egress.open_connections(0).await;
    let status = egress.control("status").await;
    assert_eq!((&status["bytes_sent"], &status["bytes_received"]), (&200_000.into(), &10.into()));
}

#[tokio::test]
async fn a_plain_websocket_is_a_tunnel_after_its_handshake() {
    let port = origin(|mut stream| {
        let head = read_head(&mut stream);
        assert!(head.contains("Connection: Upgrade\r\nUpgrade: websocket"), "{head}");
        let _ = stream.write_all(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfirst",
        );
        let mut reader = stream.try_clone().unwrap();
        let _ = std::io::copy(&mut reader, &mut stream);
    });
    let egress = Egress::proxied(&allow(port), &[]).await;
    let mut client = egress.client();
    write!(
        client,
        "GET ws://127.0.0.1:{port}/ HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    )
    .unwrap();
    assert!(read_head(&mut client).starts_with("HTTP/1.1 101"));
    client.write_all(b"second").unwrap();
    let mut bytes = [0; 11];
    client.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"firstsecond");
}

#[tokio::test]
async fn an_early_answer_arrives_although_the_request_was_not_read() {
    let port = origin(|mut stream| {
        let _ = read_head(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n");
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let egress = Egress::proxied(&allow(port), &[]).await;
    let mut client = egress.client();
    write!(
        client,
        "POST http://127.0.0.1:{port}/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\npart"
    )
    .unwrap();
    let head = read_head(&mut client);
    assert!(head.starts_with("HTTP/1.1 413") && head.contains("Connection: close"), "{head}");
}

#[tokio::test]
async fn four_hundred_tunnels_at_once_and_no_more_than_the_bound() {
    // Each tunnel takes three descriptors of this process.
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, rustix::process::Rlimit { current: limit.maximum, ..limit })
        .unwrap();
    let port = echo();
    let egress = Egress::proxied(&allow(port), &["--connections", "400"]).await;
    let mut tunnels: Vec<_> =
        (0..400).map(|_| egress.tunnel(&format!("127.0.0.1:{port}")).unwrap()).collect();
    for tunnel in &mut tunnels {
        tunnel.write_all(b"x").unwrap();
    }
    for tunnel in &mut tunnels {
        tunnel.read_exact(&mut [0]).unwrap();
    }
    assert!(egress.get(&format!("http://127.0.0.1:{port}/")).contains("too_many_connections"));
    drop(tunnels);
    egress.open_connections(0).await;
    assert!(egress.tunnel(&format!("127.0.0.1:{port}")).is_ok());
}

#[tokio::test]
async fn a_client_that_leaves_while_the_target_hangs_leaves_nothing_open() {
    let silent = silent();
    let egress = Egress::proxied(&allow(silent), &[]).await;
    let mut client = egress.client();
    write!(client, "GET http://127.0.0.1:{silent}/ HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    egress.open_connections(1).await;
    drop(client);
    egress.open_connections(0).await;
}

#[tokio::test]
async fn what_is_no_proxy_request_is_rejected() {
    let egress = Egress::proxied("{}", &[]).await;
    for text in [
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET https://example.com/ HTTP/1.1\r\nHost: x\r\n\r\n",
        "CONNECT example.com HTTP/1.1\r\n\r\n",
        "POST http://a/ HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "\x16\x03\x01 TLS\r\n\r\n",
    ] {
        let answer = egress.ask(text);
        assert!(answer.starts_with("HTTP/1.1 400"), "{text:?}: {answer}");
        assert!(answer.contains("X-Greenroom-Refused: request_invalid"), "{answer}");
    }
}
