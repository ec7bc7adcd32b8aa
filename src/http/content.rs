//! The content of a stored file: from a file of this machine, or through the server from the store.

use std::io;
use std::time::Duration;

use actix_files::NamedFile;
use actix_web::body::SizedStream;
use actix_web::http::StatusCode;
use actix_web::http::header::{
    ACCEPT_RANGES, CONTENT_RANGE, ETAG, EntityTag, Header, HttpDate, IfMatch, IfModifiedSince,
    IfNoneMatch, IfRange, IfUnmodifiedSince, LAST_MODIFIED, Range,
};
use actix_web::web;
use actix_web::{HttpMessage as _, HttpRequest, HttpResponse, HttpResponseBuilder};
use chrono::{DateTime, Utc};
use tracing::error;

use super::error::ApiError;
use super::problem::Problem;
use crate::system::objects::{ObjectError, Objects};

/// A stored file, as its record describes it.
#[derive(Debug)]
pub struct StoredFile<'a> {
    /// The key of its object.
    pub key: &'a str,
    pub media_type: mime_guess::Mime,
    /// The size in bytes.
    pub size: u64,
    /// The hash of the content, which identifies its version.
    pub checksum: Option<&'a str>,
    /// The time at which it was stored.
    pub modified: DateTime<Utc>,
}

/// Answers a request for the content of a file, with ranges and conditions as in RFC 9110.
///
/// # Errors
///
/// 410 `artifact_lost` without the object; 503 `storage_unavailable` without the store, and for a file that cannot
/// be opened.
pub async fn content(
    objects: &Objects,
    file: &StoredFile<'_>,
    request: &HttpRequest,
) -> Result<HttpResponse, ApiError> {
    if file.size == 0 {
        // An empty file has no ranges.
        objects.head(file.key).await.map_err(|cause| failed(file.key, cause))?;
        return Ok(HttpResponse::Ok().content_type(file.media_type.clone()).finish());
    }
    if let Some(path) = objects.local_file(file.key) {
        let opened = web::block(move || NamedFile::open(path)).await;
        let opened = opened.unwrap_or_else(|cause| Err(io::Error::other(cause)));
        match opened {
            Ok(opened) => {
                let opened = opened.set_content_type(file.media_type.clone());
                let opened = opened.prefer_utf8(false).disable_content_disposition();
                return Ok(opened.into_response(request));
            }
            // A file that cannot be opened now, such as for want of descriptors, is not lost.
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                return Err(unreadable(file.key, &cause).into());
            }
            // A file of the outbox may have reached the store in the meantime.
            Err(_) if objects.is_shared() => {}
            Err(cause) => return Err(lost(file.key, &cause).into()),
        }
    }
    streamed(objects, file, request).await
}

fn lost(key: &str, cause: &dyn std::fmt::Display) -> Problem {
    error!("the object {key} cannot be read: {cause}");
    Problem::new(StatusCode::GONE, "artifact_lost", "the file no longer exists")
}

fn unreadable(key: &str, cause: &io::Error) -> Problem {
    error!("the object {key} cannot be read now: {cause}");
    let detail = "the file cannot be read now: try again; the server's log has the cause";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "storage_unavailable", detail)
        .retry_after(Duration::from_secs(1))
}

fn failed(key: &str, cause: ObjectError) -> ApiError {
    match cause {
        ObjectError::Missing { .. } => lost(key, &cause).into(),
        ObjectError::StoreAway { .. }
        | ObjectError::Refused { .. }
        | ObjectError::Full { .. }
        | ObjectError::TooLarge { .. }
        | ObjectError::Misconfigured { .. }
        | ObjectError::File { .. }
        | ObjectError::BadKey { .. } => cause.into(),
    }
}

/// Streams a file from the store. The conditions are decided by its record.
async fn streamed(
    objects: &Objects,
    file: &StoredFile<'_>,
    request: &HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let tag = file.checksum.map(|checksum| EntityTag::new_strong(checksum.to_owned()));
    let described = |mut response: HttpResponseBuilder| {
        if let Some(tag) = &tag {
            response.insert_header((ETAG, tag.to_string()));
        }
        let modified = HttpDate::from(std::time::SystemTime::from(file.modified));
        response.insert_header((LAST_MODIFIED, modified));
        response.insert_header((ACCEPT_RANGES, "bytes"));
        response
    };
    let conditions = Conditions::of(request);
    let (status, range) = conditions.decide(tag.as_ref(), file.modified, file.size);
    if matches!(status, StatusCode::NOT_MODIFIED | StatusCode::PRECONDITION_FAILED) {
        return Ok(described(HttpResponse::build(status)).finish());
    }
    let Some((first, last)) = range else {
        let mut response = described(HttpResponse::build(status));
        response.insert_header((CONTENT_RANGE, format!("bytes */{}", file.size)));
        return Ok(response.finish());
    };
    let (end, whole) = (last.saturating_add(1), status == StatusCode::OK);
    let reading = match whole {
        true => objects.read(file.key).await,
        false => objects.read_range(file.key, first..end).await,
    };
    let reading = reading.map_err(|cause| failed(file.key, cause))?;
    if reading.size != file.size {
        let cause = format!("it has {} bytes instead of {}", reading.size, file.size);
        return Err(lost(file.key, &cause).into());
    }
    let mut response = described(HttpResponse::build(status));
    response.content_type(file.media_type.clone());
    if !whole {
        response.insert_header((CONTENT_RANGE, format!("bytes {first}-{last}/{}", file.size)));
    }
    Ok(response.body(SizedStream::new(end.saturating_sub(first), reading.bytes)))
}

