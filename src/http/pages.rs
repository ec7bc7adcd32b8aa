//! The pages in the binary: the console, the view of a session, the wall, the reference of the API, and their assets.
//!
//! They are built from `web/` before the binary, and embedded whole. A page carries no secrets: it
//! gets a ticket from its address or from the person who opened it.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH,
    LOCATION, VARY,
};
use actix_web::middleware::Next;
use actix_web::web::{Bytes, Data, Path, ServiceConfig};
use actix_web::{Error, HttpRequest, HttpResponse, web};
use rust_embed::{EmbeddedFile, RustEmbed};

use super::Settings;
use super::fallback::no_route;
use super::problem::Problem;
use super::security::{frame_ancestors, frame_ancestors_and_self};

/// The files that the build of the pages produced.
#[derive(RustEmbed)]
#[folder = "web/dist"]
struct Built;

/// The `Content-Security-Policy` of each kind of page: allowed sources and framing.
#[derive(Debug, Clone)]
struct Policies {
    console: String,
    view: String,
    other: String,
}

/// Returns the routes of the pages: `/`, `/console`, `/view/{id}`, `/wall`, `/docs` and `/assets/{path}`.
pub fn routes(settings: &Settings) -> impl FnOnce(&mut ServiceConfig) + use<> {
    let policies = Data::new(Policies::of(settings));
    move |config| {
        config
            .app_data(policies)
            .service(web::resource("/").get(home).head(home).default_service(web::to(no_route)))
            .service(web::resource("/console").get(console).head(console))
            .service(web::resource("/view/{id}").get(view).head(view))
            .service(web::resource("/wall").get(wall).head(wall))
            .service(web::resource("/docs").get(docs).head(docs))
            .service(web::resource("/assets/{path:.*}").get(asset).head(asset));
    }
}

/// The sources of every page: only this server, and nothing inline. Images may also come from
/// `data:` and `blob:`, which noVNC's pointers and the screenshots need.
const SOURCES: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data: blob:; font-src 'self'; connect-src 'self'; manifest-src 'self'; \
    base-uri 'none'; form-action 'none'";

impl Policies {
    fn of(settings: &Settings) -> Self {
        let framing = frame_ancestors(settings);
        Self {
            // The console frames the view of a session, and plays recordings.
            console: format!("{SOURCES}; frame-src 'self'; media-src 'self'; {framing}"),
            view: format!("{SOURCES}; {}", frame_ancestors_and_self(settings)),
            other: format!("{SOURCES}; {framing}"),
        }
    }
}

/// A middleware that redirects a page's address with a trailing slash to the one without. Pages
/// refer to their assets relative to their own address, so that they work below any path of a
/// proxy.
pub async fn without_slash(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse, Error> {
    let path = request.path();
    let trimmed = path.trim_end_matches('/');
    let is_page = matches!(trimmed, "/wall" | "/console" | "/docs")
        || trimmed.strip_prefix("/view/").is_some_and(is_one_step);
    if !is_page || trimmed == path {
        return next.call(request).await.map(ServiceResponse::map_into_boxed_body);
    }
    let up = "../".repeat(path.len() - trimmed.len());
    let name = trimmed.rsplit('/').next().unwrap_or_default();
    let query = request.query_string();
    let query = if query.is_empty() { String::new() } else { format!("?{query}") };
    let moved = HttpResponse::PermanentRedirect()
        .insert_header((LOCATION, format!("{up}{name}{query}")))
        .finish();
    Ok(request.into_response(moved))
}

fn is_one_step(text: &str) -> bool {
    !text.is_empty() && !text.contains('/')
}

/// Serves the console to browsers. Programs, which do not ask for HTML, get the answer of an unknown route.
async fn home(request: HttpRequest, policies: Data<Policies>) -> Result<HttpResponse, Problem> {
    let accepted = request.headers().get_all(ACCEPT).filter_map(|value| value.to_str().ok());
    let is_browser = accepted.into_iter().any(|kinds| kinds.contains("text/html"));
    let mut answer = if is_browser {
        page(&request, "console.html", &policies.console)?
    } else {
        no_route(request).await
    };
    answer.headers_mut().append(VARY, HeaderValue::from_static("accept"));
    Ok(answer)
}

async fn console(request: HttpRequest, policies: Data<Policies>) -> Result<HttpResponse, Problem> {
    page(&request, "console.html", &policies.console)
}

async fn view(request: HttpRequest, policies: Data<Policies>) -> Result<HttpResponse, Problem> {
    page(&request, "view.html", &policies.view)
}

async fn wall(request: HttpRequest, policies: Data<Policies>) -> Result<HttpResponse, Problem> {
    page(&request, "wall.html", &policies.other)
}

async fn docs(request: HttpRequest, policies: Data<Policies>) -> Result<HttpResponse, Problem> {
    page(&request, "docs.html", &policies.other)
}

async fn asset(
    request: HttpRequest,
    path: Path<String>,
    policies: Data<Policies>,
) -> Result<HttpResponse, Problem> {
    page(&request, &format!("assets/{path}"), &policies.other)
}

fn page(request: &HttpRequest, name: &str, policy: &str) -> Result<HttpResponse, Problem> {
    let Some(file) = Built::get(name) else {
        let detail = format!("there is no page {}", request.path());
        return Err(Problem::new(StatusCode::NOT_FOUND, "page_unknown", detail));
    };
    let etag = etag(&file);
    let unchanged =
        request.headers().get(IF_NONE_MATCH).and_then(|known| known.to_str().ok()).is_some_and(
            |known| known.split(',').any(|tag| tag.trim().trim_start_matches("W/") == etag),
        );

    let status = if unchanged { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
    let mut answer = HttpResponse::build(status);
    // A newer server has newer pages under the same names: browsers revalidate each time, and get
    // the content only if it has changed.
    answer
        .insert_header((CACHE_CONTROL, "no-cache"))
        .insert_header((ETAG, etag))
        .insert_header((CONTENT_SECURITY_POLICY, policy));
    if unchanged {
        return Ok(answer.finish());
    }
    answer.insert_header((CONTENT_TYPE, media_type(&file)));
    Ok(answer.body(Bytes::from(file.data.into_owned())))
}

fn etag(file: &EmbeddedFile) -> String {
    let digits: String =
        file.metadata.sha256_hash().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("\"{digits}\"")
}

fn media_type(file: &EmbeddedFile) -> String {
    let kind = file.metadata.mimetype();
    let is_text =
        kind.starts_with("text/") || kind.ends_with("javascript") || kind.ends_with("json");
    if is_text { format!("{kind}; charset=utf-8") } else { kind.to_owned() }
}
