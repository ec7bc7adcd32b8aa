//! Tests of the reports of refused requests.

use super::*;
use crate::egress::status::{ConnectionCounts, RefusedRow};

fn status(rows: &[(&str, u64, u64)], unlisted: u64) -> EgressStatus {
    let row = |(host, count, last_ms): &(&str, u64, u64)| RefusedRow {
        host: (*host).to_owned(),
        port: 443,
        code: "address_not_public".to_owned(),
        count: *count,
        last_ms: *last_ms,
    };
    EgressStatus {
        bytes_sent: 0,
        bytes_received: 0,
        connections: ConnectionCounts { open: 0, accepted: 0, rejected: 0 },
        refused: rows.iter().map(row).collect(),
        refused_unlisted: unlisted,
        upstream_error: None,
        policy: None,
    }
}

fn reported(
    book: &mut Book,
    now: Instant,
    is_over: bool,
) -> Vec<(Option<RunId>, Option<String>, u64)> {
    let mut due: Vec<_> = book
        .due(now, is_over)
        .into_iter()
        .map(|(run, refused)| (run, refused.target, refused.count))
        .collect();
    due.sort();
    due
}

#[test]
fn a_target_is_reported_at_once_and_then_once_a_minute_with_all_that_came_meanwhile() {
    let mut book = Book { has_base: true, ..Book::default() };
    let (start, target) = (Instant::now(), |host: &str| Some(format!("{host}:443")));
    book.count(&status(&[("intra", 2, 1)], 0));
    assert_eq!(reported(&mut book, start, false), [(None, target("intra"), 2)]);
    book.count(&status(&[("intra", 7, 2), ("other", 1, 2)], 0));
    let soon = start + Duration::from_secs(1);
    assert_eq!(reported(&mut book, soon, false), [(None, target("other"), 1)]);
    assert_eq!(book.next(), Some(start + INTERVAL));
    let later = start + INTERVAL;
    assert_eq!(reported(&mut book, later, false), [(None, target("intra"), 5)]);
    book.count(&status(&[("intra", 8, 2), ("other", 1, 2)], 3));
    assert_eq!(
        reported(&mut book, later, true),
        [(None, None, 3), (None, target("intra"), 1)],
        "all that is left is reported at the end"
    );
    assert!(reported(&mut book, later + INTERVAL, true).is_empty() && book.entries.is_empty());
}

#[test]
fn a_refusal_belongs_to_the_run_that_held_the_session_then() {
    let mut book = Book { has_base: true, ..Book::default() };
    let (start, run) = (Instant::now(), RunId::from(7));
    let intra = || Some("intra:443".to_owned());
    assert!(book.hold(Some(run), 1_000));
    book.count(&status(&[("intra", 1, 1_100)], 0));
    assert_eq!(reported(&mut book, start, false), [(Some(run), intra(), 1)]);
    book.count(&status(&[("intra", 2, 1_200)], 0));
    assert_eq!(reported(&mut book, start, false), []);
    assert!(book.hold(None, 2_000), "the run has ended");
    assert_eq!(reported(&mut book, start, false), [(Some(run), intra(), 1)]);
    book.count(&status(&[("intra", 3, 1_900)], 0));
    assert_eq!(reported(&mut book, start, false), [(Some(run), intra(), 1)]);
    book.count(&status(&[("intra", 4, 2_100)], 0));
    assert_eq!(reported(&mut book, start, false), [(None, intra(), 1)]);
}

#[test]
fn counts_of_a_former_server_are_not_reported_again() {
    let mut book = Book::default();
    book.count(&status(&[("intra", 9, 1)], 4));
    assert_eq!(reported(&mut book, Instant::now(), false), []);
    book.count(&status(&[("intra", 10, 1)], 4));
    assert_eq!(reported(&mut book, Instant::now(), false).len(), 1);
    // A program that lost its counters counts from 0.
    book.count(&status(&[("intra", 1, 1)], 0));
    assert_eq!(reported(&mut book, Instant::now(), true).len(), 1);
}

#[test]
fn each_code_names_the_way_out() {
    for (code, way) in [
        ("address_not_public", "`egress.allow`"),
        ("host_not_listed", "PUT /v1/egress"),
        ("host_denied", "`egress.deny`"),
        ("port_refused", "`egress.allow`"),
        ("upstream_not_allowed", "`egress.any_upstream`"),
        ("policy_missing", "try again"),
        ("another", "(another)"),
    ] {
        let refused = Refused::new("::1", 80, code, 1);
        assert!(refused.message.contains(way), "{code}: {}", refused.message);
        assert!(refused.message.starts_with("[::1]:80"), "{code}");
    }
}
