//! `/admin/pool`: the desktops that run before a session asks for one.

use actix_web::web::{Data, Json};

use crate::actors::pool::PoolStatus;
use crate::http::caller::Operator;
use crate::http::front::Front;

/// Shows the desktops that wait for a session, and how many sessions got one.
#[utoipa::path(
    get,
    path = "/admin/pool",
    tag = "Operation",
    responses((status = 200, description = "The state of the pool", body = PoolStatus)),
)]
pub async fn show(front: Data<Front>, _: Operator) -> Json<PoolStatus> {
    Json(front.world.pool.status())
}
