//! Files as answers: ranges, and headers with which no file runs as a page of ours.

use actix_files::NamedFile;
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, ContentType, HeaderValue};
use actix_web::{HttpRequest, HttpResponse};
use tracing::error;

use super::problem::Problem;

/// Returns a file as an answer. Range requests work as in RFC 9110 (section 14), so that players
/// can seek in a recording. `name` is that for the client, and `cache` the value of `Cache-Control`.
///
/// # Errors
///
/// 500 if the name is no valid header.
pub fn answer(
    file: NamedFile,
    name: &str,
    media_type: &str,
    cache: &'static str,
    request: &HttpRequest,
) -> Result<HttpResponse, Problem> {
    let content_type = media_type.parse().unwrap_or_else(|_odd| ContentType::octet_stream().0);
    let response = if file.metadata().len() == 0 {
        // An empty file has no ranges.
        HttpResponse::Ok().content_type(content_type).finish()
    } else {
        file.set_content_type(content_type)
            .prefer_utf8(false)
            .disable_content_disposition()
            .into_response(request)
    };
    headed(response, name, media_type, cache)
}

/// Adds the headers of a file to the answer with its content.
///
/// # Errors
///
/// 500 if the name is no valid header.
pub fn headed(
    mut response: HttpResponse,
    name: &str,
    media_type: &str,
    cache: &'static str,
) -> Result<HttpResponse, Problem> {
    let disposition = HeaderValue::from_str(&disposition(name, media_type)).map_err(|cause| {
        error!("the name of a file is not a valid header: {cause}");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the file cannot be named")
    })?;
    let headers = response.headers_mut();
    headers.insert(CONTENT_DISPOSITION, disposition);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache));
    Ok(response)
}

/// Returns the `Content-Disposition` of a file. A browser shows only media types that cannot run
/// scripts in our origin; it downloads the others.
pub fn disposition(name: &str, media_type: &str) -> String {
    let shown = matches!(
        media_type,
        "image/png"
            | "image/jpeg"
            | "image/gif"
            | "image/webp"
            | "video/mp4"
            | "video/webm"
            | "application/pdf"
    );
    let kind = if shown { "inline" } else { "attachment" };
    let plain: String = name
        .chars()
        .map(|c| if c.is_ascii_graphic() && !"\"\\".contains(c) { c } else { '_' })
        .collect();
    let encoded: String = url::form_urlencoded::byte_serialize(name.as_bytes()).collect();
    let encoded = encoded.replace('+', "%20");
    format!("{kind}; filename=\"{plain}\"; filename*=UTF-8''{encoded}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_shown_and_pages_are_downloaded_under_their_own_name() {
        let picture = disposition("end.png", "image/png");
        assert_eq!(picture, "inline; filename=\"end.png\"; filename*=UTF-8''end.png");
        let page = disposition("Übersicht 1.html", "text/html");
        assert_eq!(
            page,
            "attachment; filename=\"_bersicht_1.html\"; filename*=UTF-8''%C3%9Cbersicht%201.html"
        );
    }
}
