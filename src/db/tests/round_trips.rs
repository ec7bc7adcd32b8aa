//! Every value is read back equal to what was written.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use crate::db::store::Store as _;
use crate::db::testing::{mint, on_both, time};
use crate::db::{
    artifacts, audit_events, blocks, debug_sessions, organizations, runs, sessions, workflows,
};
use crate::domain::audit::AuditEvent;
use crate::domain::browser_settings::BrowserSettings;
use crate::domain::client_certificates::ClientCertificate;
use crate::domain::deadlines::Deadlines;
use crate::domain::debug_session::{DebugSession, DebugSessionStatus};
use crate::domain::egress::{EgressIdentity, EgressLists, NetworkLevel};
use crate::domain::http_credentials::HttpCredential;
use crate::domain::labels::Tags;
use crate::domain::lease::LeaseToken;
use crate::domain::occupancy::{Generation, Held, Occupancy, Occupant, RunnableType};
use crate::domain::profile::{ProfileAccess, ProfileUse};
use crate::domain::quota::Limits;
use crate::domain::run::{ArtifactRecord, BlockRecord, BlockStatus, RunStatus};
use crate::domain::session::{
    DesktopIdentity, Failure, FilesLevel, ProcessIdentity, SessionSpec, SessionStatus, Size,
};

pub(super) fn failure() -> Failure {
    Failure {
        code: "chromium_died".to_owned(),
        stage: Some("chromium".to_owned()),
        message: "Chromium ended — \"unexpectedly\"; 100 %.".to_owned(),
        exit: Some("signal 9 (SIGKILL)".to_owned()),
        log_tail: vec!["one".to_owned(), "zwölf\t\u{1F3AD}".to_owned()],
        hint: None,
    }
}

pub(super) fn desktop() -> DesktopIdentity {
    let process = |pid| ProcessIdentity { pid, start_time: u64::MAX, boot_id: "b-1".to_owned() };
    DesktopIdentity {
        display_number: 65_535,
        vnc_port: 5_901,
        devtools: "127.0.0.1:41234".parse().unwrap(),
        devtools_path: "/devtools/browser/0a".to_owned(),
        xvfb: process(1),
        vnc: None,
        chromium: process(i32::MAX),
        egress: Some(EgressIdentity {
            process: process(2),
            level: NetworkLevel::Enforced,
            directory: "/data/sessions/x/egress".into(),
            proxy: "127.0.0.1:3128".parse().unwrap(),
        }),
        files: Some(FilesLevel::Uid),
        sandbox: Some(true),
        start: None,
    }
}

fn any_time() -> impl Strategy<Value = chrono::DateTime<chrono::Utc>> {
    (0..4_000_000_000_i64, 0..1_000_000_u32)
        .prop_map(|(second, micro)| chrono::DateTime::from_timestamp(second, micro * 1000).unwrap())
}

fn any_occupancy() -> impl Strategy<Value = Occupancy> {
    let generation = any::<i64>().prop_map(Generation::new);
    let lease = any::<[u8; 32]>().prop_map(|secret| LeaseToken::new(secret).hash());
    let kind = prop::sample::select(vec![
        RunnableType::WorkflowRun,
        RunnableType::TaskRun,
        RunnableType::External,
    ]);
    let held = (kind, "[!-~]{1,255}", generation.clone(), lease.clone())
        .prop_flat_map(|parts| (Just(parts), any_time(), any_time(), any_time()))
        .prop_map(|((runnable_type, name, generation, lease), since, heartbeat_at, expires_at)| {
            let occupant = Occupant { runnable_type, runnable_id: name.parse().unwrap() };
            Occupancy::Held(Held { occupant, generation, lease, since, heartbeat_at, expires_at })
        });
    prop_oneof![
        held,
        (generation.clone(), prop::option::of(lease))
            .prop_map(|(last, released)| Occupancy::Vacant { last, released }),
        generation.prop_map(|last| Occupancy::Closed { last }),
    ]
}

fn credential() -> HttpCredential {
    let (origin, username) = ("https://a.example".to_owned(), "ann".to_owned());
    HttpCredential { origin, username, password: "secret".into() }
}

