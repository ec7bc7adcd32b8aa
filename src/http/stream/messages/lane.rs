//! The order of what a viewer says, past which only control goes.

use std::cell::Cell;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

/// How long what a viewer has said may still take when it hands control back.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What the viewer said and is done one after the other.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// How many messages wait or are acted on.
    length: Cell<usize>,
    /// Nothing is acted on any more.
    idle: Notify,
    /// What is acted on is not to be.
    called_off: Notify,
}

impl Lane {
    /// Lets what was said before come to its end, for a moment; what is not done then is called off.
    pub async fn clear(&self) {
        let idle = async {
            while self.length.get() > 0 {
                self.idle.notified().await;
            }
        };
        if timeout(LAST_WORDS, idle).await.is_err() {
            self.called_off.notify_one();
        }
    }

    /// Resolves when what is acted on is not to be.
    pub async fn called_off(&self) {
        self.called_off.notified().await;
    }

    /// One more waits.
    pub fn begins(&self) {
        self.length.set(self.length.get() + 1);
    }

    /// One is done, or will not be.
    pub fn ended(&self) {
        self.length.set(self.length.get().saturating_sub(1));
        self.idle.notify_one();
    }
}
