//! Invariants of an occupancy.

use proptest::prelude::*;

use super::*;
use crate::domain::lease::LeaseToken;

fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap()
}

fn occupant(name: &str) -> Occupant {
    Occupant { runnable_type: RunnableType::External, runnable_id: name.parse().unwrap() }
}

/// Returns the lease of a name. Each name has one secret.
fn lease(name: &str) -> LeaseHash {
    LeaseToken::new(*blake3::hash(name.as_bytes()).as_bytes()).hash()
}

/// Parses `begin WHO NOW UNTIL`, `heartbeat WHO GENERATION NOW UNTIL`, `release WHO GENERATION`,
/// `lapse NOW` and `close`. `WHO` may be `name/secret` for an occupant with another's secret.
fn event(line: &str) -> Event {
    let words: Vec<&str> = line.split(' ').collect();
    let number = |index: usize| words[index].parse::<i64>().unwrap();
    let who = || {
        let (name, secret) = words[1].split_once('/').unwrap_or((words[1], words[1]));
        (occupant(name), lease(secret))
    };
    match words[0] {
        "begin" => {
            let (occupant, lease) = who();
            Event::Begin { occupant, lease, now: at(number(2)), expires_at: at(number(3)) }
        }
        "heartbeat" => Event::Heartbeat {
            generation: Generation::new(number(2)),
            lease: who().1,
            now: at(number(3)),
            expires_at: at(number(4)),
        },
        "release" => Event::Release { generation: Generation::new(number(2)), lease: who().1 },
        "lapse" => Event::Lapse { now: at(number(1)) },
        "close" => Event::Close,
        other => panic!("no such event: {other}"),
    }
}

fn show(outcome: &Result<Occupancy, Refusal>) -> String {
    let second = |at: &DateTime<Utc>| at.timestamp() - 1_800_000_000;
    match outcome {
        Ok(Occupancy::Vacant { last, .. }) => format!("vacant after {last}"),
        Ok(Occupancy::Held(held)) => {
            let Held { occupant, generation, expires_at, .. } = held;
            format!("{} holds {generation} until {}", occupant.runnable_id, second(expires_at))
        }
        Ok(Occupancy::Closed { last }) => format!("closed after {last}"),
        Err(Refusal::Occupied { by, until }) => {
            format!("refused: {} until {}", by.runnable_id, second(until))
        }
        Err(Refusal::Lost { presented, latest }) => {
            format!("refused: {presented} lost to {latest}")
        }
        Err(Refusal::WrongLease { generation }) => format!("refused: wrong lease of {generation}"),
        Err(Refusal::Closed) => "refused: closed".to_owned(),
    }
}

#[track_caller]
fn check(events: &[&str], expected: &str) {
    let mut occupancy = Ok(Occupancy::default());
    for line in events {
        let before = occupancy.expect("only the last event may be refused");
        occupancy = before.after(event(line));
    }
    assert_eq!(show(&occupancy), expected, "after {events:?}");
}

#[test]
fn who_begins_first_holds_and_the_second_is_told_who_and_until_when() {
    check(&["begin ann 0 10"], "ann holds 1 until 10");
    check(&["begin ann 0 10", "begin bob 1 11"], "refused: ann until 10");
}

#[test]
fn the_clock_decides_that_a_lease_is_over_whether_or_not_it_has_lapsed() {
    check(&["begin ann 0 10", "begin bob 10 20"], "bob holds 2 until 20");
    check(&["begin ann 0 10", "heartbeat ann 1 10 20"], "refused: 1 lost to 1");
    check(&["begin ann 0 10", "lapse 9"], "ann holds 1 until 10");
    check(&["begin ann 0 10", "lapse 10"], "vacant after 1");
}

#[test]
fn a_late_release_does_not_free_the_next_occupant() {
    check(&["begin ann 0 10", "begin bob 10 20", "release ann 1"], "refused: 1 lost to 2");
}

#[test]
fn the_holder_may_begin_again_and_its_old_generation_is_lost() {
    check(&["begin ann 0 10", "begin ann 5 15"], "ann holds 2 until 15");
    check(&["begin ann 0 10", "begin ann 5 15", "heartbeat ann 1 6 16"], "refused: 1 lost to 2");
}

