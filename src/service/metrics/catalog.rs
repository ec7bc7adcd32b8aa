//! Every family of metrics, with its labels and its meaning.

/// The kind of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// One family of metrics.
#[derive(Debug, PartialEq, Eq)]
pub struct Family {
    /// The name, for a counter without its suffix `_total`.
    pub name: &'static str,
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// The meaning, without a full stop.
    pub help: &'static str,
}

impl Family {
    /// The name under which a query finds its values. For a histogram, `_bucket`, `_sum` or `_count`
    /// follows the name.
    pub fn full_name(&self) -> String {
        match self.kind {
            Kind::Counter => format!("{}_total", self.name),
            Kind::Gauge | Kind::Histogram => self.name.to_owned(),
        }
    }
}

macro_rules! families {
    ($($id:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;)+) => {
        $(pub(super) const $id: &Family = &Family {
            name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help,
        };)+

        /// Every family, in the order of the text.
        pub const CATALOG: &[&Family] = &[$($id),+];
    };
}

families! {
    BUILD = Gauge "greenroom_build_info" ["version"] "Always 1, with the version of the server";
    DRAINING = Gauge "greenroom_draining" [] "1 if the server refuses new work, because it is about to stop";
    SESSIONS = Gauge "greenroom_sessions" ["status"] "Sessions on this node by status; `dormant` waits for its first use";
    HELD = Gauge "greenroom_sessions_held" [] "Sessions that have a holder";
    WAITERS = Gauge "greenroom_occupancy_waiters" [] "Callers that wait in the queues of sessions";
    WAIT = Histogram "greenroom_occupancy_wait_seconds" [] "Time in the queue of a session, of callers that became its holder";
    HOLD = Histogram "greenroom_occupancy_hold_seconds" [] "Time that holders held a session";
    VIEWERS = Gauge "greenroom_viewers" [] "Connected viewers";
    DRIVERS = Gauge "greenroom_drivers" [] "Connections of clients to the DevTools of sessions";
    STREAM_BYTES = Counter "greenroom_stream_bytes" ["direction"] "Bytes of RFB between viewers and the server";
    PICTURES = Counter "greenroom_pictures" ["outcome"] "Pictures of displays: encoded, or skipped because nothing had changed or their reader was not ready";
    SESSION_MEMORY = Gauge "greenroom_sessions_memory_bytes" [] "Memory of the programs of all sessions, if the machine counts it";
    SESSION_CPU = Gauge "greenroom_sessions_cpu_seconds" [] "Processor time of the programs of the sessions that live now, if the machine counts it";
    START = Histogram "greenroom_start_seconds" ["stage"] "Time of the stages in which a desktop is started";
    RECOVERIES = Counter "greenroom_recoveries" ["part", "cause"] "Recoveries of sessions by the part that failed and the cause";
    RUNS = Counter "greenroom_runs" ["status"] "Runs that have ended, by status";
    RUNS_UNDER_WAY = Gauge "greenroom_runs_under_way" [] "Runs that have not ended";
    BLOCKS = Counter "greenroom_blocks" ["status"] "Blocks of runs that have ended, by status";
    MESSAGE_WAIT = Histogram "greenroom_message_wait_seconds" ["kind"] "Time of messages in the mailboxes of actors";
    MESSAGE_HANDLING = Histogram "greenroom_message_handling_seconds" ["kind"] "Time from the start of the handling of a message to its answer";
    MESSAGES = Counter "greenroom_messages" ["kind", "outcome"] "Messages to actors by outcome";
    REQUESTS = Counter "greenroom_http_requests" ["method", "route", "class"] "Requests by the template of their route and the class of their status";
    REQUEST_TIME = Histogram "greenroom_http_request_seconds" ["method", "route"] "Time until the head of an answer, but for requests that ask to wait for a change or their turn";
    SPANS = Counter "greenroom_trace_spans" ["outcome"] "Spans of traces: exported, dropped because too many waited, or failed because the collector did not accept them";
    DB_CONNECTIONS = Gauge "greenroom_database_connections" ["state"] "Connections to the database: in use, idle, and the most that may be open";
    DB_WAITING = Gauge "greenroom_database_waiting_queries" [] "Queries that wait for a connection";
    DB_QUEUE = Gauge "greenroom_database_writer_queue" [] "Changes that wait for the writer of SQLite";
    DB_COMMIT = Histogram "greenroom_database_commit_seconds" [] "Time of transactions of the writer of SQLite, with their commit";
    DB_BATCH = Histogram "greenroom_database_batch_changes" [] "Changes in one transaction of the writer of SQLite";
    POOL_READY = Gauge "greenroom_pool_ready" [] "Browsers that wait for a session";
    POOL_WANTED = Gauge "greenroom_pool_wanted" [] "Browsers that are kept ready now, between the minimum and the maximum of each pool";
    POOL_MISSING = Gauge "greenroom_pool_missing" ["pool"] "Browsers of a pool that are wanted and not ready: above 0 for long, this server has no room for the demand";
    POOL_BROWSERS = Gauge "greenroom_pool_browsers" ["pool", "state"] "Browsers of a pool: ready, wanted now, and the minimum and the maximum that may be wanted";
    POOL_SESSIONS = Counter "greenroom_pool_sessions" ["pool", "outcome"] "Sessions that fit a pool: taken if they got a browser, missed if none was ready";
    POOL_STARTS = Counter "greenroom_pool_starts" ["pool", "outcome"] "Starts of browsers for a pool: started or failed";
    POOL_FILL = Histogram "greenroom_pool_fill_seconds" ["pool"] "Time of the starts of browsers for a pool";
    POOL_WAITED = Histogram "greenroom_pool_waited_seconds" ["pool"] "Time that browsers had waited when a session took them";
    POOL_HITS = Counter "greenroom_pool_hits" [] "Sessions that got a browser of the pool";
    POOL_MISSES = Counter "greenroom_pool_misses" ["reason"] "Sessions whose browser was started for them";
    WEBHOOKS = Gauge "greenroom_webhooks_pending" [] "Messages to clients' servers that are not delivered yet; absent while the database is away";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_name_is_unique_and_no_label_is_an_id() {
        let names: BTreeSet<_> = CATALOG.iter().map(|family| family.name).collect();
        assert_eq!(names.len(), CATALOG.len());
        for family in CATALOG {
            assert!(family.name.starts_with("greenroom_"), "{family:?}");
            assert!(!family.labels.iter().any(|label| label.ends_with("id")), "{family:?}");
        }
    }
}
