use std::time::Duration;

use super::*;
use crate::domain::deadlines::Deadlines;
use crate::domain::occupancy::{Event, Occupancy, Occupant, QueuePosition};
use crate::domain::session::{SessionRecord, SessionSpec};

fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap()
}

fn view(status: SessionStatus) -> SessionView {
    SessionView::of_stored(SessionRecord {
        id: 1.into(),
        organization: 2.into(),
        node: 3.into(),
        status,
        spec: SessionSpec::default(),
        desktop: None,
        occupancy: Occupancy::default(),
        deadlines: Deadlines::default(),
        failure: None,
        created_at: at(0),
        started_at: Some(at(1)),
        completed_at: None,
        modified_at: at(1),
    })
}

fn facts(second: i64) -> Facts {
    Facts { now: at(second), is_here: true, ..Facts::default() }
}

fn occupant(kind: RunnableType, id: &str) -> Occupant {
    Occupant { runnable_type: kind, runnable_id: id.parse().unwrap() }
}

fn chromium(state: ProcessState) -> ProgramReport {
    ProgramReport {
        name: "chromium".to_owned(),
        role: None,
        pid: 123,
        state,
        stuck_for: Some(Duration::from_secs(12)),
        cpu: Duration::ZERO,
        memory_bytes: 0,
        processes: 1,
        started_at: None,
        log: vec!["the log".to_owned()],
    }
}

#[test]
fn a_stopped_browser_is_named_with_its_pid_to_operators_only() {
    let facts = Facts { programs: vec![chromium(ProcessState::Stopped)], ..facts(60) };
    let view = view(SessionStatus::Running);
    let operator = verdict(&view, &facts, Reader::Operator);
    assert_eq!(operator.summary, "Chromium (pid 123) has been stopped (SIGSTOP) for 12 s.");
    assert_eq!((operator.cause, operator.well), ("program_stopped", false));
    assert_eq!(operator.since, Some(at(48)));
    assert_eq!(operator.details[0], "`kill -CONT 123` continues it.");
    let organization = verdict(&view, &facts, Reader::Organization);
    assert_eq!(organization.summary, "Chromium has been stopped (SIGSTOP) for 12 s.");
    assert!(!format!("{organization:?}").contains("123"), "{organization:?}");
}

#[test]
fn a_held_session_is_explained_by_its_holder_its_queue_and_its_lease() {
    let mut view = view(SessionStatus::Running);
    let begin = Event::Begin {
        occupant: occupant(RunnableType::WorkflowRun, "wr_1"),
        lease: crate::domain::lease::LeaseToken::new([1; 32]).hash(),
        now: at(20),
        expires_at: at(80),
    };
    view.record.occupancy = view.record.occupancy.after(begin).unwrap();
    let alone = verdict(&view, &facts(60), Reader::Organization);
    assert!(alone.well && alone.waiting_for.is_none(), "{alone:?}");
    for (place, name) in [(1, "ann"), (2, "bob"), (3, "cem")] {
        let since = at(30 + i64::try_from(place).unwrap());
        let occupant = occupant(RunnableType::External, name);
        let place = QueuePosition(place);
        view.waiters.push(WaiterView { place, occupant, since, until: at(90) });
    }
    let held = verdict(&view, &facts(60), Reader::Organization);
    let expected = "The session has been held by run wr_1 for 40 s, and 3 callers wait; the lease ends \
                    in 20 s unless it is renewed.";
    assert_eq!(held.summary, expected);
    assert_eq!(held.waiting_for.unwrap().since, Some(at(31)));
    assert_eq!(held.details[0], "external ann has waited for 29 s, and waits 30 s more.");
}

#[test]
fn a_failed_start_is_explained_by_its_failure_or_by_the_lack_behind_it() {
    let mut view = view(SessionStatus::Failed);
    view.record.started_at = None;
    view.record.completed_at = Some(at(50));
    let missing = Failure::new("chromium_missing", "the program /x is missing")
        .stage("chromium")
        .hint("install the Debian package `chromium`");
    view.record.failure = Some(missing);
    let failed = verdict(&view, &facts(60), Reader::Organization);
    let expected =
        "The start failed: the program /x is missing; install the Debian package `chromium`.";
    assert_eq!((failed.cause, failed.summary.as_str()), ("start_failed", expected));

    let lack = NoRoom {
        what: SHARED_MEMORY.to_owned(),
        available: 10,
        needed: 64,
        unit: "MiB",
        setting: "limits.spare_shared_memory_mib",
    };
    let facts = Facts { lack: Some(lack), ..facts(60) };
    let failed = verdict(&view, &facts, Reader::Organization);
    let start = "The start failed: /dev/shm has 10 MiB free, and another session needs 64 \
                 (limits.spare_shared_memory_mib); enlarge it with";
    assert!(failed.summary.starts_with(start), "{}", failed.summary);
    assert!(failed.details[0].contains("the program /x is missing"), "{failed:?}");
}

#[test]
fn every_status_has_a_sentence() {
    for status in SessionStatus::ALL {
        for started_at in [None, Some(at(1))] {
            let mut view = view(status);
            view.record.started_at = started_at;
            let verdict = verdict(&view, &facts(60), Reader::Organization);
            assert!(verdict.summary.ends_with('.'), "{status}: {verdict:?}");
        }
    }
}

#[test]
fn a_span_is_shown_in_the_units_that_suit_it() {
    let shown = [12, 65, 4_000, -5].map(|seconds| span(TimeDelta::seconds(seconds)));
    assert_eq!(shown, ["12 s", "1 min 05 s", "1 h 06 min", "0 s"]);
}
