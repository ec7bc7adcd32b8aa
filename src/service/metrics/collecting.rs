//! The present value of every family.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::{Collected, Sample, Value, catalog};
use crate::actors::pool::ShapeStatus;
use crate::actors::views::SessionView;
use crate::db;
use crate::domain::session::SessionStatus;
use crate::metrics::{DesktopMetrics, Histogram, Metrics};
use crate::service::core::Core;
use crate::traces::Traces;

/// The longest time for the query of the webhooks' messages, without which the text is complete too.
const QUERY: Duration = Duration::from_secs(2);

fn one(value: Value) -> Option<Sample> {
    Some(Sample { labels: Vec::new(), value })
}

fn labeled<const N: usize>(labels: [&str; N], value: Value) -> Sample {
    Sample { labels: labels.map(str::to_owned).to_vec(), value }
}

fn number(count: usize) -> Value {
    Value::Number(i64::try_from(count).unwrap_or(i64::MAX))
}

fn distribution(histogram: &Histogram) -> Value {
    Value::Distribution(histogram.snapshot())
}

/// Collects the values. Files are read on a blocking thread.
pub(super) async fn collect(core: &Core) -> Collected {
    let mut all = Collected::default();
    let world = &core.world;
    let version = labeled([env!("CARGO_PKG_VERSION")], Value::Number(1));
    all.add(catalog::BUILD, [version]);
    let is_draining = world.views.draining().borrow().is_some();
    all.add(catalog::DRAINING, one(Value::Number(i64::from(is_draining))));
    let sessions = world.views.all_sessions();
    of_sessions(&mut all, &sessions, &world.metrics);
    let launched = world.launcher.metrics().unwrap_or_default();
    of_desktops(&mut all, &launched);
    of_usage(&mut all, core, sessions).await;
    of_runs(&mut all, core);
    of_messages(&mut all, core);
    of_requests(&mut all, &world.metrics);
    of_traces(&mut all, world.journal.traces());
    of_database(&mut all, &core.db.figures());
    of_pool(&mut all, core);
    let pending = timeout(QUERY, db::webhook_messages::count_pending(&core.db)).await;
    let pending = pending.ok().and_then(Result::ok);
    all.add(catalog::WEBHOOKS, pending.map(Value::Number).and_then(one));
    all
}

fn of_sessions(all: &mut Collected, sessions: &[SessionView], metrics: &Metrics) {
    let live = [SessionStatus::Created, SessionStatus::Running, SessionStatus::Retry];
    let mut statuses: BTreeMap<&str, usize> =
        live.iter().map(|status| (status.as_str(), 0)).chain([("dormant", 0)]).collect();
    for view in sessions {
        let status = if view.record.is_dormant() { "dormant" } else { view.record.status.as_str() };
        *statuses.entry(status).or_default() += 1;
    }
    let statuses = statuses.into_iter();
    all.add(catalog::SESSIONS, statuses.map(|(status, count)| labeled([status], number(count))));
    let held = sessions.iter().filter(|view| view.record.occupancy.holder().is_some()).count();
    all.add(catalog::HELD, one(number(held)));
    let sum = |of: fn(&SessionView) -> usize| one(number(sessions.iter().map(of).sum()));
    all.add(catalog::WAITERS, sum(|view| view.waiters.len()));
    all.add(catalog::WAIT, one(distribution(&metrics.occupancy_wait)));
    all.add(catalog::HOLD, one(distribution(&metrics.occupancy_hold)));
    all.add(catalog::VIEWERS, sum(|view| view.viewers));
    all.add(catalog::DRIVERS, sum(|view| view.drivers));
    let streams = &metrics.streams;
    let directions = [("to_viewers", &streams.to_viewers), ("from_viewers", &streams.from_viewers)];
    let directions = directions.map(|(name, bytes)| labeled([name], Value::Count(bytes.get())));
    all.add(catalog::STREAM_BYTES, directions);
    let recoveries = metrics.recoveries();
    all.add(
        catalog::RECOVERIES,
        recoveries.map(|(part, cause, count)| labeled([part, cause], Value::Count(count))),
    );
}

fn of_desktops(all: &mut Collected, launched: &Arc<DesktopMetrics>) {
    let pictures = &launched.pictures;
    let outcomes = [("encoded", &pictures.encoded), ("skipped", &pictures.skipped)];
    let outcomes = outcomes.map(|(name, count)| labeled([name], Value::Count(count.get())));
    all.add(catalog::PICTURES, outcomes);
    let stages = launched.stages();
    all.add(catalog::START, stages.map(|(stage, times)| labeled([stage], distribution(times))));
}

async fn of_usage(all: &mut Collected, core: &Core, sessions: Vec<SessionView>) {
    let launcher = Arc::clone(&core.world.launcher);
    let summed = core.world.runtime.spawn_blocking(move || {
        let used = sessions.iter().filter_map(|view| launcher.usage(view.record.id));
        used.fold((None, None), |(memory, cpu): (Option<u64>, Option<f64>), usage| {
            let memory = usage
                .memory_bytes
                .map_or(memory, |more| Some(memory.unwrap_or_default().saturating_add(more)));
            let cpu = usage.cpu_seconds.map_or(cpu, |more| Some(cpu.unwrap_or_default() + more));
            (memory, cpu)
        })
    });
    let (memory, cpu) = summed.await.unwrap_or_default();
    all.add(catalog::SESSION_MEMORY, memory.map(Value::Count).and_then(one));
    all.add(catalog::SESSION_CPU, cpu.map(Value::Seconds).and_then(one));
}

