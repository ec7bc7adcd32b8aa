//! The keyboard and the pointer of a display.
//!
//! ```text
//!   viewer's bridge --+
//!                     +--> queue --> thread --> XTEST on the display
//!   viewer's bridge --+
//! ```
//!
//! The input of all viewers takes one path, in one order, and bypasses the VNC servers: their
//! keyboards have room for only 18 signs that an American one lacks. Here every sign can be typed,
//! in any script (`keymap.rs`).
//!
//! A key with a new sign must not be pressed before the programs of the display know the sign. And
//! it must not get a new sign before they have read earlier presses. Both are verified: each
//! program answers `_NET_WM_PING` in the order of its events (`board.rs`).
//!
//! The thread starts with the first action of a viewer and ends with the last viewer. Everything
//! that a viewer holds is released when it leaves for any reason.

mod action;
mod board;
mod hands;
mod keymap;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::mpsc;

pub use self::action::Action;
use self::board::Board;
use super::display::Cookie;

/// The most actions that may wait for the display; further senders wait.
const QUEUE: usize = 256;

/// The display accepts no input: it has ended, or cannot be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the display accepts no input")]
pub struct Gone;

type Actions = mpsc::Receiver<(u64, Action)>;

/// The keyboard and the pointer of one display. Clones share them.
#[derive(Debug, Clone)]
pub struct Devices(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    way: Way,
    viewers: AtomicU64,
    /// The queue of the thread, while it runs.
    queue: Mutex<Option<mpsc::WeakSender<(u64, Action)>>>,
    /// Held by the thread: the next one begins after the previous one has ended.
    turn: Arc<Mutex<()>>,
    /// Viewers that left while the queue was full.
    left: Arc<Mutex<Vec<u64>>>,
}

#[derive(Debug)]
enum Way {
    Display(u16, Cookie),
    #[cfg(test)]
    Recorded(mpsc::Sender<(u64, Action)>),
}

impl Devices {
    /// The devices of the display with this number. The first action opens the connection.
    pub fn new(number: u16, cookie: Cookie) -> Self {
        Self::by(Way::Display(number, cookie))
    }

    /// Devices without a display, whose actions are received at the other end of the channel.
    #[cfg(test)]
    pub fn recorded() -> (Self, Actions) {
        let (sender, actions) = mpsc::channel(QUEUE);
        (Self::by(Way::Recorded(sender)), actions)
    }

    fn by(way: Way) -> Self {
        Self(Arc::new(Inner {
            way,
            viewers: AtomicU64::new(0),
            queue: Mutex::default(),
            turn: Arc::default(),
            left: Arc::default(),
        }))
    }

    /// The input of a new viewer.
    pub fn viewer(&self) -> Input {
        let viewer = self.0.viewers.fetch_add(1, Ordering::Relaxed);
        Input { devices: self.clone(), viewer, queue: None }
    }

    /// The queue of the thread, which is started if it does not run.
    fn queue(&self) -> Result<mpsc::Sender<(u64, Action)>, Gone> {
        let (number, cookie) = match &self.0.way {
            Way::Display(number, cookie) => (*number, *cookie),
            #[cfg(test)]
            Way::Recorded(sender) => return Ok(sender.clone()),
        };
        let mut known = self.0.queue.lock();
        let running = known.as_ref().and_then(mpsc::WeakSender::upgrade);
        if let Some(sender) = running.filter(|sender| !sender.is_closed()) {
            return Ok(sender);
        }
        let (sender, actions) = mpsc::channel(QUEUE);
        let turn = Arc::clone(&self.0.turn);
        let left = Arc::downgrade(&self.0.left);
        let work = move || {
            let _turn = turn.lock();
            if let Err(cause) = serve(number, &cookie, actions, &left) {
                tracing::debug!(display = number, error = %cause, "the display accepts no input");
            }
        };
        if let Err(cause) = std::thread::Builder::new().name(format!("input :{number}")).spawn(work)
        {
            tracing::error!(error = %cause, "the thread for viewers' input cannot be started");
            return Err(Gone);
        }
        *known = Some(sender.downgrade());
        Ok(sender)
    }
}

/// Performs queued actions until all viewers have left or the display has ended.
fn serve(
    number: u16,
    cookie: &Cookie,
    mut actions: Actions,
    left: &Weak<Mutex<Vec<u64>>>,
) -> Result<(), board::Broken> {
    let mut board = Board::connect(number, cookie)?;
    let mut batch = Vec::new();
    while actions.blocking_recv_many(&mut batch, QUEUE) > 0 {
        board.perform(&batch)?;
        batch.clear();
        if actions.is_empty() {
            let late = left.upgrade().map(|left| std::mem::take(&mut *left.lock()));
            batch.extend(late.into_iter().flatten().map(|viewer| (viewer, Action::Leave)));
            board.perform(&batch)?;
            batch.clear();
        }
    }
    board.close()
}

/// One viewer's access to the devices. Dropping it releases everything that the viewer holds.
#[derive(Debug)]
pub struct Input {
    devices: Devices,
    viewer: u64,
    /// The queue; none before the first action.
    queue: Option<mpsc::Sender<(u64, Action)>>,
}

impl Input {
    /// Queues an action behind all earlier ones of any viewer. Resolves when there is room. An
    /// action whose future is dropped before that is not done.
    pub async fn send(&mut self, action: Action) -> Result<(), Gone> {
        if self.queue.is_none() {
            // A viewer without actions holds nothing.
            if action == Action::Leave {
                return Ok(());
            }
            self.queue = Some(self.devices.queue()?);
        }
        let Some(queue) = &self.queue else { return Err(Gone) };
        queue.send((self.viewer, action)).await.map_err(|_closed| Gone)
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        if let Some(queue) = &self.queue
            && let Err(mpsc::error::TrySendError::Full(_)) =
                queue.try_send((self.viewer, Action::Leave))
        {
            self.devices.0.left.lock().push(self.viewer);
        }
    }
}
