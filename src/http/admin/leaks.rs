//! `/admin/leaks`: leaked resources, and their removal.

use actix_web::web::{Data, Json};
use serde_json::{Value, json};

use crate::actors::ledger::Fixed;
use crate::http::caller::Operator;
use crate::http::error::ApiError;
use crate::http::front::Front;

/// Lists leaks: resources of sessions and runs that have ended, and wrong records of live ones. A healthy
/// server has none.
#[utoipa::path(
    get,
    path = "/admin/leaks",
    tag = "Operation",
    responses(
        (status = 200, description = "`healthy`, and the list `leaks`: `kind`, `what`, `session`, \
            `run`, `since`, `why`, `fixable`, `remedy`"),
        (status = 403, description = "This is not the operator key"),
        (status = 503, description = "The database does not answer"),
    ),
)]
pub async fn show(_: Operator, front: Data<Front>) -> Result<Json<Value>, ApiError> {
    let leaks = front.ledger.inspect().await?;
    Ok(Json(json!({ "healthy": leaks.is_empty(), "leaks": leaks })))
}

/// Removes the leaks that provably belong to this server, and searches again.
#[utoipa::path(
    post,
    path = "/admin/leaks/fix",
    tag = "Operation",
    responses(
        (status = 200, description = "`removed`, and as `leaks` the leaks that remain"),
        (status = 403, description = "This is not the operator key"),
        (status = 503, description = "The database does not answer"),
    ),
)]
pub async fn fix(_: Operator, front: Data<Front>) -> Result<Json<Value>, ApiError> {
    let Fixed { removed, left } = front.ledger.fix().await?;
    Ok(Json(json!({ "healthy": left.is_empty(), "removed": removed, "leaks": left })))
}