fn of_runs(all: &mut Collected, core: &Core) {
    let metrics = &core.world.metrics;
    let counted = |(status, count): (&'static str, u64)| labeled([status], Value::Count(count));
    all.add(catalog::RUNS, metrics.runs.all().map(counted));
    all.add(catalog::RUNS_UNDER_WAY, one(number(core.world.views.runs_under_way())));
    all.add(catalog::BLOCKS, metrics.blocks.all().map(counted));
}

fn of_messages(all: &mut Collected, core: &Core) {
    let table = core.world.journal.metrics();
    let kinds: Vec<_> = table.all().chain([table.rest(1)]).collect();
    let sample = |labels: &Vec<String>, value| Sample { labels: labels.clone(), value };
    let waits = kinds.iter().map(|(kind, it)| sample(kind, distribution(&it.wait)));
    all.add(catalog::MESSAGE_WAIT, waits);
    let handled = kinds.iter().map(|(kind, it)| sample(kind, distribution(&it.handling)));
    all.add(catalog::MESSAGE_HANDLING, handled);
    let outcomes = kinds.iter().flat_map(|(kind, it)| {
        let outcomes = it.outcomes.all();
        outcomes.map(|(outcome, count)| {
            let labels = kind.iter().cloned().chain([outcome.to_owned()]).collect();
            Sample { labels, value: Value::Count(count) }
        })
    });
    all.add(catalog::MESSAGES, outcomes);
}

fn of_requests(all: &mut Collected, metrics: &Metrics) {
    let routes: Vec<_> = metrics.routes.all().chain([metrics.routes.rest(2)]).collect();
    let classes = routes.iter().flat_map(|(route, it)| {
        let classes = it.classes.all().filter(|(_, count)| *count > 0);
        classes.map(|(class, count)| {
            let labels = route.iter().cloned().chain([class.to_owned()]).collect();
            Sample { labels, value: Value::Count(count) }
        })
    });
    all.add(catalog::REQUESTS, classes);
    let times = routes.iter().map(|(route, it)| {
        let value = distribution(&it.latency);
        Sample { labels: route.clone(), value }
    });
    all.add(catalog::REQUEST_TIME, times);
}

fn of_traces(all: &mut Collected, traces: &Traces) {
    let outcomes = traces
        .figures()
        .map(|it| [("exported", &it.exported), ("dropped", &it.dropped), ("failed", &it.failed)]);
    let outcomes = outcomes.into_iter().flatten();
    all.add(
        catalog::SPANS,
        outcomes.map(|(outcome, count)| labeled([outcome], Value::Count(count.get()))),
    );
}

fn of_database(all: &mut Collected, figures: &db::Figures) {
    let in_use = figures.connections.saturating_sub(figures.idle_connections);
    let states = [
        ("in_use", in_use),
        ("idle", figures.idle_connections),
        ("most", figures.most_connections),
    ];
    let states = states.map(|(state, count)| labeled([state], number(count)));
    all.add(catalog::DB_CONNECTIONS, states);
    all.add(catalog::DB_WAITING, one(number(figures.waiting_queries)));
    let writer = figures.writer.as_ref();
    all.add(catalog::DB_QUEUE, writer.and_then(|writer| one(number(writer.waiting))));
    let commit = writer.map(|writer| Value::Distribution(writer.commit.clone()));
    all.add(catalog::DB_COMMIT, commit.and_then(one));
    let batch = writer.map(|writer| Value::Distribution(writer.batch.clone()));
    all.add(catalog::DB_BATCH, batch.and_then(one));
}

fn of_pool(all: &mut Collected, core: &Core) {
    let status = core.world.pool.status();
    all.add(catalog::POOL_READY, one(number(status.shapes.iter().map(|it| it.ready).sum())));
    all.add(catalog::POOL_WANTED, one(number(status.shapes.iter().map(|it| it.wanted).sum())));
    let pools = &status.shapes;
    let missing = |it: &ShapeStatus| number(it.wanted.saturating_sub(it.ready));
    all.add(catalog::POOL_MISSING, pools.iter().map(|it| labeled([&it.name], missing(it))));
    let states = pools.iter().flat_map(|it| {
        let states = [
            ("ready", it.ready),
            ("wanted", it.wanted),
            ("minimum", it.minimum),
            ("maximum", it.maximum),
        ];
        states.map(|(state, count)| labeled([&it.name, state], number(count)))
    });
    all.add(catalog::POOL_BROWSERS, states);
    let counted = |it: &ShapeStatus, outcomes: [(&str, u64); 2]| {
        outcomes.map(|(outcome, count)| labeled([&it.name, outcome], Value::Count(count)))
    };
    let sessions =
        pools.iter().flat_map(|it| counted(it, [("taken", it.taken), ("missed", it.missed)]));
    all.add(catalog::POOL_SESSIONS, sessions);
    let starts =
        pools.iter().flat_map(|it| counted(it, [("started", it.started), ("failed", it.failed)]));
    all.add(catalog::POOL_STARTS, starts);
    let fill = pools.iter().map(|it| labeled([&it.name], distribution(&it.figures.fill)));
    all.add(catalog::POOL_FILL, fill);
    let waited = pools.iter().map(|it| labeled([&it.name], distribution(&it.figures.waited)));
    all.add(catalog::POOL_WAITED, waited);
    all.add(catalog::POOL_HITS, one(Value::Count(status.warm)));
    let cold = status.cold.iter();
    all.add(
        catalog::POOL_MISSES,
        cold.map(|(reason, count)| labeled([reason.as_str()], Value::Count(*count))),
    );
}