#[test]
fn knowing_a_name_is_not_enough_to_act_for_it() {
    check(&["begin ann 0 10", "begin ann/eve 5 15"], "refused: ann until 10");
    check(&["begin ann 0 10", "release ann/eve 1"], "refused: wrong lease of 1");
    check(&["begin ann 0 10", "heartbeat ann/eve 1 5 15"], "refused: wrong lease of 1");
}

#[test]
fn a_heartbeat_never_shortens_a_lease() {
    check(&["begin ann 0 10", "heartbeat ann 1 1 5"], "ann holds 1 until 10");
    check(&["begin ann 0 10", "heartbeat ann 1 1 50"], "ann holds 1 until 50");
}

#[test]
fn a_release_may_be_repeated_until_another_begins() {
    check(&["begin ann 0 10", "release ann 1", "release ann 1"], "vacant after 1");
    check(&["begin ann 0 10", "lapse 10", "release ann 1"], "refused: 1 lost to 1");
    check(
        &["begin ann 0 10", "release ann 1", "begin bob 2 9", "release ann 1"],
        "refused: 1 lost to 2",
    );
}

#[test]
fn closed_is_final() {
    check(&["begin ann 0 10", "close", "begin bob 20 30"], "refused: closed");
    check(&["begin ann 0 10", "close", "release ann 1"], "refused: closed");
    check(&["close", "close"], "closed after 0");
}

fn any_event() -> impl Strategy<Value = String> {
    let who = prop::sample::select(vec!["ann", "bob", "cyd", "ann/eve"]);
    let time = 0..30_i64;
    prop_oneof![
        4 => (who.clone(), time.clone(), 1..10_i64)
            .prop_map(|(who, now, ttl)| format!("begin {who} {now} {}", now + ttl)),
        3 => (who.clone(), 0..6_i64, time.clone(), 1..10_i64)
            .prop_map(|(who, generation, now, ttl)| {
                format!("heartbeat {who} {generation} {now} {}", now + ttl)
            }),
        3 => (who, 0..6_i64).prop_map(|(who, generation)| format!("release {who} {generation}")),
        2 => time.prop_map(|now| format!("lapse {now}")),
        1 => Just("close".to_owned()),
    ]
}

proptest! {
    #[test]
    fn only_a_begin_makes_a_generation_and_never_an_old_one(
        lines in prop::collection::vec(any_event(), 0..40)
    ) {
        let mut occupancy = Occupancy::default();
        for line in &lines {
            let Ok(next) = occupancy.after(event(line)) else { continue };
            let grew = next.generation() > occupancy.generation();
            prop_assert_eq!(grew, line.starts_with("begin"), "on {}", line);
            prop_assert!(next.generation() >= occupancy.generation());
            occupancy = next;
        }
    }

    #[test]
    fn a_holder_is_displaced_only_by_its_own_secret_or_by_the_clock(
        lines in prop::collection::vec(any_event(), 0..40)
    ) {
        let mut occupancy = Occupancy::default();
        for line in &lines {
            let event = event(line);
            let Ok(next) = occupancy.after(event.clone()) else { continue };
            if let (Some(before), Some(after)) = (occupancy.holder(), next.holder())
                && before.generation != after.generation
            {
                let Event::Begin { lease, now, .. } = event else { panic!("by {line}") };
                prop_assert!(before.lease == lease || before.expires_at <= now, "by {}", line);
            }
            occupancy = next;
        }
    }
}

#[test]
fn a_queue_serves_in_order_and_gives_up_places() {
    let mut queue = Queue::new(3);
    let ann = queue.join(occupant("ann"), at(10), ()).unwrap();
    queue.join(occupant("bob"), at(5), ()).unwrap();
    queue.join(occupant("cyd"), at(20), ()).unwrap();
    assert!(queue.join(occupant("dan"), at(20), ()).is_err(), "a full queue takes nobody");
    assert_eq!(queue.next_deadline(), Some(at(5)));

    let over: Vec<_> = queue.expire(at(5)).into_iter().map(|waiter| waiter.occupant).collect();
    assert_eq!(over, [occupant("bob")]);
    assert!(queue.leave(ann).is_some());
    assert!(queue.leave(ann).is_none());
    let places: Vec<_> =
        queue.places().map(|(place, waiter)| (place.0, &waiter.occupant)).collect();
    assert_eq!(places, [(1, &occupant("cyd"))]);
    assert_eq!(queue.take_first().map(|waiter| waiter.occupant), Some(occupant("cyd")));
    assert!(queue.is_empty());
}
