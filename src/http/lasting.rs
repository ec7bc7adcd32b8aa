//! Work that continues when its client disconnects: otherwise the framework drops the handler's
//! future at its next await.

use actix_web::http::StatusCode;

use super::error::ApiError;
use super::problem::Problem;
use crate::actors::requester::Requester;
use crate::traces;

/// The same work on behalf of the current request, and in its trace: for a task of its own.
pub fn carried<F: Future>(work: F) -> impl Future<Output = F::Output> {
    Requester::carried(traces::carried(work))
}

/// Runs `work` to its end, even if this future is dropped, and returns its result.
///
/// # Errors
///
/// Those of the work; 500 when it panicked.
pub async fn lasting<T: 'static>(
    work: impl Future<Output = Result<T, ApiError>> + 'static,
) -> Result<T, ApiError> {
    let worked = actix_web::rt::spawn(carried(work)).await;
    worked.map_err(|cause| {
        tracing::error!("a request panicked: {cause}");
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Problem::new(status, "internal", "the request could not be finished")
    })?
}
