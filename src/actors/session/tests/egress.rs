//! Changes of what a session's programs reach, on a paused clock.

use std::sync::Arc;

use super::*;
use crate::actors::registry::{Create, RegistryError, Start};
use crate::actors::testing::FakeEgress;
use crate::domain::egress::{EgressAsked, EgressLists};
use crate::domain::quota::{Limits, Quota};
use crate::domain::session::SessionSpec;
use crate::egress::status::{ConnectionCounts, RefusedRow};
use crate::system::desktop::{EgressError, EgressStatus};

fn lists(allow: &[&str], deny: &[&str]) -> EgressLists {
    let owned = |rules: &[&str]| rules.iter().map(|rule| (*rule).to_owned()).collect();
    EgressLists { allow: owned(allow), deny: owned(deny) }
}

fn patch(deny: &str) -> EgressPatch {
    EgressPatch { deny: Some(vec![deny.to_owned()]), ..EgressPatch::default() }
}

fn change(deny: &str) -> ChangeEgress {
    ChangeEgress { change: EgressChange::Session(patch(deny)) }
}

/// Adds a target to the denied list of the organization, and returns the change.
fn of_organization(stage: &Stage, deny: &str) -> ChangeEgress {
    *stage.rows.egress.lock() = lists(&[], &[deny]);
    ChangeEgress { change: EgressChange::Organization }
}

fn program(stage: &Stage) -> Arc<FakeEgress> {
    stage.desktops.egress.lock().clone().unwrap()
}

async fn made(stage: &Stage, spec: SessionSpec, start: Start) -> Created {
    let organization = Stage::organization();
    let create = Create {
        organization,
        spec,
        start,
        run: None,
        id: None,
        must_write: false,
        storage_state: None,
    };
    stage.registry.ask(create).await.unwrap().unwrap()
}

#[actix::test]
async fn a_change_is_put_in_force_and_stored_and_a_refused_one_changes_nothing() {
    pause();
    let stage = Stage::new(Outside::default());
    *stage.rows.egress.lock() = lists(&[], &["evil.example"]);
    let (id, view) = stage.running().await;
    let program = program(&stage);
    assert_eq!(program.in_force().organization, lists(&[], &["evil.example"]));
    assert_eq!(stage.rows.session(id).spec.organization_egress, lists(&[], &["evil.example"]));

    let upstream: url::Url = "http://ann:hunter2@proxy.example:3128/".parse().unwrap();
    let wanted = EgressPatch {
        allow: Some(vec!["*.example".to_owned()]),
        upstream: Some(Some(upstream.clone())),
        ..EgressPatch::default()
    };
    assert!(!format!("{wanted:?}").contains("hunter2"), "{wanted:?}");
    let message = ChangeEgress { change: EgressChange::Session(wanted) };
    assert!(!crate::actors::ask::Ask::summary(&message).to_string().contains("hunter2"));
    let changed = ask!(stage, id, message).unwrap();
    assert_eq!(changed.record.spec.proxy, Some(upstream.clone()));
    assert_eq!(view.borrow().record.spec, stage.rows.session(id).spec);
    let in_force = EgressAsked {
        organization: lists(&[], &["evil.example"]),
        session: lists(&["*.example"], &[]),
        upstream: Some(upstream),
        is_exhausted: false,
    };
    assert_eq!(program.in_force(), in_force);

    program.fails.lock().push_back(EgressError::Invalid("no".to_owned()));
    let refused = ask!(stage, id, change("b.example"));
    assert!(matches!(
        refused,
        Err(RouteError::Session(SessionError::Egress(EgressError::Invalid(_))))
    ));
    *stage.rows.broken.lock() = true;
    let unstored = ask!(stage, id, change("b.example"));
    assert!(matches!(unstored, Err(RouteError::Session(SessionError::NotStored(_)))));
    *stage.rows.broken.lock() = false;
    assert_eq!(program.in_force(), in_force, "the former policy is in force again");
    assert_eq!(stage.rows.session(id).spec.egress, lists(&["*.example"], &[]));

    let check = |patch| CheckEgress { url: "https://c.example/".to_owned(), patch };
    assert!(ask!(stage, id, check(None)).unwrap().ok);
    assert!(!ask!(stage, id, check(Some(patch("c.example")))).unwrap().ok);
    assert_eq!(program.in_force(), in_force, "a check changes nothing");
}

#[actix::test]
async fn changes_at_once_take_effect_one_after_the_other() {
    pause();
    let stage = Stage::new(Outside::default());
    let (id, _) = stage.running().await;
    *program(&stage).slow.lock() = Duration::from_millis(100);
    let allow = EgressPatch { allow: Some(vec!["a.example".to_owned()]), ..EgressPatch::default() };
    let allow = ChangeEgress { change: EgressChange::Session(allow) };
    let (one, two, three) = tokio::join!(
        stage.registry.ask(route(id, change("b.example"))),
        stage.registry.ask(route(id, allow)),
        stage.registry.ask(route(id, of_organization(&stage, "c.example"))),
    );
    for changed in [one, two, three] {
        changed.unwrap().unwrap();
    }
    let spec = stage.rows.session(id).spec;
    assert_eq!(spec.egress, lists(&["a.example"], &["b.example"]));
    assert_eq!(spec.organization_egress, lists(&[], &["c.example"]));
    assert_eq!(program(&stage).in_force().session, spec.egress);
}

