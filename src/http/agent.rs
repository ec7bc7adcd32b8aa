//! `POST /v1/agent/callbacks`: an agent reports the progress of the block that it executes.
//!
//! The agent gets this address, with its pass, together with the block. The pass is its only
//! credential.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Json, ServiceConfig, post};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::IntoParams;

use super::body::{Body, Query};
use super::error::ApiError;
use super::front::Front;
use super::problem::Problem;
use crate::actors::registry::RouteRun;
use crate::actors::run::AgentSays;
use crate::workflow::agent::AgentReport;

pub fn routes(config: &mut ServiceConfig) {
    config.route("/v1/agent/callbacks", post().to(said));
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Credential {
    /// The pass, as in the address that the agent was given.
    pass: String,
}

/// Reports the progress of a block that an agent executes.
#[utoipa::path(
    post,
    path = "/v1/agent/callbacks",
    tag = "Agent",
    params(Credential),
    request_body(
        content = Object,
        description = "`{status: running | completed | failed | terminated, output, progress, \
                       failure_reason}`",
    ),
    responses(
        (status = 200, description = "The report was received"),
        (status = 410, description = "The block has ended: stop"),
        (status = 422, description = "Fields are invalid; `detail` lists them"),
    ),
)]
pub async fn said(
    Query(Credential { pass }): Query<Credential>,
    body: Body<AgentReport>,
    front: Data<Front>,
) -> Result<Json<Value>, ApiError> {
    let over = || {
        let detail = "the block has ended, or never began: stop";
        Problem::new(StatusCode::GONE, "agent_block_over", detail)
    };
    let scope = front.world.passes.scope(&pass).ok_or_else(over)?;
    let message = AgentSays { block: scope.block, said: body.0 };
    let route = RouteRun { organization: scope.organization, run: scope.run, message };
    front.registry.ask(route).await??;
    Ok(Json(json!({ "heard": true })))
}
