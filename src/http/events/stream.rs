//! Events as a stream, `text/event-stream`.
//!
//! Events are read from the database one page at a time, and only when the client has received the
//! page before. So a slow client holds up no other client and costs no memory. The server wakes the
//! stream when it has stored an event. Events stored by other servers are found with each heartbeat.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::{Bytes, Data};
use futures_util::stream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tracing::warn;

use super::{Front, Position, Problem};
use crate::actors::quotas;
use crate::db;
use crate::domain::event::Event;
use crate::http::error::ApiError;
use crate::service::keys::Revocation;
use crate::service::resources::event::{EventResource, Reset};

/// The interval of heartbeats on an idle stream.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// The time to wait when the database does not respond.
const RETRY_DELAY: Duration = Duration::from_secs(2);

/// The number of events read at a time.
const MOST: u32 = 200;

struct Reader {
    front: Data<Front>,
    place: Position,
    latest: watch::Receiver<i64>,
    /// True if there may be events that were not read.
    behind: bool,
    greeted: bool,
    key: Revocation,
    _permit: OwnedSemaphorePermit,
    _quota: quotas::QuotaPermit,
}

/// Opens a stream that starts at `place`.
pub(super) fn open(
    front: &Data<Front>,
    place: Position,
    quota: quotas::QuotaPermit,
    key: Revocation,
) -> Result<HttpResponse, ApiError> {
    let Ok(permit) = std::sync::Arc::clone(&front.streams).try_acquire_owned() else {
        let detail = "the limit of open event streams is reached (http.max_event_streams)";
        let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_streams", detail);
        return Err(problem.retry_after(Duration::from_secs(5)).into());
    };
    let reader = Reader {
        latest: front.world.events.latest(place.organization),
        front: front.clone(),
        place,
        behind: true,
        greeted: false,
        key,
        _permit: permit,
        _quota: quota,
    };
    let chunks = stream::unfold(reader, |mut reader| async move {
        let chunk = reader.next().await?;
        Some((Ok::<_, Infallible>(chunk), reader))
    });
    Ok(HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header(("Cache-Control", "no-store"))
        .insert_header(("X-Accel-Buffering", "no"))
        .streaming(chunks))
}

impl Reader {
    /// Returns the next chunk to send; none when the server stops or the key was revoked.
    async fn next(&mut self) -> Option<Bytes> {
        if !std::mem::replace(&mut self.greeted, true) {
            // Sent at once, so that the client knows that it is connected.
            return Some(Bytes::from_static(b": events\nretry: 2000\n\n"));
        }
        loop {
            if self.key.is_revoked() {
                return None; // Checked before each page of missed events.
            }
            if self.behind {
                match self.read().await {
                    Ok(Some(chunk)) => return Some(chunk),
                    Ok(None) => {}
                    Err(cause) => {
                        warn!("an event stream waits for the database: {cause}");
                        tokio::select! {
                            () = tokio::time::sleep(RETRY_DELAY) => {}
                            () = self.front.closing.cancelled() => return None,
                            () = self.key.revoked() => return None,
                        }
                        return Some(Bytes::from_static(b": the database is unavailable\n\n"));
                    }
                }
            }
            let after = self.place.after;
            tokio::select! {
                () = self.key.revoked() => return None,
                _ = self.latest.wait_for(|seq| *seq > after) => self.behind = true,
                () = tokio::time::sleep(HEARTBEAT) => {
                    self.behind = true;
                    // The heartbeat carries the position, which events of other sessions have
                    // advanced.
                    return Some(format!(": heartbeat\nid: {after}\n\n").into());
                }
                () = self.front.closing.cancelled() => return None,
            }
        }
    }

    async fn read(&mut self) -> Result<Option<Bytes>, db::DbError> {
        let Position { organization, session, .. } = self.place;
        let extent = db::events::extent(&self.front.db, organization).await?;
        let reset = self.place.settle(extent);
        let after = self.place.after;
        let events = db::events::after(&self.front.db, organization, session, after, MOST).await?;
        match events.last() {
            Some(event) => self.place.after = event.seq,
            None => {
                // Up to here there is no event of this session.
                self.place.after = after.max(extent.last);
                self.behind = false;
            }
        }
        let chunk = written(reset, &events);
        Ok((!chunk.is_empty()).then(|| chunk.into()))
    }
}

/// Formats events as the stream requires. JSON contains no line breaks.
fn written(reset: Option<Reset>, events: &[Event]) -> String {
    let mut text = String::new();
    if let Some(reset) = reset {
        let data = serde_json::to_string(&reset).unwrap_or_default();
        let _ = write!(text, "event: reset\ndata: {data}\n\n"); // A `String` accepts all.
    }
    for event in events {
        let resource = EventResource::from(event);
        let data = serde_json::to_string(&resource).unwrap_or_default();
        let EventResource { seq, kind, .. } = resource;
        let _ = write!(text, "id: {seq}\nevent: {kind}\ndata: {data}\n\n"); // As above.
    }
    text
}
