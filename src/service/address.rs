//! The base URL under which the client of the current request reaches the server.
//!
//! A trusted proxy may name it; `http` reads it from the request and sets it for the time in which
//! the request is handled.

tokio::task_local! {
    static BASE_URL: Option<String>;
}

/// Runs `work` for a client for which a trusted proxy has named this base URL.
pub async fn with_base_url<T>(base_url: Option<String>, work: impl Future<Output = T>) -> T {
    BASE_URL.scope(base_url, work).await
}

/// Returns the base URL that a trusted proxy named for the current request. Spawned tasks are not
/// part of a request.
pub fn base_url() -> Option<String> {
    BASE_URL.try_with(Clone::clone).ok().flatten()
}

/// Returns the start of addresses of sockets for the start of addresses of pages: `ws` in place of
/// `http`.
pub fn socket_url(base_url: &str) -> String {
    match base_url.strip_prefix("http") {
        Some(rest) => format!("ws{rest}"),
        None => base_url.to_owned(),
    }
}
