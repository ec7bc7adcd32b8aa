//! `/admin/nodes`: the servers that use the database.

use actix_web::web::{Data, Json};
use serde_json::{Value, json};

use crate::db;
use crate::http::caller::Operator;
use crate::http::error::ApiError;
use crate::http::front::Front;

/// Lists the nodes that have ever used the database, the most recently seen first. `this` is the one that answers.
#[utoipa::path(
    get,
    path = "/admin/nodes",
    tag = "Operation",
    responses(
        (status = 200, description = "`nodes`: id, host name, address, version, start and last sign of life of each"),
        (status = 403, description = "This is not the operator key"),
        (status = 503, description = "The database does not answer"),
    ),
)]
pub async fn list(_: Operator, front: Data<Front>) -> Result<Json<Value>, ApiError> {
    let now = front.world.clock.now();
    let nodes = db::nodes::list(&front.db).await?;
    let shown = nodes.iter().map(|node| {
        let this = node.id == front.world.node;
        json!({
            "node_id": node.id.to_string(),
            "hostname": node.hostname,
            "address": node.address,
            "boot_id": node.boot_id,
            "version": node.version,
            "started_at": node.started_at,
            "seen_at": node.seen_at,
            "this": this,
            "alive": this || node.was_seen_recently(now),
        })
    });
    Ok(Json(json!({ "nodes": shown.collect::<Vec<_>>() })))
}
