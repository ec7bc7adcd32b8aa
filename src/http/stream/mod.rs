//! `/v1/stream/…`: live pictures of sessions, over WebSockets.

mod vnc;

use actix_web::web::{ServiceConfig, get};

/// Adds the routes. The compatible API has them under two prefixes.
pub fn routes(config: &mut ServiceConfig) {
    for prefix in ["/v1", "/api/v1"] {
        config.route(&format!("{prefix}/stream/vnc/browser_session/{{id}}"), get().to(vnc::vnc));
    }
}