/// The conditions of a request, and the range that it names.
#[derive(Debug)]
struct Conditions {
    matches: Option<IfMatch>,
    none_match: Option<IfNoneMatch>,
    unmodified_since: Option<IfUnmodifiedSince>,
    modified_since: Option<IfModifiedSince>,
    if_range: Option<IfRange>,
    range: Option<Range>,
}

impl Conditions {
    fn of(request: &HttpRequest) -> Self {
        fn given<H: Header>(request: &HttpRequest) -> Option<H> {
            request.headers().contains_key(H::name()).then(|| request.get_header()).flatten()
        }
        Self {
            matches: given(request),
            none_match: given(request),
            unmodified_since: given(request),
            modified_since: given(request),
            if_range: given(request),
            range: given(request),
        }
    }

    /// The status, and the first and the last byte to send; none for an empty answer. The order is
    /// that of RFC 9110, section 13.2.2.
    fn decide(
        &self,
        tag: Option<&EntityTag>,
        modified: DateTime<Utc>,
        size: u64,
    ) -> (StatusCode, Option<(u64, u64)>) {
        let all = Some((0, size.saturating_sub(1)));
        let seconds = |date: &HttpDate| DateTime::<Utc>::from(std::time::SystemTime::from(*date));
        let is_newer = |date: &HttpDate| modified.timestamp() > seconds(date).timestamp();
        let holds = match (&self.matches, &self.unmodified_since) {
            (Some(IfMatch::Any), _) => true,
            (Some(IfMatch::Items(tags)), _) => {
                tag.is_some_and(|tag| tags.iter().any(|other| other.strong_eq(tag)))
            }
            (None, Some(IfUnmodifiedSince(date))) => !is_newer(date),
            (None, None) => true,
        };
        if !holds {
            return (StatusCode::PRECONDITION_FAILED, None);
        }
        let is_known = match (&self.none_match, &self.modified_since) {
            (Some(IfNoneMatch::Any), _) => true,
            (Some(IfNoneMatch::Items(tags)), _) => {
                tag.is_some_and(|tag| tags.iter().any(|other| other.weak_eq(tag)))
            }
            (None, Some(IfModifiedSince(date))) => !is_newer(date),
            (None, None) => false,
        };
        if is_known {
            return (StatusCode::NOT_MODIFIED, None);
        }
        let is_current = match &self.if_range {
            Some(IfRange::EntityTag(known)) => tag.is_some_and(|tag| tag.strong_eq(known)),
            Some(IfRange::Date(date)) => !is_newer(date),
            None => true,
        };
        match &self.range {
            // Several ranges are answered with the whole, as the RFC permits.
            Some(Range::Bytes(ranges)) if is_current => match ranges.as_slice() {
                [range] => match range.to_satisfiable_range(size) {
                    Some(range) => (StatusCode::PARTIAL_CONTENT, Some(range)),
                    None => (StatusCode::RANGE_NOT_SATISFIABLE, None),
                },
                _ => (StatusCode::OK, all),
            },
            Some(Range::Bytes(_) | Range::Unregistered(..)) | None => (StatusCode::OK, all),
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn conditions_and_ranges_are_decided_as_in_the_rfc() {
        let modified = DateTime::from_timestamp(1_000_000_000, 400_000_000).unwrap();
        let tag = EntityTag::new_strong("abc".to_owned());
        let decide = |headers: &[(&str, &str)]| {
            let request = headers.iter().fold(TestRequest::get(), |request, (name, value)| {
                request.insert_header((*name, *value))
            });
            let conditions = Conditions::of(&request.to_http_request());
            let (status, range) = conditions.decide(Some(&tag), modified, 10);
            (status.as_u16(), range)
        };
        let whole = (200, Some((0, 9)));
        let then = "Sun, 09 Sep 2001 01:46:40 GMT";
        let before = "Sun, 09 Sep 2001 01:46:39 GMT";
        for (headers, expected) in [
            (vec![], whole),
            (vec![("Range", "bytes=2-4")], (206, Some((2, 4)))),
            (vec![("Range", "bytes=-3")], (206, Some((7, 9)))),
            (vec![("Range", "bytes=8-99")], (206, Some((8, 9)))),
            (vec![("Range", "bytes=10-")], (416, None)),
            (vec![("Range", "bytes=0-1,4-5")], whole),
            (vec![("Range", "lines=0-1")], whole),
            (vec![("Range", "bytes=2-4"), ("If-Range", "\"abc\"")], (206, Some((2, 4)))),
            (vec![("Range", "bytes=2-4"), ("If-Range", "\"abd\"")], whole),
            (vec![("If-None-Match", "\"abc\"")], (304, None)),
            (vec![("If-None-Match", "W/\"abc\", \"x\"")], (304, None)),
            (vec![("If-None-Match", "\"abd\"")], whole),
            (vec![("If-None-Match", "\"abd\""), ("If-Modified-Since", then)], whole),
            (vec![("If-Modified-Since", then)], (304, None)),
            (vec![("If-Modified-Since", before)], whole),
            (vec![("If-Match", "\"abc\"")], whole),
            (vec![("If-Match", "*")], whole),
            (vec![("If-Match", "\"abd\"")], (412, None)),
            (vec![("If-Unmodified-Since", before)], (412, None)),
            (vec![("If-Unmodified-Since", then)], whole),
        ] {
            assert_eq!(decide(&headers), expected, "{headers:?}");
        }
    }
}
