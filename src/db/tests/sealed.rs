//! Secrets at rest in rows.

use serde_json::{Value, json};

use super::webhooks::webhook;
use crate::db::store::Store as _;
use crate::db::testing::{TestDb, mint, on_both, time, workflow};
use crate::db::{Db, api_keys, runs, sessions, webhooks, workflows};
use crate::domain::client_certificates::ClientCertificate;
use crate::domain::hmac::Signer;
use crate::domain::http_credentials::HttpCredential;
use crate::domain::quota::Limits;
use crate::domain::run::{RunRecord, WorkflowRecord};
use crate::domain::sealing::Vault;
use crate::domain::session::SessionRecord;
use crate::domain::tenancy::ApiKey;
use crate::domain::webhook::Webhook;

const PASSWORD: &str = "swordfish";
const KEY: &str = "-----BEGIN PRIVATE KEY-----";

/// One row of each kind that contains secrets.
struct Rows {
    session: SessionRecord,
    run: RunRecord,
    workflow: WorkflowRecord,
    webhook: Webhook,
    key: ApiKey,
}

fn with_proxy() -> Value {
    let url = format!("http://ann:{PASSWORD}@proxy.example:3128");
    json!({ "proxy_location": { "url": url }, "egress": { "upstream": url }, "other": 1 })
}

async fn written(db: &Db, world: &TestDb) -> Rows {
    let tenant = world.tenant().await;
    let mut session = tenant.session(1);
    session.spec.proxy = with_proxy()["proxy_location"]["url"].as_str().unwrap().parse().ok();
    session.spec.echo = with_proxy();
    session.spec.settings.http_credentials = vec![HttpCredential {
        origin: "https://a.example".to_owned(),
        username: "ann".to_owned(),
        password: PASSWORD.into(),
    }];
    session.spec.settings.client_certificates = vec![ClientCertificate {
        origin: "https://a.example".to_owned(),
        cert_pem: "certificate".to_owned(),
        key_pem: KEY.into(),
    }];
    db.insert_session(session.clone(), Limits::default(), Vec::new()).await.unwrap();
    let run = RunRecord { request: with_proxy(), ..tenant.run(1) };
    db.insert_run(run.clone(), Limits::default()).await.unwrap();
    let workflow =
        WorkflowRecord { settings: with_proxy(), ..workflow(tenant.organization, "Sealed") };
    workflows::insert(db, &workflow).await.unwrap();
    let webhook = webhook(tenant.organization, &[]);
    webhooks::insert(db, &webhook).await.unwrap();
    let id = mint();
    let hash = crate::domain::ids::ApiKeyId::to_string(&id);
    let key = ApiKey::new(id, tenant.organization, hash, String::new(), time(0));
    api_keys::insert(db, &key).await.unwrap();
    api_keys::keep_signer(db, key.id, &Signer::of(b"key")).await.unwrap();
    Rows { session, run, workflow, webhook, key }
}

async fn are_read(db: &Db, rows: &Rows) {
    let Rows { session, run, workflow, webhook, key } = rows;
    let of = session.organization;
    assert_eq!(sessions::by_id(db, of, session.id).await.unwrap().as_ref(), Some(session));
    assert_eq!(sessions::active(db, of).await.unwrap(), std::slice::from_ref(session));
    assert_eq!(runs::by_id(db, of, run.id).await.unwrap().as_ref(), Some(run));
    let latest = workflows::latest(db, of, workflow.permanent_id).await.unwrap();
    assert_eq!(latest.as_ref(), Some(workflow));
    assert_eq!(webhooks::list(db, of).await.unwrap(), std::slice::from_ref(webhook));
    let signing = api_keys::signing(db, of, Some(key.id)).await.unwrap().unwrap();
    assert_eq!(signing.signer, Signer::of(b"key"));
}

/// Returns the stored content, read without the key and, with SQLite, also from the file.
async fn at_rest(world: &TestDb, rows: &Rows) -> String {
    let (db, of) = (&world.db, rows.session.organization);
    let session = sessions::by_id(db, of, rows.session.id).await.unwrap().unwrap();
    let run = runs::by_id(db, of, rows.run.id).await.unwrap().unwrap();
    let workflow = workflows::latest(db, of, rows.workflow.permanent_id).await.unwrap().unwrap();
    let proxy = session.spec.proxy.unwrap();
    let mut all = format!("{proxy} {} {} {}", session.spec.echo, run.request, workflow.settings);
    all += session.spec.settings.http_credentials[0].password.expose();
    all += session.spec.settings.client_certificates[0].key_pem.expose();
    if world.postgres.is_none() {
        for name in ["greenroom.db", "greenroom.db-wal"] {
            let bytes = std::fs::read(world.dir.join(name)).unwrap_or_default();
            all += &String::from_utf8_lossy(&bytes);
        }
    }
    all
}

