//! The answer to a client whose request is refused or has failed.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::refusal::{Failure, Form};

/// Responds with a refusal or a failure and closes. Remaining input of the client is drained, so
/// that a reset does not discard the response.
pub async fn reply(client: &mut TcpStream, failure: &Failure, form: Form) {
    if client.write_all(&failure.response(form)).await.is_err() || client.shutdown().await.is_err()
    {
        return;
    }
    let mut sink = tokio::io::sink();
    let drain = tokio::io::copy(client, &mut sink);
    let _ = tokio::time::timeout(Duration::from_secs(2), drain).await;
}
