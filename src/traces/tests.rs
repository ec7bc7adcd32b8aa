use futures_util::FutureExt as _;
use tokio::sync::mpsc;

use super::*;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn traces(ratio: f64, parent_decides: bool) -> (Traces, mpsc::Receiver<Finished>) {
    let (sink, spans) = Sink::testing(ratio, parent_decides);
    (Traces(Some(sink)), spans)
}

fn span(name: &'static str) -> Option<Span> {
    Span::begin(Kind::Internal, || name.into(), Vec::new)
}

#[tokio::test]
async fn spans_of_one_piece_of_work_are_one_trace_also_in_tasks_that_carry_it() {
    let (traces, mut spans) = traces(1.0, false);
    let organization = Some(OrganizationId::from(7_u64));
    traces
        .begin()
        .unwrap()
        .scope(async {
            let mut outer = span("outer").unwrap();
            outer.about(About { organization, ..About::default() });
            let inner = async { span("inner").unwrap().end(true) };
            outer.trace().scope(async { tokio::spawn(carried(inner)).await }).await.unwrap();
            tokio::spawn(async { assert!(span("elsewhere").is_none()) }).await.unwrap();
            outer.end(false);
        })
        .await;
    let (inner, outer) = (spans.recv().await.unwrap(), spans.recv().await.unwrap());
    assert_eq!((&*inner.ended.name, &*outer.ended.name), ("inner", "outer"));
    assert_eq!((inner.trace, inner.parent), (outer.trace, Some(outer.id)));
    assert_eq!(outer.parent, None);
    assert_eq!(inner.about.organization, organization, "the subject is that of the parent");
    assert!(inner.ended.has_failed && !outer.ended.has_failed);
    assert!(spans.try_recv().is_err());
}

#[tokio::test]
async fn work_that_is_dropped_ends_its_span() {
    let (traces, mut spans) = traces(1.0, false);
    let work = async {
        let _span = span("dropped");
        std::future::pending::<()>().await;
    };
    assert!(traces.begin().unwrap().scope(work).now_or_never().is_none());
    let ended = spans.recv().await.unwrap().ended;
    assert!(matches!(ended.attributes[..], [("greenroom.abandoned", Value::Yes(true))]));
}

#[test]
fn the_ratio_decides_unless_the_settings_leave_it_to_the_client() {
    let left_out = PARENT.replace("-01", "-00");
    for (ratio, parent_decides, parent, is_kept) in [
        (1.0, false, None, true),
        (0.0, false, None, false),
        (1.0, false, Some(left_out.as_str()), true),
        (0.0, false, Some(PARENT), false),
        (0.0, true, Some(PARENT), true),
        (1.0, true, Some(left_out.as_str()), false),
        (0.0, true, None, false),
        (0.0, true, Some("00-garbage"), false),
    ] {
        let (traces, _spans) = traces(ratio, parent_decides);
        let trace = traces.of_request(parent).unwrap();
        assert_eq!(trace.open().is_some(), is_kept, "{ratio} {parent_decides} {parent:?}");
    }
    assert!(Traces::default().of_request(Some(PARENT)).is_none());
}

#[test]
fn the_trace_of_a_client_is_continued_and_a_wrong_one_is_not() {
    let (traces, mut spans) = traces(1.0, false);
    for parent in [PARENT, "00-garbage"] {
        let open = traces.of_request(Some(parent)).unwrap().open().unwrap();
        Span::around(open, Kind::Server, "request".into(), Vec::new()).end(false);
    }
    let remote = Remote::parse(PARENT).unwrap();
    let (continued, begun) = (spans.try_recv().unwrap(), spans.try_recv().unwrap());
    assert_eq!((continued.trace, continued.parent), (remote.trace, Some(remote.span)));
    assert_ne!(begun.trace, remote.trace);
    assert_eq!(begun.parent, None);
}

#[test]
fn spans_beyond_the_queue_are_counted_and_lost() {
    let (traces, spans) = traces(1.0, false);
    for _ in 0..7 {
        let open = traces.begin().unwrap().open().unwrap();
        Span::around(open, Kind::Internal, "work".into(), Vec::new()).end(false);
    }
    assert_eq!(traces.figures().unwrap().dropped.get(), 3);
    assert_eq!(spans.len(), 4);
}