#[actix::test]
async fn what_changes_while_a_desktop_comes_up_or_back_is_in_force_when_it_runs() {
    pause();
    let stage = Stage::new(Outside::default());
    let Created { id, mut view } = stage.create().await;
    sleep(Duration::from_millis(500)).await;
    let early = ask!(stage, id, change("a.example"));
    assert!(matches!(early, Err(RouteError::Session(SessionError::Starting))));
    ask!(stage, id, of_organization(&stage, "b.example")).unwrap();
    let program = program(&stage);
    assert_eq!(program.in_force().organization, EgressLists::default());
    view.wait_for(|view| view.record.status == SessionStatus::Running).await.unwrap();
    sleep(Duration::from_millis(10)).await;
    assert_eq!(program.in_force().organization, lists(&[], &["b.example"]));

    stage.desktops.kill.notify_waiters();
    view.wait_for(|view| view.record.status == SessionStatus::Retry).await.unwrap();
    program.fails.lock().push_back(EgressError::Unanswered("gone".to_owned()));
    ask!(stage, id, of_organization(&stage, "c.example")).unwrap();
    view.wait_for(|view| view.record.status == SessionStatus::Running).await.unwrap();
    sleep(Duration::from_secs(3)).await;
    assert_eq!(program.in_force().organization, lists(&[], &["c.example"]), "it is tried again");
}

#[actix::test]
async fn the_organizations_lists_are_stored_even_where_they_are_not_put_in_force() {
    pause();
    let stage = Stage::new(Outside::default());
    let (id, _) = stage.running().await;
    let fails = || program(&stage).fails.lock().push_back(EgressError::Unanswered("x".to_owned()));
    fails();
    let failed = ask!(stage, id, of_organization(&stage, "b.example"));
    assert!(matches!(failed, Err(RouteError::Session(SessionError::Egress(_)))));
    assert_eq!(stage.rows.session(id).spec.organization_egress, lists(&[], &["b.example"]));
    sleep(Duration::from_secs(3)).await;
    assert_eq!(program(&stage).in_force().organization, lists(&[], &["b.example"]));
}

#[actix::test]
async fn a_dormant_session_keeps_a_change_for_its_launch() {
    pause();
    let stage = Stage::new(Outside::default());
    let Created { id, .. } = made(&stage, SessionSpec::default(), Start::FirstUse).await;
    ask!(stage, id, change("a.example")).unwrap();
    assert!(program(&stage).policies.lock().is_empty());
    *stage.rows.egress.lock() = lists(&["*.example"], &[]);
    let registry = stage.registry.downgrade();
    let views = &stage.world.views;
    crate::actors::registry::awake(&registry, views, Stage::organization(), id).await.unwrap();
    let in_force = program(&stage).in_force();
    assert_eq!(in_force.session, lists(&[], &["a.example"]));
    assert_eq!(in_force.organization, lists(&["*.example"], &[]));
}

#[actix::test]
async fn an_adopted_session_has_the_policy_that_is_stored() {
    pause();
    let stage = Stage::new(Outside::default());
    let (id, _) = stage.running().await;
    ask!(stage, id, change("a.example")).unwrap();
    stage.registry.ask(DetachAll).await.unwrap();
    program(&stage).policies.lock().clear();
    *stage.rows.egress.lock() = lists(&[], &["b.example"]);
    *stage.desktops.identity.lock() = stage.rows.session(id).desktop;
    let records = vec![stage.rows.session(id)];
    stage.registry.ask(Adopt { records }).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    let in_force = program(&stage).in_force();
    assert_eq!(in_force.session, lists(&[], &["a.example"]));
    assert_eq!(in_force.organization, lists(&[], &["b.example"]));
    assert_eq!(stage.rows.session(id).spec.organization_egress, lists(&[], &["b.example"]));
}