fn certificate() -> ClientCertificate {
    let (origin, cert_pem) = ("https://a.example".to_owned(), "certificate".to_owned());
    ClientCertificate { origin, cert_pem, key_pem: "key".into() }
}

fn any_spec() -> impl Strategy<Value = SessionSpec> {
    let url = prop::option::of("https://[a-z]{1,8}\\.example/[a-z?=&%0-9]{0,8}");
    (200..=7680_u32, 200..=7680_u32, url, 0..u32::MAX, any::<bool>()).prop_map(
        |(width, height, url, lifetime, some)| SessionSpec {
            size: Size::new(width, height).unwrap(),
            start_url: url.and_then(|url| url.parse().ok()),
            lifetime: Duration::from_secs(lifetime.into()),
            proxy: some.then(|| "socks5://u:p@proxy.example:1080".parse().unwrap()),
            echo: if some { json!({"extensions": ["a", 1.5, null]}) } else { json!(null) },
            egress: EgressLists {
                allow: if some { vec!["*.example:443".to_owned()] } else { vec![] },
                deny: vec![],
            },
            sanitize_after: some.then(|| Generation::new(i64::from(lifetime))),
            sanitize_due: some.then(|| Generation::new(i64::from(lifetime) + 1)),
            rotation: i64::from(some),
            name: some.then(|| format!("Müller's {lifetime}, {width}, {height}").parse().unwrap()),
            tags: if some { Tags::new(["a", "team:b"]).unwrap() } else { Tags::default() },
            settings: BrowserSettings {
                locale: some.then(|| "de-DE".to_owned()),
                http_credentials: some.then(credential).into_iter().collect(),
                client_certificates: some.then(certificate).into_iter().collect(),
                ..BrowserSettings::default()
            },
            profile: some.then(|| ProfileUse {
                id: 7.into(),
                is_new: true,
                version: Some(i64::from(lifetime)),
                access: ProfileAccess::Write,
            }),
            organization_egress: EgressLists {
                allow: vec![],
                deny: if some { vec!["10.0.0.0/8:80,443".to_owned()] } else { vec![] },
            },
        },
    )
}

#[test]
fn any_session() {
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::TestRunner;

    on_both(async |world| {
        let tenant = world.tenant().await;
        let mut runner = TestRunner::default();
        for number in 0..64 {
            let some = number % 2 == 0;
            let times = prop::collection::vec(prop::option::of(any_time()), 4);
            let draw = (any_occupancy(), any_spec(), times, any_time(), any_time());
            let (occupancy, spec, times, created_at, modified_at) =
                draw.new_tree(&mut runner).unwrap().current();
            let mut session = tenant.session(0);
            session.status = SessionStatus::ALL[number % SessionStatus::ALL.len()];
            session.occupancy = occupancy;
            session.spec = spec;
            session.desktop = some.then(desktop);
            session.deadlines =
                Deadlines { start_by: times[1], expires_at: times[0], idle_expires_at: times[1] };
            session.failure = some.then(failure);
            (session.started_at, session.completed_at) = (times[2], times[3]);
            (session.created_at, session.modified_at) = (created_at, modified_at);
            world.db.insert_session(session.clone(), Limits::default(), Vec::new()).await.unwrap();
            // The write is safe to repeat.
            world.db.insert_session(session.clone(), Limits::default(), Vec::new()).await.unwrap();
            let read = sessions::by_id(&world.db, tenant.organization, session.id).await.unwrap();
            assert_eq!(read, Some(session.clone()));
            assert_eq!(sessions::by_id(&world.db, mint(), session.id).await.unwrap(), None);
        }
    });
}

