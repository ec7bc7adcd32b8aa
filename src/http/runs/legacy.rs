//! `/api/v1`: the older form of the routes of runs, which pages of the compatible API still use.

use actix_web::web::{Data, ServiceConfig, get, post};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{artifacts, cancel, list, show, start, timeline};
use crate::domain::ids::WorkflowPermanentId;
use crate::http::body::{PathId, RawBody, parse, parse_value};
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::idempotency::Once;

/// The names of request members in the older form, each with its newer name.
const RENAMED: [(&str, &str); 3] = [
    ("data", "parameters"),
    ("webhook_callback_url", "webhook_url"),
    ("totp_verification_url", "totp_url"),
];

pub(super) fn routes(config: &mut ServiceConfig) {
    config
        .route("/api/v1/runs", get().to(list::runs))
        .route(
            "/api/v1/runs/{session}/workflow_run/{run}/cancel",
            post().to(cancel::cancel_in_session),
        )
        .route("/api/v1/workflows/runs", get().to(list::workflow_runs))
        .route("/api/v1/workflows/runs/{run}", get().to(show::show_with_workflow))
        .route("/api/v1/workflows/runs/{run}/cancel", post().to(cancel::cancel))
        .route("/api/v1/workflows/{workflow}/run", post().to(start_in_path))
        .route("/api/v1/workflows/{workflow}/runs", get().to(list::runs_of_workflow))
        .route("/api/v1/workflows/{workflow}/runs/{run}", get().to(show::show_in_workflow))
        .route(
            "/api/v1/workflows/{workflow}/runs/{run}/timeline",
            get().to(timeline::timeline_in_workflow),
        )
        .route("/api/v1/workflow_run/{run}/artifacts", get().to(artifacts::artifacts))
        .route(
            "/api/v1/workflow_run_block/{block}/artifacts",
            get().to(artifacts::artifacts_of_block),
        );
}

/// The response for a run that was started.
#[derive(Debug, Serialize)]
struct Started {
    workflow_id: String,
    agent_id: String,
    workflow_run_id: String,
    agent_run_id: String,
}

/// Converts a request to the newer form.
fn renewed(body: Map<String, Value>, workflow: WorkflowPermanentId) -> Value {
    let renamed = body.into_iter().map(|(name, value)| {
        let newer = RENAMED.iter().find(|(older, _)| *older == name);
        (newer.map_or(name, |(_, newer)| (*newer).to_owned()), value)
    });
    let mut body: Map<String, Value> = renamed.collect();
    body.insert("workflow_id".to_owned(), workflow.to_string().into());
    Value::Object(body)
}

/// Handles the legacy route `POST /api/v1/workflows/{workflow}/run`.
async fn start_in_path(
    caller: Caller,
    PathId(id): PathId<WorkflowPermanentId>,
    RawBody(body): RawBody,
    request: HttpRequest,
    front: Data<Front>,
) -> Result<HttpResponse, ApiError> {
    let once = Once::of(caller, &request, &format!("POST /v1/workflows/{id}/run"), &body, &front)?;
    let echo = renewed(parse(&body)?, id);
    let asked: start::Request = parse_value(&echo)?;
    once.answer(async move |named| {
        let run = start::begin_latest(&front, caller, &asked, echo, named).await?;
        Ok(Started {
            workflow_id: id.to_string(),
            agent_id: id.to_string(),
            workflow_run_id: run.run_id.clone(),
            agent_run_id: run.run_id,
        })
    })
    .await
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn older_names_become_newer_ones() {
        let body = json!({"data": {"a": 1}, "webhook_callback_url": "https://a.example/"});
        let body = body.as_object().unwrap().clone();
        assert_eq!(
            renewed(body, 7.into()),
            json!({
                "workflow_id": "wpid_7", "parameters": {"a": 1},
                "webhook_url": "https://a.example/",
            })
        );
    }
}
