//! A server for a directory of files, for demonstrations and tests: the site that a workflow
//! visits.

use std::io;
use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::web::{self, Data};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};

use super::fallback::no_route;
use super::problem::Problem;

/// The root directory of the site.
#[derive(Debug, Clone)]
struct Root(PathBuf);

/// Serves the files of a directory on a loopback address until the process ends. Calls `listening`
/// with the address once requests are answered.
///
/// `index.html` stands for its directory. Nothing outside the directory is served, not even through
/// links.
pub async fn serve_directory(
    directory: &Path,
    listen: SocketAddr,
    listening: impl FnOnce(SocketAddr),
) -> io::Result<()> {
    if !listen.ip().is_loopback() {
        let message = format!("{} is not a loopback address", listen.ip());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let root = Data::new(Root(directory.canonicalize()?));
    if !root.0.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    let server = HttpServer::new(move || {
        App::new()
            .app_data(root.clone())
            .service(web::resource("/{path:.*}").get(file).head(file))
            .default_service(web::to(no_route))
    })
    .workers(1)
    .bind(listen)?;
    if let Some(address) = server.addrs().first() {
        listening(*address);
    }
    server.run().await
}

async fn file(
    request: HttpRequest,
    path: web::Path<String>,
    root: Data<Root>,
) -> Result<HttpResponse, Problem> {
    let unknown = || {
        let detail = format!("there is no file {}", request.path());
        Problem::new(StatusCode::NOT_FOUND, "file_unknown", detail)
    };
    let path = inside(&root.0, &path).ok_or_else(unknown)?;
    let bytes = tokio::fs::read(&path).await.map_err(|_gone| unknown())?;
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, media_type(&path)))
        .insert_header((CACHE_CONTROL, "no-store"))
        .body(bytes))
}

/// Returns the file at a request's path, if it lies within `root`.
fn inside(root: &Path, path: &str) -> Option<PathBuf> {
    let relative = Path::new(path.trim_start_matches('/'));
    let plain = |part| matches!(part, Component::Normal(_));
    if !relative.components().all(plain) {
        return None;
    }
    let mut found = root.join(relative).canonicalize().ok()?;
    if found.is_dir() {
        found = found.join("index.html").canonicalize().ok()?;
    }
    (found.starts_with(root) && found.is_file()).then_some(found)
}

fn media_type(path: &Path) -> &'static str {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    match extension.to_ascii_lowercase().as_str() {
        "html" | "htm" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "json" => "application/json",
        "txt" | "md" => "text/plain; charset=utf-8",
        "csv" => "text/csv; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "pdf" => "application/pdf",
        "mp4" => "video/mp4",
        "webm" => "video/webm",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn nothing_outside_the_directory_is_served() {
        let scratch = std::env::temp_dir().join(format!("greenroom-site-{}", std::process::id()));
        let root = scratch.join("site");
        fs::create_dir_all(root.join("shop")).unwrap();
        fs::write(root.join("shop/index.html"), "shop").unwrap();
        fs::write(scratch.join("secret.txt"), "secret").unwrap();
        symlink(scratch.join("secret.txt"), root.join("link.txt")).unwrap();
        let root = root.canonicalize().unwrap();

        let found = |path: &str| inside(&root, path);
        assert_eq!(found("shop"), Some(root.join("shop/index.html")));
        assert_eq!(found("shop/index.html"), Some(root.join("shop/index.html")));
        for path in ["../secret.txt", "shop/../../secret.txt", "link.txt", "", "none.html"] {
            assert_eq!(found(path), None, "{path}");
        }
        fs::remove_dir_all(&scratch).unwrap();
    }
}