#[test]
fn the_egress_of_a_session_and_of_an_organization() {
    on_both(async |world| {
        let tenant = world.tenant().await;
        let mut session = tenant.session(0);
        world.db.insert_session(session.clone(), Limits::default(), Vec::new()).await.unwrap();
        let lists = |allow: &[&str], deny: &[&str]| EgressLists {
            allow: allow.iter().map(|rule| (*rule).to_owned()).collect(),
            deny: deny.iter().map(|rule| (*rule).to_owned()).collect(),
        };
        for (own, organization, proxy) in [
            (lists(&["a.example"], &[]), lists(&[], &["b.example"]), Some("http://u:p@h:1/")),
            (lists(&[], &["*:25"]), EgressLists::default(), None),
            (EgressLists::default(), EgressLists::default(), None),
        ] {
            session.spec = SessionSpec {
                egress: own,
                organization_egress: organization.clone(),
                proxy: proxy.map(|url| url.parse().unwrap()),
                echo: json!({ "proxy_location": proxy }),
                ..session.spec
            };
            world.db.change_egress(session.id, session.spec.clone()).await.unwrap();
            let read = sessions::by_id(&world.db, tenant.organization, session.id).await.unwrap();
            assert_eq!(read.unwrap().spec, session.spec);

            let id = tenant.organization;
            organizations::set_egress(&world.db, id, &organization).await.unwrap();
            assert_eq!(world.db.organization_egress(id).await.unwrap(), organization);
            assert_eq!(
                organizations::egress(&world.db, mint()).await.unwrap(),
                EgressLists::default()
            );
        }
        assert!(world.db.change_egress(mint(), session.spec).await.is_err());
    });
}

#[test]
fn a_time_is_cut_to_microseconds() {
    on_both(async |world| {
        let tenant = world.tenant().await;
        let mut session = tenant.session(0);
        let cut = session.created_at;
        session.created_at += chrono::TimeDelta::nanoseconds(999);
        world.db.insert_session(session.clone(), Limits::default(), Vec::new()).await.unwrap();
        let read = sessions::by_id(&world.db, tenant.organization, session.id).await.unwrap();
        assert_eq!(read.unwrap().created_at, cut);
    });
}

#[test]
fn an_organization_and_a_workflow() {
    on_both(async |world| {
        let (db, tenant) = (&world.db, world.tenant().await);
        let organization = organizations::by_id(db, tenant.organization).await.unwrap().unwrap();
        assert_eq!(organization.name, "Ann's theatre");
        assert_eq!(organizations::first(db).await.unwrap(), Some(organization));
        let read = workflows::by_id(db, tenant.organization, tenant.workflow.id).await.unwrap();
        assert_eq!(read, Some(tenant.workflow));
    });
}

