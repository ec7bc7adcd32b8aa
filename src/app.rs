//! Builds the server once, and takes it down in order.

use std::future::Future;

use actix_web::HttpServer;
use anyhow::Context as _;
use tokio::sync::oneshot;

use crate::config::Settings;
use crate::http;

/// How to serve, beyond the settings: what belongs to one start and not to the installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ServeOptions {
    /// Whether a stop leaves the browsers to the next server instead of closing them.
    pub keep_sessions: bool,
}

/// Runs a future on an actor system of this thread, to its end.
pub fn block_on<F: Future>(future: F) -> F::Output {
    actix::System::new().block_on(future)
}

/// Serves until the process is told to stop. Prints `listening on http://ADDRESS:PORT` on
/// standard output once requests are answered.
pub async fn serve(settings: Settings, _options: ServeOptions) -> anyhow::Result<()> {
    let (stop, stopped) = oneshot::channel();
    let mut stop = Some(stop);
    ctrlc::set_handler(move || {
        if let Some(stop) = stop.take() {
            let _ = stop.send(());
        }
    })
    .context("the signals cannot be handled")?;

    let listen = settings.http.listen;
    let shared = settings.http.clone();
    let server = HttpServer::new(move || http::application(&shared))
        .disable_signals()
        .bind(listen)
        .with_context(|| format!("cannot listen on {listen} (http.listen)"))?;
    for address in server.addrs() {
        println!("listening on http://{address}");
    }

    let server = server.run();
    let handle = server.handle();
    let serving = actix::spawn(server);
    let _ = stopped.await;
    handle.stop(true).await;
    Ok(serving.await.context("the HTTP server broke")??)
}
