//! Work that goes on to its end when its client goes away: a request that is not waited for any more
//! is dropped in the middle otherwise.

use actix_web::http::StatusCode;

use super::error::ApiError;
use super::problem::Problem;

/// What becomes of `work`, which is done whether this is waited for or not.
///
/// # Errors
///
/// Those of the work; 500 when it panicked.
pub async fn lasting<T: 'static>(
    work: impl Future<Output = Result<T, ApiError>> + 'static,
) -> Result<T, ApiError> {
    let worked = actix_web::rt::spawn(work).await;
    worked.map_err(|cause| {
        tracing::error!("a request broke: {cause}");
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Problem::new(status, "internal", "the request could not be finished")
    })?
}
