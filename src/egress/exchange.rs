//! One request and its response, between a client and a server.
//!
//! Both bodies are streamed at the same time, so that a server can respond before it has read the
//! whole request. Meanwhile the client is watched: when it disconnects, the exchange ends.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::ReadHalf;

use super::copy::{self, CopyError};
use super::framing::Framing;
use super::head::{HeadError, RequestHead, ResponseHead, read_head};
use super::stream::Duplex;

/// The state of both connections after an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// Both connections can be used again.
    KeepBoth,
    /// The server closes its connection.
    KeepClient,
    /// The client's connection must be closed.
    Close,
    /// The server has accepted another protocol (status 101).
    Switch,
}

/// An exchange that ended before the response began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unanswered {
    /// The server closed the connection without sending a byte.
    Closed,
    Invalid,
    TimedOut,
    /// The upstream proxy rejects the credentials; the browser must not prompt a person for them.
    Credentials,
    ClientLeft,
}

/// The two sides of an exchange.
pub struct Sides<'a, S: Duplex> {
    /// The connection to the client.
    pub client: &'a mut TcpStream,
    /// Bytes of the client that have been read already.
    pub from_client: &'a mut BytesMut,
    /// The server's connection, or the upstream's.
    pub server: &'a mut S,
    /// Bytes of the server that have been read already.
    pub from_server: &'a mut BytesMut,
}

impl<S: Duplex> std::fmt::Debug for Sides<'_, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sides").finish_non_exhaustive()
    }
}

/// A request that is ready to be sent.
#[derive(Debug)]
pub struct Outgoing<'a> {
    /// The head as it came from the client.
    pub head: &'a RequestHead,
    /// The framing of the request's body.
    pub framing: Framing,
    /// The head as it goes to the server.
    pub bytes: Vec<u8>,
    /// True if the client's connection is closed after the response.
    pub closes: bool,
}

/// The side at which sending a request ended.
enum Upload {
    Server,
    Client,
}

/// Sends a request and forwards the response.
///
/// # Errors
///
/// Fails only as long as no part of the response has been sent to the client.
pub async fn exchange<S: Duplex>(
    sides: Sides<'_, S>,
    request: Outgoing<'_>,
    is_upstream: bool,
    idle: Duration,
) -> Result<Done, Unanswered> {
    let Sides { client, from_client, server, from_server } = sides;
    let Outgoing { head, framing, bytes, closes } = request;
    let (mut client_reader, mut client_writer) = client.split();
    let (mut server_reader, mut server_writer) = tokio::io::split(server);
    let (is_sent, is_begun) = (AtomicBool::new(false), AtomicBool::new(false));

    let upload = async {
        let sent = async {
            server_writer.write_all(&bytes).await?;
            server_writer.flush().await
        };
        if sent.await.is_err() {
            return Upload::Server;
        }
        let body =
            copy::body(&mut client_reader, &mut server_writer, framing, from_client, idle).await;
        match body {
            Ok(()) => is_sent.store(true, Relaxed),
            Err(CopyError::Write(_)) => return Upload::Server,
            Err(CopyError::Read(_)) => return Upload::Client,
        }
        if from_client.is_empty() {
            gone(&mut client_reader).await;
            return Upload::Client;
        }
        std::future::pending().await
    };
    let answer = async {
        let answer = loop {
            let read = read_head::<ResponseHead, _>(&mut server_reader, from_server);
            let answer = tokio::time::timeout(idle, read).await;
            let answer = match answer {
                Err(_elapsed) => return Err(Unanswered::TimedOut),
                Ok(Err(HeadError::Closed | HeadError::Io(_))) => return Err(Unanswered::Closed),
                Ok(Err(HeadError::TooLong | HeadError::Invalid(_))) => {
                    return Err(Unanswered::Invalid);
                }
                Ok(Ok(answer)) => answer,
            };
            if !answer.is_interim() {
                break answer;
            }
            if client_writer.write_all(&answer.forward(false)).await.is_err() {
                return Err(Unanswered::ClientLeft);
            }
        };
        if is_upstream && answer.status == 407 {
            return Err(Unanswered::Credentials);
        }
        let framing = answer.framing(&head.method).map_err(|_invalid| Unanswered::Invalid)?;
        let is_switch = answer.status == 101;
        if is_switch && !head.headers.upgrades() {
            return Err(Unanswered::Invalid);
        }
        let closes =
            closes || framing == Framing::UntilClose || !is_sent.load(Relaxed) && !is_switch;
        is_begun.store(true, Relaxed);
        if client_writer.write_all(&answer.forward(closes)).await.is_err() {
            return Err(Unanswered::ClientLeft);
        }
        if is_switch {
            return Ok(Done::Switch);
        }
        let server_closes = answer.minor == 0 || answer.headers.closes();
        let body =
            copy::body(&mut server_reader, &mut client_writer, framing, from_server, idle).await;
        Ok(match (body, closes || !is_sent.load(Relaxed), server_closes) {
            (Err(_), _, _) | (Ok(()), true, _) => Done::Close,
            (Ok(()), false, true) => Done::KeepClient,
            (Ok(()), false, false) => Done::KeepBoth,
        })
    };

    tokio::pin!(upload, answer);
    let mut is_uploading = true;
    let outcome = loop {
        tokio::select! {
            biased;
            outcome = &mut answer => break outcome,
            end = &mut upload, if is_uploading => match end {
                // The server may have responded without reading the whole request.
                Upload::Server => is_uploading = false,
                Upload::Client => break Err(Unanswered::ClientLeft),
            },
        }
    };
    match outcome {
        // A response that has begun cannot be replaced by an error page.
        Err(_) if is_begun.load(Relaxed) => Ok(Done::Close),
        outcome => outcome,
    }
}

/// Returns when the client has closed its side. Unread bytes hide the close until they are read.
pub async fn gone(client: &mut ReadHalf<'_>) {
    let mut byte = [0];
    match client.peek(&mut byte).await {
        Ok(0) | Err(_) => {}
        Ok(_) => std::future::pending().await,
    }
}