fn secrets() -> Vec<String> {
    let signers = [b"one".as_slice(), b"none", b"key"];
    let signers = signers.map(|key| Signer::of(key).to_hex());
    signers.into_iter().chain([PASSWORD, KEY].map(str::to_owned)).collect()
}

#[test]
fn no_secret_is_in_a_row_in_the_clear() {
    on_both(async |world| {
        let db = world.db.clone().sealed_with(Vault::new([7; 32]));
        let mut rows = written(&db, world).await;
        are_read(&db, &rows).await;
        // A changed value is sealed as well.
        rows.session.spec.echo["other"] = 2.into();
        db.change_egress(rows.session.id, rows.session.spec.clone()).await.unwrap();
        rows.session.spec.settings.locale = Some("de".to_owned());
        let settings = rows.session.spec.settings.clone();
        db.change_settings(rows.session.id, settings).await.unwrap();
        let all = at_rest(world, &rows).await;
        assert!(all.contains("sealed:v1:"));
        for secret in secrets() {
            assert!(!all.contains(&secret), "{secret}");
        }
        let found = sessions::by_id(&db, rows.session.organization, rows.session.id).await;
        assert_eq!(found.unwrap().unwrap().spec, rows.session.spec);
        assert_eq!(db.seal_former().await.unwrap().rows, 0);
    });
}

#[test]
fn rows_of_before_are_read_and_sealed_once() {
    on_both(async |world| {
        let rows = written(&world.db, world).await;
        let db = world.db.clone().sealed_with(Vault::new([7; 32]));
        are_read(&db, &rows).await;
        let before = at_rest(world, &rows).await;
        assert!(before.contains(PASSWORD) && before.contains(KEY));
        let done = db.seal_former().await.unwrap();
        assert_eq!((done.rows, done.missed), (5, 0));
        assert_eq!(db.seal_former().await.unwrap().rows, 0);
        let all = at_rest(world, &rows).await;
        for secret in secrets() {
            assert!(!all.contains(&secret), "{secret}");
        }
        are_read(&db, &rows).await;
        assert_eq!(db.sealed_by_others().await.unwrap(), 0);
    });
}

#[test]
fn rows_of_another_secret_are_listed_and_given_anew() {
    on_both(async |world| {
        let ours = world.db.clone().sealed_with(Vault::new([7; 32]));
        let rows = written(&ours, world).await;
        let db = world.db.clone().sealed_with(Vault::new([8; 32]));
        let of = rows.session.organization;
        assert_eq!(db.sealed_by_others().await.unwrap(), 2);
        let session = sessions::by_id(&db, of, rows.session.id).await.unwrap().unwrap();
        assert_eq!(session.spec.proxy.unwrap().scheme(), "sealed");
        assert!(api_keys::signing(&db, of, None).await.unwrap().is_none());
        // The next use of the key stores its signer again.
        api_keys::keep_signer(&db, rows.key.id, &Signer::of(b"key")).await.unwrap();
        let signing = api_keys::signing(&db, of, None).await.unwrap().unwrap();
        assert_eq!(signing.signer, Signer::of(b"key"));

        let [found] = &webhooks::list(&db, of).await.unwrap()[..] else { panic!("no webhook") };
        assert!(found.signer.is_lost() && found.former.is_none());
        // A change of other fields keeps the sealed secret for a server that can open it.
        let paused = Webhook { paused: true, modified_at: time(9), ..found.clone() };
        assert!(webhooks::replace(&db, &paused, found.modified_at).await.unwrap());
        let again = webhooks::by_id(&ours, of, found.id).await.unwrap().unwrap();
        assert_eq!((again.signer, again.paused), (Signer::of(b"one"), true));
        // A rotation replaces the secret by one that can be opened.
        let signer = Signer::of(b"two");
        let former = Some((found.signer.clone(), time(99)));
        let rotated = Webhook { signer, former, ..paused.clone() };
        assert!(webhooks::replace(&db, &rotated, paused.modified_at).await.unwrap());
        let again = webhooks::by_id(&db, of, found.id).await.unwrap().unwrap();
        assert_eq!((again.signer, again.former), (Signer::of(b"two"), None));
        assert_eq!(db.sealed_by_others().await.unwrap(), 0);
    });
}
