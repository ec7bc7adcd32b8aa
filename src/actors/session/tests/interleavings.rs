//! Property test of client interleavings, with outages of the database.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use proptest::prelude::*;
use tokio::time::{pause, sleep};

use super::*;
use crate::actors::testing::Stage;
use crate::domain::occupancy::Occupancy;

/// The behavior of a client after its begin.
#[derive(Debug, Clone, Copy)]
enum Then {
    /// It sends a heartbeat every ten seconds, and releases after so many of them.
    Releases { beats: u64 },
    /// It sends nothing more.
    FallsSilent,
    /// It leaves, if it still waits by then.
    Leaves { after: u64 },
}

/// A client: the gap before it arrives, its patience, and its behavior afterwards.
#[derive(Debug, Clone)]
struct Plan {
    gap: u64,
    patience: Option<u64>,
    then: Then,
}

fn any_plan() -> impl Strategy<Value = Plan> {
    let then = prop_oneof![
        4 => (0..5_u64).prop_map(|beats| Then::Releases { beats }),
        2 => Just(Then::FallsSilent),
        1 => (1..40_u64).prop_map(|after| Then::Leaves { after }),
    ];
    let patience = prop::option::weighted(0.8, 1..120_u64);
    (0..20_000_u64, patience, then).prop_map(|(gap, patience, then)| Plan { gap, patience, then })
}

/// An occupancy, as its client knows it.
#[derive(Debug)]
struct Stay {
    /// The index of the client in the order of arrival.
    arrival: usize,
    generation: Generation,
    from: DateTime<Utc>,
    /// The time of its release, or else of the end of its lease.
    until: DateTime<Utc>,
}

/// The outcome of a client.
#[derive(Debug)]
enum Fate {
    Served(Stay),
    Refused(SessionError),
}

async fn visit(stage: Arc<Stage>, id: SessionId, arrival: usize, plan: Plan) -> Fate {
    let name = format!("client{arrival}");
    let (message, gone) = match plan.patience {
        Some(seconds) => begin_or_wait(&name, seconds),
        None => (begin(&name), CancellationToken::new()),
    };
    if let Then::Leaves { after } = plan.then {
        tokio::spawn(async move {
            sleep(Duration::from_secs(after)).await;
            gone.cancel();
        });
    }
    let grant = match stage.registry.ask(route(id, message)).await.expect("an answer") {
        Ok(grant) => grant,
        Err(RouteError::Session(cause)) => return Fate::Refused(cause),
        Err(cause) => panic!("{name}: {cause}"),
    };
    let number = grant.generation.number();
    let now = || stage.world.clock.now();
    let from = now();
    let mut until = grant.expires_at;
    if let Then::Releases { beats } = plan.then {
        for _ in 0..beats {
            sleep(Duration::from_secs(10)).await;
            match stage.registry.ask(route(id, heartbeat(&name, number))).await.expect("an answer")
            {
                Ok(kept) => until = kept.expires_at,
                Err(_) => break,
            }
        }
        let asked = now();
        let released = stage.registry.ask(route(id, release(&name, number))).await;
        if released.expect("an answer").is_ok() {
            until = until.min(asked);
        }
    }
    Fate::Served(Stay { arrival, generation: grant.generation, from, until })
}

/// Plays all clients, and returns their outcomes and the final state of the session.
async fn play(plans: Vec<Plan>, outage: Option<(u64, u64)>, close_at: Option<u64>) -> Played {
    pause();
    let stage = Arc::new(Stage::new(Outside::default()));
    let (id, view) = stage.running().await;
    if let Some((from, seconds)) = outage {
        let rows = Arc::clone(&stage.rows);
        tokio::spawn(async move {
            sleep(Duration::from_secs(from)).await;
            *rows.broken.lock() = true;
            sleep(Duration::from_secs(seconds)).await;
            *rows.broken.lock() = false;
        });
    }
    let mut visits = Vec::new();
    for (arrival, plan) in plans.into_iter().enumerate() {
        sleep(Duration::from_millis(1 + plan.gap)).await;
        visits.push(tokio::spawn(visit(Arc::clone(&stage), id, arrival, plan)));
    }
    if let Some(after) = close_at {
        sleep(Duration::from_secs(after)).await;
        let closed = ask!(stage, id, Close { status: SessionStatus::Completed });
        match closed {
            Ok(()) => {}
            // The session continues to close, and its end is written when that is possible; the last
            // check decides.
            Err(RouteError::Session(SessionError::NotStored(_))) => assert!(outage.is_some()),
            Err(cause) => panic!("it does not close: {cause}"),
        }
    }
    let mut fates = Vec::new();
    for visit in visits {
        fates.push(visit.await.expect("every client is answered"));
    }
    sleep(TTL + Duration::from_secs(120)).await;
    let last = view.borrow().clone();
    let stored = stage.rows.session(id).occupancy;
    Played { fates, waiting: last.waiters.len(), shown: last.record.occupancy, stored }
}

#[derive(Debug)]
struct Played {
    fates: Vec<Fate>,
    waiting: usize,
    shown: Occupancy,
    stored: Occupancy,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn one_holds_it_at_a_time_in_the_order_of_arrival_and_all_are_answered(
        plans in prop::collection::vec(any_plan(), 1..14),
        outage in prop::option::weighted(0.3, (0..60_u64, 1..20_u64)),
        close_at in prop::option::weighted(0.3, 0..60_u64),
    ) {
        let played = actix::System::new().block_on(play(plans, outage, close_at));
        let Played { fates, waiting, shown, stored } = &played;
        let mut stays: Vec<&Stay> = Vec::new();
        for fate in fates {
            match fate {
                Fate::Served(stay) => stays.push(stay),
                Fate::Refused(
                    SessionError::Refused(Refusal::Occupied { .. } | Refusal::Closed)
                    | SessionError::WaitedInVain { .. }
                    | SessionError::WaitCalledOff
                    | SessionError::Closing,
                ) => {}
                Fate::Refused(SessionError::NotStored(_)) => prop_assert!(outage.is_some()),
                Fate::Refused(cause) => prop_assert!(false, "refused for no reason: {}", cause),
            }
        }
        stays.sort_by_key(|stay| stay.generation);
        for pair in stays.windows(2) {
            let [before, after] = pair else { continue };
            prop_assert!(before.generation < after.generation, "{:?}", pair);
            prop_assert!(before.until <= after.from, "two held it at once: {:?}", pair);
            prop_assert!(before.arrival < after.arrival, "out of order: {:?}", pair);
        }
        prop_assert_eq!(*waiting, 0, "a waiter is left");
        prop_assert!(shown.holder().is_none(), "it stays occupied: {:?}", shown);
        prop_assert_eq!(shown, stored, "the row says otherwise");
    }
}
