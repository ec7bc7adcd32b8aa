//! Liveness, readiness and version of the server.

use std::time::Duration;

use actix_web::web::{Data, Json, ServiceConfig, get};
use actix_web::{HttpResponse, http::StatusCode};
use serde_json::{Value, json};
use tokio::time::timeout;
use tracing::warn;

use super::front::Front;
use super::problem::Problem;
use crate::service::core::Streaming;
use crate::system::desktop::NoRoom;

pub fn routes(config: &mut ServiceConfig) {
    config.route("/healthz", get().to(health)).route("/readyz", get().to(ready));
    for prefix in ["/v1", "/api/v1"] {
        config
            .route(&format!("{prefix}/version"), get().to(version))
            .route(&format!("{prefix}/config/runtime"), get().to(runtime));
    }
    config.route("/api/v1/heartbeat", get().to(heartbeat));
}

/// `GET /healthz`: answers while the process lives.
async fn health() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// The time that the check of free disk space may take.
const DISK: Duration = Duration::from_secs(2);

/// `GET /readyz`: answers 200 if the database answers and is the same one, the store of files works,
/// the disk has room, and the server is not stopping.
async fn ready(front: Data<Front>) -> Result<Json<Value>, Problem> {
    let stopping = front.world.journal.actors().iter().any(|actor| actor.phase == "draining");
    let reason = match front.db.ping().await {
        Err(cause) => {
            warn!("not ready: {cause}");
            "the database does not answer, or its file was replaced: see the log".to_owned()
        }
        Ok(()) if stopping => "the server is stopping".to_owned(),
        Ok(()) => match timeout(DISK, front.world.launcher.disk()).await {
            Ok(Ok(())) => match front.world.objects.health() {
                Ok(()) => return Ok(Json(json!({ "status": "ready" }))),
                Err(cause) => {
                    warn!("not ready: {cause}");
                    "the store of files does not work: see the log (storage)".to_owned()
                }
            },
            Ok(Err(NoRoom { available, needed, unit, setting, .. })) => format!(
                "the disk of the data directory is full: {available} {unit} are free, and {needed} \
                 must be ({setting})"
            ),
            Err(_late) => "the disk of the data directory does not answer".to_owned(),
        },
    };
    Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", reason).retryable())
}

/// `GET /v1/version`: the version of the server.
async fn version() -> Json<Value> {
    Json(json!({ "version": env!("CARGO_PKG_VERSION") }))
}

/// `GET /v1/config/runtime`: the viewer that the compatible API's pages should use. As there, it
/// needs no key.
async fn runtime(front: Data<Front>) -> Json<Value> {
    let label = match front.streaming {
        Streaming::Vnc => "VNC streaming",
        Streaming::Cdp => "Local browser streaming",
    };
    Json(json!({
        "browser_streaming_mode": front.streaming.as_str(),
        "browser_streaming_label": label,
        "environment": "local",
        "warnings": [],
    }))
}

/// `GET /api/v1/heartbeat`: a plain text, and a header with the version.
async fn heartbeat() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header(("X-Skyvern-API-Version", env!("CARGO_PKG_VERSION")))
        .content_type("text/plain; charset=utf-8")
        .body("Server is running.")
}
