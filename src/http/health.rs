//! Whether the server lives, whether it takes new work, and what it is.

use actix_web::web::{Data, Json, ServiceConfig, get};
use actix_web::{HttpResponse, http::StatusCode};
use serde_json::{Value, json};

use super::front::Front;
use super::problem::Problem;
use super::settings::Streaming;

/// Adds the routes.
pub fn routes(config: &mut ServiceConfig) {
    config.route("/healthz", get().to(health)).route("/readyz", get().to(ready));
    for prefix in ["/v1", "/api/v1"] {
        config
            .route(&format!("{prefix}/version"), get().to(version))
            .route(&format!("{prefix}/config/runtime"), get().to(runtime));
    }
    config.route("/api/v1/heartbeat", get().to(heartbeat));
}

/// `GET /healthz`: the process answers.
async fn health() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// `GET /readyz`: the database answers, and the server is not stopping.
async fn ready(front: Data<Front>) -> Result<Json<Value>, Problem> {
    let stopping = front.world.journal.actors().iter().any(|actor| actor.phase == "draining");
    let reason = match front.db.ping().await {
        Err(_) => "the database does not answer",
        Ok(()) if stopping => "the server is stopping",
        Ok(()) => return Ok(Json(json!({ "status": "ready" }))),
    };
    Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", reason).retryable())
}

/// `GET /v1/version`.
async fn version() -> Json<Value> {
    Json(json!({ "version": env!("CARGO_PKG_VERSION") }))
}

/// `GET /v1/config/runtime`: which viewer the compatible API's pages use. Asks for no key, as
/// there.
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

/// `GET /api/v1/heartbeat`.
async fn heartbeat() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header(("X-Skyvern-API-Version", env!("CARGO_PKG_VERSION")))
        .content_type("text/plain; charset=utf-8")
        .body("Server is running.")
}
