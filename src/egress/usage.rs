//! Bytes, connections and refusals of a session, and the status file that shows them.
//!
//! The file is replaced atomically, at most once a second, and only after a change. The counters
//! continue from the file of a previous process.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::refusal::Failure;
use super::status::{ConnectionCounts, PolicyState, RefusedRow, Status, UpstreamProblem};
use super::target::Target;

/// The most rows of refused targets; further refusals are only counted.
const MOST_REFUSED: usize = 100;
const INTERVAL: Duration = Duration::from_secs(1);

/// The counters of a process.
#[derive(Debug, Default)]
pub struct Usage {
    sent: AtomicU64,
    received: AtomicU64,
    open: AtomicU64,
    accepted: AtomicU64,
    rejected: AtomicU64,
    records: Mutex<Records>,
    is_dirty: AtomicBool,
    changed: Notify,
    written: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Records {
    refused: HashMap<(String, u16, String), (u64, u64)>,
    unlisted: u64,
    upstream_error: Option<UpstreamProblem>,
}

/// An open client connection, counted until it is dropped.
#[derive(Debug)]
pub struct OpenConnection(Arc<Usage>);

impl Usage {
    /// Resumes the counters from the status of a previous process.
    pub fn resume(path: &Path) -> Self {
        let read = std::fs::read(path).ok();
        let Some(status) = read.and_then(|text| serde_json::from_slice::<Status>(&text).ok())
        else {
            return Self::default();
        };
        let rows = status.refused.into_iter().take(MOST_REFUSED);
        let refused = rows.map(|row| ((row.host, row.port, row.code), (row.count, row.last_ms)));
        Self {
            sent: status.bytes_sent.into(),
            received: status.bytes_received.into(),
            accepted: status.connections.accepted.into(),
            rejected: status.connections.rejected.into(),
            records: Mutex::new(Records {
                refused: refused.collect(),
                unlisted: status.refused_unlisted,
                upstream_error: status.upstream_error,
            }),
            ..Self::default()
        }
    }

    /// Adds bytes that were sent to a target.
    pub fn sent(&self, count: usize) {
        add(&self.sent, count);
        self.touch();
    }

    /// Adds bytes that were received from a target.
    pub fn received(&self, count: usize) {
        if count > 0 {
            add(&self.received, count);
            self.touch();
        }
    }

    /// Counts a client connection, which is open until the value is dropped.
    pub fn opened(self: &Arc<Self>) -> OpenConnection {
        add(&self.open, 1);
        add(&self.accepted, 1);
        self.touch();
        OpenConnection(self.clone())
    }

    /// Counts a connection that was rejected.
    pub fn rejected(&self) {
        add(&self.rejected, 1);
        self.touch();
    }

    /// Records a failure: a refusal in its row, an upstream's failure as the latest one.
    pub fn failed(&self, target: &Target, failure: &Failure) {
        let now = now_ms();
        let mut records = self.records.lock();
        if let Failure::Refused(_) = failure {
            let key = (target.name.clone(), target.port, failure.code().to_owned());
            let has_room = records.refused.len() < MOST_REFUSED;
            match records.refused.get_mut(&key) {
                Some((count, last)) => {
                    *count += 1;
                    *last = now;
                }
                None if has_room => drop(records.refused.insert(key, (1, now))),
                None => records.unlisted += 1,
            }
        }
        if failure.is_upstream() {
            let message = failure.to_string();
            let code = failure.code().to_owned();
            let is_new =
                records.upstream_error.as_ref().is_none_or(|it| it.recovered || it.code != code);
            if is_new {
                tracing::warn!("{message}");
            }
            records.upstream_error =
                Some(UpstreamProblem { code, message, at_ms: now, recovered: false });
        }
        drop(records);
        self.touch();
    }

    /// Records a success of the upstream.
    pub fn upstream_succeeded(&self) {
        let mut records = self.records.lock();
        if let Some(problem) = records.upstream_error.as_mut().filter(|it| !it.recovered) {
            problem.recovered = true;
            tracing::info!("the upstream proxy works again");
        }
    }

    /// Marks the status as changed.
    pub fn touch(&self) {
        if !self.is_dirty.swap(true, Ordering::Relaxed) {
            self.changed.notify_one();
        }
    }

    /// Returns the current status.
    pub fn status(&self, policy: PolicyState) -> Status {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let records = self.records.lock();
        let mut refused: Vec<RefusedRow> = records
            .refused
            .iter()
            .map(|((host, port, code), (count, last_ms))| RefusedRow {
                host: host.clone(),
                port: *port,
                code: code.clone(),
                count: *count,
                last_ms: *last_ms,
            })
            .collect();
        refused.sort_by(|a, b| b.last_ms.cmp(&a.last_ms).then_with(|| a.host.cmp(&b.host)));
        Status {
            bytes_sent: read(&self.sent),
            bytes_received: read(&self.received),
            connections: ConnectionCounts {
                open: read(&self.open),
                accepted: read(&self.accepted),
                rejected: read(&self.rejected),
            },
            refused,
            refused_unlisted: records.unlisted,
            upstream_error: records.upstream_error.clone(),
            policy: Some(policy),
        }
    }

    /// Subscribes to changes, which are reported at most once a second.
    pub fn watch(&self) -> watch::Receiver<()> {
        self.written.subscribe()
    }

    /// Rewrites the status file after each change; never returns.
    pub async fn keep_written(&self, path: PathBuf, policy: impl Fn() -> PolicyState) {
        loop {
            self.changed.notified().await;
            self.is_dirty.store(false, Ordering::Relaxed);
            if let Err(error) = super::files::write(&path, &self.status(policy())) {
                tracing::warn!("the egress status was not written: {error}");
            }
            let _ = self.written.send(());
            tokio::time::sleep(INTERVAL).await;
        }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        self.0.touch();
    }
}

fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::refusal::Refusal;
    use super::*;

    #[test]
    fn refusals_are_counted_in_rows_with_a_bound_and_survive_the_process() {
        let usage = Usage::default();
        for number in 0..2000u16 {
            for _ in 0..2 {
                let target = Target { name: format!("host{number}.example"), port: 443 };
                usage.failed(&target, &Refusal::NoPolicy.into());
            }
        }
        usage.sent(5);
        let state = PolicyState { state: "missing".into(), revision: None, error: None };
        let status = usage.status(state.clone());
        assert_eq!((status.refused.len(), status.refused_unlisted), (100, 3800));
        assert!(status.refused.iter().all(|row| row.count == 2));
        assert!(serde_json::to_vec(&status).unwrap().len() < 20_000);
        let path = std::env::temp_dir().join(format!("egress-usage-{}.json", std::process::id()));
        crate::egress::files::write(&path, &status).unwrap();
        let resumed = Usage::resume(&path);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(resumed.status(state), status);
    }
}
