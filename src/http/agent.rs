//! `POST /v1/agent/callbacks`: an agent says how the block goes that it executes.
//!
//! The address was given to it with the block, and its pass is all that it needs.

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
use crate::workflow::agent::Said;

/// Adds the route.
pub fn routes(config: &mut ServiceConfig) {
    config.route("/v1/agent/callbacks", post().to(said));
}

/// The query of the request.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Credential {
    /// As in the address that the agent was given.
    pass: String,
}

/// An agent says how the block goes that it executes.
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
        (status = 200, description = "It was heard"),
        (status = 410, description = "The block does not go on: stop"),
        (status = 422, description = "Fields are at fault"),
    ),
)]
pub async fn said(
    Query(Credential { pass }): Query<Credential>,
    body: Body<Said>,
    front: Data<Front>,
) -> Result<Json<Value>, ApiError> {
    let over = || {
        let detail = "the block does not go on, or never did: stop";
        Problem::new(StatusCode::GONE, "agent_block_over", detail)
    };
    let errand = front.world.passes.errand(&pass).ok_or_else(over)?;
    let message = AgentSays { block: errand.block, said: body.0 };
    let route = RouteRun { organization: errand.organization, run: errand.run, message };
    front.registry.ask(route).await??;
    Ok(Json(json!({ "heard": true })))
}
