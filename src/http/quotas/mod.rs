//! Quotas of organizations over HTTP: admission of requests, answers with their headers, and the use.
//!
//! The decisions are those of `actors/quotas`. Whatever is refused becomes 429 `quota_exceeded` with
//! `Retry-After` and `X-RateLimit-*`, also for a WebSocket's handshake. The responses to an organization with
//! many refusals are delayed, see [`Refusals`]; many requests at once take turns, see `admission.rs`.

mod admission;
mod answers;
mod change;
mod headers;
mod holding;
pub mod resource;
mod turns;
mod usage;

use actix_web::web::{ServiceConfig, get};

pub(in crate::http) use self::admission::{admit, admitted};
pub use self::answers::answers;
pub use self::change::{changed, checked};
pub use self::headers::HEADERS;
pub(in crate::http) use self::headers::Refused;
pub use self::holding::Refusals;
pub use self::resource::{QuotaUse, Uses, uses};
pub use self::turns::Turns;

pub fn routes(config: &mut ServiceConfig) {
    config.route("/v1/quotas", get().to(resource::own));
}