#[actix::test]
async fn without_a_separate_network_nothing_is_promised() {
    pause();
    let stage = Stage::new(Outside::default());
    *stage.desktops.egress.lock() = None;
    let (id, _) = stage.running().await;
    for answer in [
        ask!(stage, id, change("a.example")).map(drop),
        ask!(stage, id, CheckEgress { url: "http://a.example/".to_owned(), patch: None }).map(drop),
        ask!(stage, id, of_organization(&stage, "a.example")).map(drop),
    ] {
        assert!(matches!(answer, Err(RouteError::Session(SessionError::NoEgress))), "{answer:?}");
    }
    assert_eq!(stage.rows.session(id).spec.egress, EgressLists::default());
    ask!(stage, id, Close { status: SessionStatus::Completed }).unwrap();
    *stage.rows.egress.lock() = EgressLists::default();

    let plain = SessionSpec { proxy: "http://proxy:1/".parse().ok(), ..SessionSpec::default() };
    let Created { mut view, .. } = made(&stage, plain, Start::Now).await;
    let runs = |view: &SessionView| view.record.status != SessionStatus::Created;
    let status = view.wait_for(runs).await.unwrap().record.status;
    assert_eq!(status, SessionStatus::Running, "the browser knows proxies without credentials");

    let narrowed = SessionSpec { egress: lists(&["a.example"], &[]), ..SessionSpec::default() };
    let secret =
        SessionSpec { proxy: "http://u:p@proxy:1/".parse().ok(), ..SessionSpec::default() };
    for spec in [narrowed, secret] {
        let Created { mut view, .. } = made(&stage, spec, Start::Now).await;
        let ended = view.wait_for(|view| view.record.status.is_final()).await.unwrap().clone();
        assert_eq!(ended.record.failure.unwrap().code, "egress_unavailable");
    }
    assert_eq!(stage.desktops.alive(), 1, "only the plain one is left");
}

#[actix::test]
async fn refused_requests_become_events_and_counters() {
    pause();
    let mut stage = Stage::new(Outside::default());
    let (id, _) = stage.running().await;
    let status = |count| EgressStatus {
        bytes_sent: 10,
        bytes_received: 20,
        connections: ConnectionCounts { open: 0, accepted: 1, rejected: 0 },
        refused: vec![RefusedRow {
            host: "intra.example".to_owned(),
            port: 443,
            code: "address_not_public".to_owned(),
            count,
            last_ms: u64::MAX,
        }],
        refused_unlisted: 0,
        upstream_error: None,
        policy: None,
    };
    let program = program(&stage);
    for count in [1, 4, 9] {
        program.status.send_replace(Some(status(count)));
        sleep(Duration::from_secs(1)).await;
    }
    let traffic = stage.world.views.traffic(id).unwrap();
    assert_eq!(traffic.status.borrow().as_ref().map(|status| status.bytes_received), Some(20));
    sleep(Duration::from_secs(60)).await;
    program.status.send_replace(Some(status(10)));
    sleep(Duration::from_millis(10)).await;
    ask!(stage, id, Close { status: SessionStatus::Completed }).unwrap();
    sleep(Duration::from_millis(10)).await;
    let recorded = stage.recorded.next(1_000).await;
    let counts: Vec<_> = recorded
        .iter()
        .filter(|event| event.kind == EventKind::SessionEgressRefused)
        .map(|event| event.data["count"].as_u64().unwrap())
        .collect();
    assert_eq!(counts, [1, 8, 1], "one at once, one a minute later, the rest at the end");
    let first = recorded.iter().find(|it| it.kind == EventKind::SessionEgressRefused).unwrap();
    assert_eq!(first.subject.session, Some(id));
    assert_eq!(first.data["target"], "intra.example:443");
    assert!(first.data["message"].as_str().unwrap().contains("`egress.allow`"));
    assert!(stage.world.views.traffic(id).is_none(), "nothing is left");
}

#[actix::test]
async fn an_organization_that_has_used_up_its_traffic_reaches_nothing_until_it_may_again() {
    pause();
    let stage = Stage::new(Outside::default());
    let (id, _) = stage.running().await;
    let program = program(&stage);
    assert!(!program.in_force().is_exhausted);
    let limit = |limit| {
        let mut own = Limits::default();
        own.set(Quota::EgressMibPerDay, limit);
        stage.world.quotas.set_limits(Stage::organization(), own);
    };
    limit(Some(0));
    ask!(stage, id, RefreshEgress).unwrap();
    sleep(Duration::from_secs(1)).await;
    assert!(program.in_force().is_exhausted);
    // A change by a client opens nothing, and neither does another desktop.
    ask!(stage, id, change("a.example")).unwrap();
    assert!(program.in_force().is_exhausted);
    assert_eq!(program.in_force().session, lists(&[], &["a.example"]));

    limit(None);
    ask!(stage, id, RefreshEgress).unwrap();
    sleep(Duration::from_secs(1)).await;
    assert!(!program.in_force().is_exhausted);
    assert_eq!(program.in_force().session, lists(&[], &["a.example"]));
    limit(Some(0));
    let create = Create {
        organization: Stage::organization(),
        spec: SessionSpec::default(),
        start: Start::Now,
        run: None,
        id: None,
        must_write: false,
        storage_state: None,
    };
    let refused = stage.registry.ask(create).await.unwrap();
    let Err(RegistryError::Quota(refusal)) = refused else { panic!("{refused:?}") };
    assert_eq!(refusal.quota, Quota::EgressMibPerDay);
}
