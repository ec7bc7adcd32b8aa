//! Pictures of a display, taken from the X server through shared memory.
//!
//! One thread per display, and only while somebody wants pictures: it owns the connection, waits
//! for requests, and between two of them looks whether anything was drawn (extension DAMAGE). It
//! encodes as well, so that no actor's thread does.
//!
//! The memory is read with `pread`, not mapped: another process writes to it, so mapping it would
//! need unsafe code for the gain of a single copy.

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

use super::desktop::{CaptureError, Following, Format, Picture, Reel, Screen};
use super::display::Cookie;

/// How long a picture may take before the X server counts as hung.
const DEADLINE: Duration = Duration::from_secs(10);

/// The pictures of one display.
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
    /// Of the last picture.
    number: AtomicU64,
    running: Mutex<Option<Running>>,
    /// The connection was ended from here, and says nothing against the next.
    was_cut: AtomicBool,
}

/// The thread that lives. It takes itself away under the lock, so that no request is lost.
#[derive(Debug)]
struct Running {
    requests: mpsc::Sender<Request>,
    /// Cut in order to free the thread from an X server that does not answer.
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
    /// Somebody left.
    Look,
}

#[derive(Debug)]
struct Follower {
    keep: Option<PathBuf>,
    pictures: watch::Sender<Option<Picture>>,
    left: CancellationToken,
}

/// How many frames may wait for one who films; further ones are dropped.
const WAITING: usize = 4;

#[derive(Debug)]
struct Filmer {
    interval: Duration,
    /// When it gets the next frame, if something changed.
    next: Instant,
    /// What it has seen last.
    seen: Option<u64>,
    frames: frames::Sender<Picture>,
    left: CancellationToken,
}

impl Capture {
    /// Takes no picture and connects to nothing until it is asked to.
    pub fn new(display: u16, cookie: Cookie, interval: Duration, runtime: Handle) -> Self {
        let shared = Shared {
            display,
            cookie,
            interval,
            number: AtomicU64::new(0),
            running: Mutex::new(None),
            was_cut: AtomicBool::new(false),
        };
        Self { shared: Arc::new(shared), runtime }
    }
}

impl Capture {
    /// Tells the thread that somebody has left.
    fn tell_when(&self, left: CancellationToken) {
        let shared = Arc::clone(&self.shared);
        self.runtime.spawn(async move {
            left.cancelled().await;
            if let Some(thread) = &*shared.running.lock() {
                // A thread that has ended follows nobody.
                let _ = thread.requests.send(Request::Look);
            }
        });
    }
}

impl Shared {
    /// Hands a request to the thread, which is started when there is none.
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
        // It is received below, or its answer is dropped with the channel when there is no thread.
        let _ = requests.send(request);
        *running = Some(Running { requests, stream: None });
        let shared = Arc::clone(self);
        let name = format!("capture :{}", self.display);
        let thread = std::thread::Builder::new().name(name);
        if let Err(cause) = thread.spawn(move || thread::run(&shared, &received)) {
            tracing::error!(error = %cause, "no thread for pictures");
            *running = None;
        }
    }

    /// Ends the connection to an X server that does not answer, so that the thread is free.
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
        self.tell_when(left);
        Following { pictures, guard }
    }

    fn film(&self, interval: Duration) -> Reel {
        let (sender, frames) = frames::channel(WAITING);
        let left = CancellationToken::new();
        let guard = left.clone().drop_guard();
        let (next, seen) = (Instant::now(), None);
        let filmer = Filmer { interval, next, seen, frames: sender, left: left.clone() };
        self.shared.request(Request::Film(filmer));
        self.tell_when(left);
        Reel { frames, guard }
    }
}

fn error(cause: impl ToString) -> CaptureError {
    CaptureError { cause: cause.to_string() }
}
