//! A port in the session's network that leads to the server, for `code` blocks. It forwards only
//! requests whose path is below one prefix.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::copy::tunnel;
use super::exchange::{Done, Outgoing, Sides, exchange};
use super::head::{RequestHead, read_head};
use super::limits::Limits;
use super::stream::Counted;

/// The part of the server that a session may reach.
#[derive(Debug, Clone)]
pub struct Gateway {
    /// The file with the server's address, which may change when the server restarts.
    pub server: PathBuf,
    /// The prefix of permitted paths, with a final slash.
    pub prefix: String,
}

/// Headers that the server trusts from its own machine, so the gateway removes them.
const FORWARDED: &[&str] =
    &["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"];

/// Accepts connections until the process ends.
pub async fn serve(listener: TcpListener, gateway: Gateway, limits: Limits) {
    let places = Arc::new(Semaphore::new(limits.connections));
    loop {
        let Ok((client, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        let gateway = gateway.clone();
        tokio::spawn(async move {
            Box::pin(pass(client, &gateway, limits)).await;
            drop(place);
        });
    }
}

/// Forwards one request and closes the connection, so that a second request cannot bypass the check.
async fn pass(mut client: TcpStream, gateway: &Gateway, limits: Limits) {
    let mut from_client = BytesMut::new();
    let read = read_head::<RequestHead, _>(&mut client, &mut from_client);
    let Ok(Ok(mut head)) = tokio::time::timeout(limits.header, read).await else { return };
    let Ok(framing) = head.framing() else {
        return refuse(&mut client, "400 Bad Request", "request_invalid").await;
    };
    if !gateway.permits(&head.target) {
        return refuse(&mut client, "403 Forbidden", "path_not_of_session").await;
    }
    let Some(server) = gateway.connect().await else {
        return refuse(&mut client, "503 Service Unavailable", "server_absent").await;
    };
    head.headers
        .0
        .retain(|header| !FORWARDED.iter().any(|name| header.name.eq_ignore_ascii_case(name)));
    let host = head.headers.all("host").next().map(String::from_utf8_lossy).unwrap_or_default();
    let bytes = head.forward(&head.target, &host, &[]);
    let mut server = Counted::whole(Box::new(server));
    let mut from_server = BytesMut::new();
    let sides = Sides {
        client: &mut client,
        from_client: &mut from_client,
        server: &mut server,
        from_server: &mut from_server,
    };
    let request = Outgoing { head: &head, framing, bytes, closes: true };
    match exchange(sides, request, false, limits.response).await {
        Ok(Done::Switch) => {
            tunnel(&mut client, &mut server, &mut from_client, &mut from_server, limits.tunnel)
                .await;
        }
        Ok(Done::KeepBoth | Done::KeepClient | Done::Close) => {}
        Err(_) => refuse(&mut client, "502 Bad Gateway", "server_unanswered").await,
    }
}

impl Gateway {
    async fn connect(&self) -> Option<TcpStream> {
        let text = std::fs::read_to_string(&self.server).ok()?;
        let address: SocketAddr = text.trim().parse().ok()?;
        TcpStream::connect(address).await.ok()
    }

    /// Returns true for a path below the prefix. An ambiguous path (escapes, `..`, `//`) is not.
    fn permits(&self, target: &str) -> bool {
        let path = target.split(['?', '#']).next().unwrap_or_default();
        let Some(rest) = path.strip_prefix(self.prefix.as_str()) else { return false };
        let is_plain = !rest.contains('%') && !rest.contains('\\') && !rest.contains("//");
        is_plain
            && self.prefix.ends_with('/')
            && !rest.split('/').any(|part| matches!(part, "." | ".."))
    }
}

async fn refuse(client: &mut TcpStream, status: &str, code: &str) {
    let body = format!("{{\"code\":\"{code}\"}}\n");
    let answer = format!(
        "HTTP/1.1 {status}\r\nX-Greenroom-Refused: {code}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let _ = client.write_all(answer.as_bytes()).await;
    let _ = client.shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_paths_below_the_prefix_are_permitted() {
        let gateway = Gateway { server: PathBuf::new(), prefix: "/s/pbs_1/cdp/".to_owned() };
        for (target, expected) in [
            ("/s/pbs_1/cdp/", true),
            ("/s/pbs_1/cdp/devtools/page/A?token=x%20y//..", true),
            ("/s/pbs_1/cdp", false),
            ("/s/pbs_2/cdp/", false),
            ("/s/pbs_1/cdp/../../pbs_2/cdp/", false),
            ("/s/pbs_1/cdp/%2e%2e/x", false),
            ("/s/pbs_1/cdp/a//b", false),
            ("/s/pbs_1/cdp/a\\b", false),
            ("http://x/s/pbs_1/cdp/", false),
            ("*", false),
        ] {
            assert_eq!(gateway.permits(target), expected, "{target}");
        }
    }
}
