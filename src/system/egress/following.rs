//! Supervision of an egress program: its counters while it runs, a restart after its end.

use std::time::{Duration, Instant};

use tokio::io::AsyncBufReadExt as _;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::Instrument as _;

use super::{Running, Way};
use crate::domain::egress::EgressIdentity;
use crate::system::process::Process;
use crate::system::seam::Repair;

/// The delay before a restart; it doubles after each quick exit.
const RETRY_DELAY: Duration = Duration::from_millis(20);

/// The longest delay before a restart.
const AGAIN_AT_MOST: Duration = Duration::from_secs(30);

/// The run time after which an exit does not count as quick.
const STABLE_AFTER: Duration = Duration::from_secs(60);

/// The wait before its counters are requested again.
const RECONNECT: Duration = Duration::from_secs(1);

/// The callbacks for events of the program.
pub struct EgressCallbacks {
    /// Called when another process runs.
    pub on_started: Box<dyn Fn(&EgressIdentity) + Send + Sync>,
    /// Called after a restart, with the cause and the losses.
    pub on_repaired: Box<dyn Fn(Repair) + Send + Sync>,
}

/// A running supervision. Dropping it ends the supervision, and not the program.
#[derive(Debug)]
pub struct Follower {
    _ended: DropGuard,
}

impl Follower {
    /// Starts to supervise `way`. It is checked more closely while it is `used`.
    pub fn start(way: &Way, used: watch::Receiver<bool>, callbacks: EgressCallbacks) -> Self {
        let ended = CancellationToken::new();
        let (over, way) = (ended.clone(), way.clone());
        let runtime = way.0.runtime.clone();
        let span = tracing::info_span!("egress", session.id = %way.0.place.session);
        let work = async move {
            tokio::select! {
                () = over.cancelled() => {}
                () = way.follow(used, callbacks) => {}
            }
        };
        runtime.spawn(work.instrument(span));
        Self { _ended: ended.drop_guard() }
    }
}

impl Way {
    async fn follow(&self, mut used: watch::Receiver<bool>, callbacks: EgressCallbacks) {
        let (mut quick_exits, mut since) = (0_u32, Instant::now());
        loop {
            let running = self.0.running.lock().clone();
            let Some(Running { process, .. }) = running else {
                sleep(RECONNECT).await;
                continue;
            };
            let cause = self.until_it_ends(&process, &mut used).await;
            let missed = Instant::now();
            quick_exits =
                if since.elapsed() < STABLE_AFTER { quick_exits.saturating_add(1) } else { 0 };
            let mut tries = 0;
            loop {
                tries += 1;
                let doubled = RETRY_DELAY.saturating_mul(2_u32.saturating_pow(quick_exits.min(16)));
                sleep(doubled.min(AGAIN_AT_MOST)).await;
                match self.up().await {
                    Ok(identity) => {
                        since = Instant::now();
                        (callbacks.on_started)(&identity);
                        let lost = "its connections";
                        (callbacks.on_repaired)(Repair::new(cause, lost, tries, missed.elapsed()));
                        break;
                    }
                    Err(failure) => {
                        quick_exits = quick_exits.saturating_add(1);
                        tracing::warn!("the egress program cannot be started: {}", failure.message);
                    }
                }
            }
        }
    }

    /// Resolves with the cause of the program's end. A program that hangs is killed.
    async fn until_it_ends(&self, process: &Process, used: &mut watch::Receiver<bool>) -> String {
        let watched = async {
            loop {
                let _ = self.watch().await;
                sleep(RECONNECT).await;
            }
        };
        tokio::select! {
            exit = process.exited() => format!("the egress program ended: {exit}"),
            cause = self.until_it_hangs(process, used) => {
                process.kill().await;
                cause
            }
            never = watched => never,
        }
    }

    async fn until_it_hangs(&self, process: &Process, used: &mut watch::Receiver<bool>) -> String {
        let settings = &self.0.settings;
        let hang = Duration::from_secs(settings.hang_seconds);
        if hang.is_zero() {
            return std::future::pending().await;
        }
        let mut was_stopped = false;
        loop {
            if used.wait_for(|used| *used).await.is_err() {
                return std::future::pending().await;
            }
            let is_stopped = process.is_stopped();
            if is_stopped && was_stopped {
                return "the egress program was stopped".to_owned();
            }
            was_stopped = is_stopped;
            if !is_stopped && timeout(hang, self.ask("state")).await.is_err() {
                return format!("the egress program did not answer for {} s", hang.as_secs());
            }
            sleep(Duration::from_secs(settings.probe_seconds.max(1))).await;
        }
    }

    /// Publishes each change of the counters until the connection ends.
    async fn watch(&self) -> std::io::Result<()> {
        let mut lines = self.connected("watch").await?;
        let mut line = String::new();
        while lines.read_line(&mut line).await? > 0 {
            if let Ok(status) = serde_json::from_str(&line) {
                self.0.status.send_replace(Some(status));
            }
            line.clear();
        }
        Ok(())
    }
}