#[test]
fn a_run_with_its_blocks_artifacts_and_deliveries() {
    on_both(async |world| {
        let (db, tenant) = (&world.db, world.tenant().await);
        for (number, status) in RunStatus::ALL.iter().enumerate() {
            let some = number % 2 == 0;
            let mut run = tenant.run(7);
            run.status = *status;
            run.session = some.then(mint);
            run.owns_session = some;
            run.debug_session = some.then(mint);
            run.title = some.then(|| "Zwölf \u{1F3AD} 100%".to_owned());
            run.parameters = json!({"a": {"deep": [true, 1e300, -5, "\u{0}\u{7f}"]}});
            run.failure = some.then(failure);
            run.queued_at = some.then(|| time(1));
            run.started_at = some.then(|| time(2));
            run.finished_at = some.then(|| time(3));
            db.insert_run(run.clone(), Limits::default()).await.unwrap();
            assert_eq!(
                runs::by_id(db, tenant.organization, run.id).await.unwrap().as_ref(),
                Some(&run)
            );
            assert_eq!(runs::by_id(db, mint(), run.id).await.unwrap(), None);
        }

        let run = tenant.run(0);
        db.insert_run(run.clone(), Limits::default()).await.unwrap();
        let mut first = BlockRecord {
            id: mint(),
            run: run.id,
            organization: tenant.organization,
            parent: None,
            position: 0,
            label: "open".to_owned(),
            block_type: "goto_url".to_owned(),
            status: BlockStatus::Running,
            output: None,
            failure: None,
            started_at: time(1),
            finished_at: None,
        };
        let second = BlockRecord {
            id: mint(),
            position: 1,
            parent: Some(first.id),
            output: Some(json!(null)),
            ..first.clone()
        };
        db.insert_block(second.clone()).await.unwrap();
        db.insert_block(first.clone()).await.unwrap();
        first.status = BlockStatus::Failed;
        first.output = Some(json!({"text": "x"}));
        first.failure = Some(failure());
        first.finished_at = Some(time(4));
        db.end_block(first.clone()).await.unwrap();
        let read = blocks::of_run(db, tenant.organization, run.id).await.unwrap();
        assert_eq!(read, [first.clone(), second]);
        assert!(blocks::of_run(db, mint(), run.id).await.unwrap().is_empty());
        let unknown = BlockRecord { id: mint(), ..first.clone() };
        assert!(db.end_block(unknown).await.is_err());

        let artifact = ArtifactRecord {
            id: mint(),
            organization: tenant.organization,
            session: Some(mint()),
            run: Some(run.id),
            block: Some(first.id),
            artifact_type: "screenshot".to_owned(),
            path: "o_1/a_1.png".to_owned(),
            media_type: "image/png".to_owned(),
            size: i64::MAX,
            checksum: Some("00ff".to_owned()),
            created_at: time(5),
            rotation: 0,
        };
        let download = ArtifactRecord {
            id: mint(),
            artifact_type: "download".to_owned(),
            block: None,
            checksum: None,
            created_at: time(6),
            ..artifact.clone()
        };
        db.insert_artifact(download.clone()).await.unwrap();
        db.insert_artifact(artifact.clone()).await.unwrap();
        let of_run = |types: Vec<String>| artifacts::of_run(db, tenant.organization, run.id, types);
        assert_eq!(of_run(vec![]).await.unwrap(), [artifact.clone(), download.clone()]);
        assert_eq!(
            of_run(vec!["download".to_owned()]).await.unwrap(),
            std::slice::from_ref(&download)
        );
        let one = artifacts::by_id(db, tenant.organization, artifact.id).await.unwrap();
        assert_eq!(one.as_ref(), Some(&artifact));
        assert_eq!(artifacts::by_id(db, mint(), artifact.id).await.unwrap(), None);
        let session = artifact.session.unwrap();
        let listed = artifacts::of_session(db, tenant.organization, session).await.unwrap();
        assert_eq!(listed, [artifact, download]);
    });
}

#[test]
fn a_debug_session_and_an_audit_event() {
    on_both(async |world| {
        let (db, tenant) = (&world.db, world.tenant().await);
        let session = DebugSession {
            id: mint(),
            organization: tenant.organization,
            user: "ann@example".to_owned(),
            workflow_permanent_id: mint(),
            session: mint(),
            status: DebugSessionStatus::Completed,
            expires_at: time(3),
            created_at: time(1),
            modified_at: time(2),
        };
        debug_sessions::insert(db, &session).await.unwrap();
        let read = debug_sessions::by_id(db, tenant.organization, session.id).await.unwrap();
        assert_eq!(read.as_ref(), Some(&session));
        let behind = debug_sessions::live_behind(db, tenant.organization, session.session);
        assert_eq!(behind.await.unwrap(), None);

        let event = AuditEvent {
            id: mint(),
            message_id: i64::MAX,
            cause: Some(4),
            kind: "begin".to_owned(),
            sender: "http".to_owned(),
            receiver: "registry".to_owned(),
            organization: Some(mint()),
            session: Some(mint()),
            run: Some(mint()),
            outcome: "refused".to_owned(),
            summary: json!({"generation": 3}),
            key: Some("oat_1".to_owned()),
            address: Some("192.0.2.1".to_owned()),
            request: Some("r-1".to_owned()),
            at: time(1),
        };
        let bare = AuditEvent {
            id: mint(),
            cause: None,
            organization: None,
            session: None,
            run: None,
            key: None,
            address: None,
            request: None,
            at: time(0),
            ..event.clone()
        };
        db.insert_audit(vec![]).await.unwrap();
        db.insert_audit(vec![event.clone()]).await.unwrap();
        db.insert_audit(vec![event.clone(), bare.clone()]).await.unwrap();
        let read = audit_events::list(db, audit_events::Filter::default(), None, 9).await.unwrap();
        assert_eq!(read, [event, bare]);
    });
}
