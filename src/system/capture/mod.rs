//! Pictures of a display, taken from the X server through shared memory.
//!
//! Each display has one thread, which runs only while pictures are requested. It owns the
//! connection, waits for requests, and polls between them whether anything was drawn (extension
//! DAMAGE). It also encodes, so that no actor's thread has to.
//!
//! The memory is read with `pread` and not mapped: another process writes to it, so a mapping would
//! need unsafe code and save only a single copy.

mod encode;
mod link;
mod thread;

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{mpsc as frames, oneshot, watch};
use tokio_util::sync::CancellationToken;

pub use self::encode::encode;
use super::display::Cookie;
use crate::metrics::PictureMetrics;
use crate::system::seam::{CaptureError, Following, Format, Picture, Reel, Screen};

/// The longest time for a picture, after which the X server counts as hung.
const DEADLINE: Duration = Duration::from_secs(10);

/// The picture source of one display.
#[derive(Debug)]
pub struct Capture {
    shared: Arc<Shared>,
    runtime: Handle,
}

#[derive(Debug)]
struct Shared {
    display: u16,
    cookie: Cookie,
    interval: Duration,
    /// The number of the last picture.
    number: AtomicU64,
    running: Mutex<Option<Running>>,
    /// True if this side shut the connection down, so its failure says nothing about the next one.
    was_cut: AtomicBool,
    metrics: Arc<PictureMetrics>,
    /// The span in which the display was started, which names its session.
    span: tracing::Span,
}

/// The running thread. It removes itself under the lock, so that no request is lost.
#[derive(Debug)]
struct Running {
    requests: mpsc::Sender<Request>,
    /// The socket, which is shut down to free the thread from an X server that does not answer.
    stream: Option<UnixStream>,
}

type ShotAnswer = oneshot::Sender<Result<Picture, CaptureError>>;

#[derive(Debug)]
enum Request {
    Shot {
        format: Format,
        answer: ShotAnswer,
    },
    Follow(Follower),
    Film(Filmer),
    /// A follower or filmer has left.
    Look,
}

#[derive(Debug)]
struct Follower {
    keep: Option<PathBuf>,
    pictures: watch::Sender<Option<Picture>>,
    left: CancellationToken,
}

/// The most frames that may wait for one filmer; further ones are dropped.
const WAITING: usize = 4;

#[derive(Debug)]
struct Filmer {
    interval: Duration,
    /// The earliest time of the next frame.
    next: Instant,
    /// The state of the display in the last frame that was sent.
    seen: Option<u64>,
    frames: frames::Sender<Picture>,
    left: CancellationToken,
}

impl Capture {
    /// A source that takes no picture and opens no connection before the first request.
    pub fn new(display: u16, cookie: Cookie, interval: Duration, runtime: Handle) -> Self {
        Self::counted(display, cookie, interval, runtime, Arc::default())
    }

    /// The same, with figures that its pictures are added to.
    pub fn counted(
        display: u16,
        cookie: Cookie,
        interval: Duration,
        runtime: Handle,
        metrics: Arc<PictureMetrics>,
    ) -> Self {
        let shared = Shared {
            display,
            cookie,
            interval,
            number: AtomicU64::new(0),
            running: Mutex::new(None),
            was_cut: AtomicBool::new(false),
            metrics,
            span: tracing::Span::current(),
        };
        Self { shared: Arc::new(shared), runtime }
    }
}

impl Capture {
    /// Notifies the thread once a follower or filmer has left.
    fn notify_when(&self, left: CancellationToken) {
        let shared = Arc::clone(&self.shared);
        self.runtime.spawn(async move {
            left.cancelled().await;
            if let Some(thread) = &*shared.running.lock() {
                // A thread that has ended serves no followers.
                let _ = thread.requests.send(Request::Look);
            }
        });
    }
}

impl Shared {
    /// Sends a request to the thread, which is started if it does not run.
    fn request(self: &Arc<Self>, request: Request) {
        let mut running = self.running.lock();
        let request = match &*running {
            Some(thread) => match thread.requests.send(request) {
                Ok(()) => return,
                Err(mpsc::SendError(request)) => request,
            },
            None => request,
        };
        let (requests, received) = mpsc::channel();
        // The thread receives it below. If the thread fails to start, the answer is dropped with
        // the channel.
        let _ = requests.send(request);
        *running = Some(Running { requests, stream: None });
        let shared = Arc::clone(self);
        let name = format!("capture :{}", self.display);
        let thread = std::thread::Builder::new().name(name);
        let work = move || {
            let _of_the_session = shared.span.enter();
            thread::run(&shared, &received);
        };
        if let Err(cause) = thread.spawn(work) {
            tracing::error!(error = %cause, "the thread for screenshots cannot be started");
            *running = None;
        }
    }

    /// Shuts down the connection to an X server that does not answer, which frees the thread.
    fn cut(&self) {
        if let Some(Running { stream: Some(stream), .. }) = &*self.running.lock() {
            self.was_cut.store(true, Ordering::Relaxed);
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

impl Screen for Capture {
    fn shot(&self, format: Format) -> BoxFuture<'static, Result<Picture, CaptureError>> {
        let (answer, answered) = oneshot::channel();
        let shared = Arc::clone(&self.shared);
        let work = self.runtime.spawn(async move {
            shared.request(Request::Shot { format, answer });
            match tokio::time::timeout(DEADLINE, answered).await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(_dropped)) => Err(error("the connection to the display has ended")),
                Err(_late) => {
                    shared.cut();
                    Err(error("the X server does not answer"))
                }
            }
        });
        Box::pin(async move { work.await.unwrap_or_else(|cause| Err(error(cause))) })
    }

    fn follow(&self, keep: Option<PathBuf>) -> Following {
        let (sender, pictures) = watch::channel(None);
        let left = CancellationToken::new();
        let guard = left.clone().drop_guard();
        let follower = Follower { keep, pictures: sender, left: left.clone() };
        self.shared.request(Request::Follow(follower));
        self.notify_when(left);
        Following { pictures, guard }
    }

    fn film(&self, interval: Duration) -> Reel {
        let (sender, frames) = frames::channel(WAITING);
        let left = CancellationToken::new();
        let guard = left.clone().drop_guard();
        let (next, seen) = (Instant::now(), None);
        let filmer = Filmer { interval, next, seen, frames: sender, left: left.clone() };
        self.shared.request(Request::Film(filmer));
        self.notify_when(left);
        Reel { frames, guard }
    }
}

fn error(cause: impl ToString) -> CaptureError {
    CaptureError { cause: cause.to_string() }
}
