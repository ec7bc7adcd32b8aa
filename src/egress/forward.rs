//! Requests for `http` pages in the proxy's absolute form, forwarded to the target or the upstream.

use std::sync::Arc;

use bytes::BytesMut;
use tokio::net::TcpStream;

use super::Shared;
use super::connect::{Purpose, Route, open, policy_now};
use super::connections::Cut;
use super::copy::tunnel;
use super::exchange::{Done, Outgoing, Sides, Unanswered, exchange, gone};
use super::framing::Framing;
use super::head::RequestHead;
use super::policy::Policy;
use super::refusal::{Failure, Form, Refusal};
use super::reply::reply;
use super::target::Target;

/// The requests of one client, and the connection that the last one left open.
#[derive(Debug, Default)]
pub struct Forwarding {
    kept: Option<Kept>,
}

#[derive(Debug)]
struct Kept {
    target: Target,
    policy: Arc<Policy>,
    route: Route,
}

/// The parts of `http://host:port/path`.
#[derive(Debug, PartialEq, Eq)]
struct Absolute {
    target: Target,
    /// Host and port as they were written, for `Host`.
    authority: String,
    /// Path and query as they were written.
    path: String,
}

impl Forwarding {
    /// The order to close the connection that is kept open, if there is one.
    pub fn cut(&self) -> Option<Arc<Cut>> {
        self.kept.as_ref().map(|kept| kept.route.registration.cut.clone())
    }

    /// Serves one request. Returns false if the client's connection must be closed.
    pub async fn request(
        &mut self,
        client: &mut TcpStream,
        buffer: &mut BytesMut,
        head: &RequestHead,
        shared: &Arc<Shared>,
    ) -> bool {
        let parsed = absolute(&head.target).and_then(|url| {
            head.framing().map(|framing| (url, framing)).map_err(|_error| UNFRAMED)
        });
        let (url, framing) = match parsed {
            Ok(parsed) => parsed,
            Err(reason) => {
                reply(client, &Refusal::Request { reason }.into(), Form::Page).await;
                return false;
            }
        };
        match self.forward(client, buffer, head, &url, framing, shared).await {
            Ok(is_open) => is_open,
            Err(Failure::ClientLeft) => false,
            Err(failure) => {
                shared.usage.failed(&url.target, &failure);
                reply(client, &failure, Form::Page).await;
                false
            }
        }
    }

    async fn forward(
        &mut self,
        client: &mut TcpStream,
        buffer: &mut BytesMut,
        head: &RequestHead,
        url: &Absolute,
        framing: Framing,
        shared: &Arc<Shared>,
    ) -> Result<bool, Failure> {
        let policy = policy_now(shared)?;
        let may_repeat = framing == Framing::NONE;
        let mut kept = self.reusable(url, &policy).await;
        loop {
            let is_reused = kept.is_some();
            let mut route = match kept.take() {
                Some(route) => route,
                None => {
                    let (mut reader, _writer) = client.split();
                    tokio::select! {
                        route = open(shared, &policy, &url.target, Purpose::Requests) => route?,
                        () = gone(&mut reader), if buffer.is_empty() => {
                            return Err(Failure::ClientLeft);
                        }
                    }
                }
            };
            let request = Outgoing {
                head,
                framing: framing.clone(),
                bytes: bytes(head, url, &route),
                closes: head.minor == 0 || head.headers.closes(),
            };
            let cut = route.registration.cut.clone();
            let sides = Sides {
                client: &mut *client,
                from_client: &mut *buffer,
                server: &mut route.stream,
                from_server: &mut route.buffer,
            };
            let upstream = route.absolute.is_some();
            let answered = tokio::select! {
                answered = exchange(sides, request, upstream, shared.limits.response) => answered,
                () = cut.ordered() => return Ok(false),
            };
            match answered {
                Ok(Done::KeepBoth) => {
                    let target = url.target.clone();
                    self.kept = Some(Kept { target, policy, route });
                    return Ok(true);
                }
                Ok(Done::KeepClient) => return Ok(true),
                Ok(Done::Close) => return Ok(false),
                Ok(Done::Switch) => {
                    let (stream, from_server) = (&mut route.stream, &mut route.buffer);
                    tokio::select! {
                        () = tunnel(client, stream, buffer, from_server, shared.limits.tunnel) => {}
                        () = cut.ordered() => {}
                    }
                    return Ok(false);
                }
                // The server closed the idle connection just as the request was sent.
                Err(Unanswered::Closed) if is_reused && may_repeat => {}
                Err(cause) => return Err(failure(cause, &url.target, upstream)),
            }
        }
    }

