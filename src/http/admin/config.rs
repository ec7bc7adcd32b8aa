//! `/admin/config`: the settings in force.

use actix_web::web::{Data, Json};
use serde_json::Value;

use crate::http::caller::Operator;
use crate::http::front::Front;

/// Shows the settings in force, as `greenroom config --json` does: secrets are masked, and `origins` has the source of each
/// setting: the default, a file, a variable or a flag.
#[utoipa::path(
    get,
    path = "/admin/config",
    tag = "Operation",
    responses(
        (status = 200, description = "`settings` and `origins`"),
        (status = 403, description = "This is not the operator key"),
    ),
)]
pub async fn show(_: Operator, front: Data<Front>) -> Json<Value> {
    Json((*front.config).clone())
}
