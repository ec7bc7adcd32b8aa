//! One file that comes as a part of a form (`multipart/form-data`).

use actix_multipart::{Field, Multipart, MultipartError};
use actix_web::http::StatusCode;
use futures_util::StreamExt as _;
use tokio::time::timeout;
use utoipa::ToSchema;

use super::upload::{SILENCE, too_slow};
use crate::http::problem::Problem;
use crate::http::validation::{FieldError, PathStep, RequestPart};

/// The most parts of a form without a file, and the longest one, in bytes.
const MOST_PARTS: usize = 20;
const LONGEST_PART: usize = 64 * 1024;

/// The most bytes of a form beside its file.
pub(super) const AROUND_FILE: u64 = 64 * 1024;

/// A form with one file.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "it describes the form")]
pub struct UploadForm {
    /// The file. Its name is that of the part, unless the query has one.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
}

/// Returns the next part of a form.
async fn next(form: &mut Multipart) -> Result<Option<Field>, Problem> {
    let next = timeout(SILENCE, form.next()).await.map_err(|_late| too_slow())?;
    next.transpose().map_err(|cause| unreadable(&cause))
}

/// Returns the problem of a form that cannot be read.
pub(super) fn unreadable(cause: &MultipartError) -> Problem {
    let detail = format!("the form could not be read: {cause}");
    Problem::new(StatusCode::BAD_REQUEST, "body_unreadable", detail).closing()
}

fn wrong(reason: &str) -> Problem {
    let file = [PathStep::Name("file".to_owned())];
    let error = FieldError::new(RequestPart::Body, file, "value_error", reason);
    Problem::invalid(vec![error]).closing()
}

/// Returns the part with the file, and the name that the part gives it. Parts before it are ignored.
pub(super) async fn file(form: &mut Multipart) -> Result<(Field, String), Problem> {
    for _ in 0..MOST_PARTS {
        let Some(mut part) = next(form).await? else {
            return Err(wrong("expected a part with a file and its name"));
        };
        let name = part.content_disposition().and_then(|it| it.get_filename());
        if let Some(name) = name.map(str::to_owned) {
            return Ok((part, name));
        }
        ignore(&mut part).await?;
    }
    Err(wrong("expected the file among the first 20 parts of the form"))
}

/// Reads the parts after the file, which must not have another one.
pub(super) async fn end(form: &mut Multipart) -> Result<(), Problem> {
    for _ in 0..MOST_PARTS {
        let Some(mut part) = next(form).await? else { return Ok(()) };
        if part.content_disposition().is_some_and(|it| it.get_filename().is_some()) {
            return Err(wrong("expected one file: send others by requests of their own"));
        }
        ignore(&mut part).await?;
    }
    Err(wrong("expected at most 20 parts after the file"))
}

async fn ignore(part: &mut Field) -> Result<(), Problem> {
    let mut left = LONGEST_PART;
    loop {
        let chunk = timeout(SILENCE, part.next()).await.map_err(|_late| too_slow())?;
        let Some(chunk) = chunk.transpose().map_err(|cause| unreadable(&cause))? else {
            return Ok(());
        };
        let rest = left.checked_sub(chunk.len());
        left = rest.ok_or_else(|| wrong("expected at most 65536 bytes in the other parts"))?;
    }
}
