//! The filling of the pool, in the background: one desktop at a time, while no session starts. The last one that is
//! missing waits a moment after a session took a desktop, if another is ready.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, error, info, warn};

use super::shape::{Mark, Shape};
use super::{Failing, Pool, Starting};
use crate::actors::draining::Draining;
use crate::actors::world::World;
use crate::domain::ids::SessionId;
use crate::domain::session::Failure;
use crate::system::desktop::{Files, LaunchError, Order};

/// The longest time for which starting sessions keep a desktop of the pool from being started.
const PATIENCE: Duration = Duration::from_secs(5);

/// The time after which the room of the machine is measured again.
const NO_ROOM: TimeDelta = TimeDelta::seconds(10);

/// The pause after the first failure; each further one doubles it.
const AFTER_FAILURE: TimeDelta = TimeDelta::seconds(1);

/// The longest pause after failures.
const LONGEST_PAUSE: TimeDelta = TimeDelta::seconds(60);

/// The longest time between two looks at what is missing.
const INTERVAL: Duration = Duration::from_secs(60);

/// Keeps the pool filled until `closing` is canceled. A start that is under way then is canceled as well; nothing
/// of it is left when this resolves.
pub async fn keep_filled(world: Arc<World>, closing: CancellationToken) {
    let pool = &world.pool;
    let mut draining = world.views.draining();
    while !closing.is_cancelled() {
        pool.retire(world.settings.max_sessions.saturating_sub(world.views.count()));
        if next(&world).is_none() {
            idle(pool, &mut draining, &closing).await;
            continue;
        }
        // Sessions first: a start takes all that a small machine has.
        let settled = timeout(PATIENCE, world.views.none_starts());
        tokio::select! {
            _ = settled => {}
            () = closing.cancelled() => return,
        }
        let coming = u64::try_from(world.views.coming_up()).unwrap_or_default();
        if let Err(full) = world.launcher.room(coming.saturating_add(1)).await {
            let until = pool.clock.now() + NO_ROOM;
            let mut state = pool.state.lock();
            state.paused_until = state.paused_until.max(Some(until));
            info!("no desktop is started for the pool: {full}");
            continue;
        }
        // Sessions may have come meanwhile.
        let Some(shape) = next(&world) else { continue };
        match start(&world, &shape, &closing).await {
            Ok(()) => pool.state.lock().failing.retain(|failing| failing.shape != shape),
            Err(LaunchError::CalledOff) => {}
            Err(LaunchError::Failed(failure)) => pool.on_failed(shape, *failure),
        }
    }
}

impl Pool {
    fn on_failed(&self, shape: Shape, failure: Failure) {
        let mut state = self.state.lock();
        let before = state.failing.iter().find(|failing| failing.shape == shape);
        let times = before.map_or(0, |failing| failing.times.saturating_add(1));
        let pause = (AFTER_FAILURE * (1 << times.min(6))).min(LONGEST_PAUSE);
        let seconds = pause.num_seconds();
        let Failure { code, message, .. } = &failure;
        warn!(code, "no desktop for the pool, again in {seconds} s: {message}");
        state.failing.retain(|failing| failing.shape != shape);
        let figures = state.figures(&shape);
        state.failing.push(Failing { shape, times, until: self.clock.now() + pause });
        state.counts.failed = state.counts.failed.saturating_add(1);
        state.last_failure = Some(failure);
        if let Some(figures) = figures {
            figures.failed.add(1);
        }
    }
}

/// The shape that is missing, if there is a place for another desktop.
fn next(world: &World) -> Option<Shape> {
    let is_draining = world.views.draining().borrow().is_some();
    let taken = world.views.count() + world.pool.len();
    let has_place = taken < world.settings.max_sessions && !is_draining;
    world.pool.wanted().filter(|_wanted| has_place)
}

/// Waits until something may have changed.
async fn idle(
    pool: &Pool,
    draining: &mut watch::Receiver<Option<Draining>>,
    closing: &CancellationToken,
) {
    let wait = pool.next_change().map_or(INTERVAL, |at| pool.clock.until(at)).min(INTERVAL);
    let is_used = pool.is_used();
    tokio::select! {
        () = pool.changed.notified() => {}
        _ = draining.changed() => {}
        () = sleep(wait), if is_used => {}
        () = closing.cancelled() => {}
    }
}

async fn start(
    world: &World,
    shape: &Shape,
    closing: &CancellationToken,
) -> Result<(), LaunchError> {
    let pool = &world.pool;
    let session: SessionId = world.mint.mint(pool.clock.now());
    let (call_off, over) = (closing.child_token(), CancellationToken::new());
    let _over = over.clone().drop_guard();
    let starting = Starting { session, shape: shape.clone(), call_off: call_off.clone(), over };
    let began = pool.clock.now();
    {
        let mut state = pool.state.lock();
        state.starting = Some(starting);
        state.rate.on_start(pool.starts_per_minute, began);
    }
    let mark = Mark { shape: shape.clone(), settings: pool.settings.clone() };
    let order = Order { pooled: Some(mark.text()), ..Order::new(session, shape.spec()) };
    let span = tracing::info_span!("pool", session.id = %session);
    let launched = world.launcher.launch(order, call_off).instrument(span).await;
    let mut state = pool.state.lock();
    state.starting = None;
    state.counts.started = state.counts.started.saturating_add(u64::from(launched.is_ok()));
    if let (Ok(_), Some(figures)) = (&launched, state.figures(shape)) {
        figures.started.add(1);
        figures.fill.record((pool.clock.now() - began).to_std().unwrap_or_default());
    }
    drop(state);
    pool.add(session, shape.clone(), launched?, pool.clock.now());
    Ok(())
}

/// Takes over the desktops that waited in the pool of a former server, and ends those that
/// this server would start in another way.
pub async fn adopt(world: &Arc<World>, sessions: Vec<SessionId>) {
    let pool = &world.pool;
    for session in sessions {
        let mark = Mark::of(&world.directories.of(session).pooled().unwrap_or_default());
        let is_kept = |shape: &Shape| pool.state.lock().keeps(shape);
        let mark = mark.filter(|mark| mark.settings == pool.settings && is_kept(&mark.shape));
        let adopted = match mark {
            Some(Mark { shape, .. }) => {
                let adopted = world.launcher.adopt(Order::new(session, shape.spec())).await;
                adopted.map_err(|cause| cause.to_string()).map(|desktop| (shape, desktop))
            }
            None => Err("this server would start it otherwise".to_owned()),
        };
        match adopted {
            Ok((shape, desktop)) => {
                info!("a desktop of the former server's pool is adopted");
                pool.state.lock().counts.adopted += 1;
                pool.add(session, shape, desktop, session.minted_at());
            }
            Err(cause) => {
                info!("a desktop of the former server's pool is removed: {cause}");
                let swept = world.launcher.sweep(session, Files::AsSet);
                pool.runtime.spawn(async move {
                    for what in swept.await {
                        error!(session.id = %session, "left behind by a desktop of the pool, {session}: {what}");
                    }
                });
            }
        }
    }
}