    /// The connection of the last request, if it leads to the same target and is alive.
    async fn reusable(&mut self, url: &Absolute, policy: &Arc<Policy>) -> Option<Route> {
        let mut kept = self.kept.take()?;
        let is_same = kept.target == url.target
            && Arc::ptr_eq(&kept.policy, policy)
            && !kept.route.registration.cut.is_ordered();
        if !is_same || !kept.route.buffer.is_empty() {
            return None;
        }
        let mut byte = [0];
        let read = tokio::io::AsyncReadExt::read(&mut kept.route.stream, &mut byte);
        // A silent server is alive; unsolicited bytes make the connection unusable.
        tokio::select! {
            biased;
            _ = read => None,
            () = std::future::ready(()) => Some(kept.route),
        }
    }
}

const UNFRAMED: &str = "the length of the request's body is ambiguous";

fn failure(cause: Unanswered, target: &Target, is_upstream: bool) -> Failure {
    let upstream = |text: &str| Failure::UpstreamProtocol(text.to_owned());
    match (cause, is_upstream) {
        (Unanswered::Closed, true) => upstream("the upstream proxy closed the connection"),
        (Unanswered::Invalid, true) => upstream("the answer is not HTTP"),
        (Unanswered::TimedOut, true) => Failure::UpstreamTimeout,
        (Unanswered::Credentials, _) => Failure::UpstreamCredentials,
        (Unanswered::Closed, false) => Failure::NoResponse(target.clone()),
        (Unanswered::Invalid, false) => Failure::BadResponse(target.clone()),
        (Unanswered::TimedOut, false) => Failure::ResponseTimeout(target.clone()),
        (Unanswered::ClientLeft, _) => Failure::ClientLeft,
    }
}

fn bytes(head: &RequestHead, url: &Absolute, route: &Route) -> Vec<u8> {
    let Some(upstream) = &route.absolute else {
        return head.forward(&url.path, &url.authority, &[]);
    };
    let target = format!("http://{}{}", url.authority, url.path);
    match upstream.authorization() {
        Some(value) => {
            head.forward(&target, &url.authority, &[("Proxy-Authorization", value.as_str())])
        }
        None => head.forward(&target, &url.authority, &[]),
    }
}

/// Splits an absolute URL without normalizing its path.
fn absolute(text: &str) -> Result<Absolute, &'static str> {
    let is_origin = text.starts_with('/') || text == "*";
    let (scheme, rest) = text
        .split_once("://")
        .filter(|_| !is_origin)
        .ok_or("this is a proxy: a request needs an absolute URL, such as `http://example.com/`")?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("ws") {
        return Err("only `http` URLs can be requested; use CONNECT for others");
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
    let authority = authority.rsplit_once('@').map_or(authority, |(_, authority)| authority);
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => {
            let port = if port.is_empty() { "80" } else { port };
            (host, port.parse().map_err(|_error| "the URL's port is not valid")?)
        }
        Some(_) | None => (authority, 80),
    };
    let target = Target::new(host, port).ok_or("the URL's host is not valid")?;
    let path = path.split_once('#').map_or(path, |(path, _)| path);
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    Ok(Absolute { target, authority: authority.to_owned(), path })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_split_without_a_change() {
        for (text, target, authority, path) in [
            ("http://Example.com/a%2f..//b?c#d", "example.com:80", "Example.com", "/a%2f..//b?c"),
            ("HTTP://a:8080?q", "a:8080", "a:8080", "/?q"),
            ("http://u:p@a", "a:80", "a", "/"),
            ("ws://[::1]:81/x", "[::1]:81", "[::1]:81", "/x"),
            ("http://[::1]/", "[::1]:80", "[::1]", "/"),
            ("http://evil.example@127.0.0.1/", "127.0.0.1:80", "127.0.0.1", "/"),
            ("http://0177.0.0.1/", "127.0.0.1:80", "0177.0.0.1", "/"),
        ] {
            let found = absolute(text).unwrap();
            assert_eq!(
                (found.target.to_string().as_str(), found.authority.as_str()),
                (target, authority)
            );
            assert_eq!(found.path, path);
        }
        for text in
            ["/", "*", "/http://a/", "https://a/", "http://", "http://a:x/", "ftp://a/", "a:80"]
        {
            assert!(absolute(text).is_err(), "{text}");
        }
    }
}
