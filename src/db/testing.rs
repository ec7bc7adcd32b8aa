//! A separate database for each test, on SQLite and on PostgreSQL, and sample records.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use tokio_postgres::NoTls;

use super::store::Store as _;
use super::{Db, Settings, nodes, organizations, workflows};
use crate::domain::deadlines::Deadlines;
use crate::domain::ids::{Id, Mint, NodeId, OrganizationId, SessionId};
use crate::domain::occupancy::Occupancy;
use crate::domain::quota::Limits;
use crate::domain::run::{RunRecord, RunStatus, WorkflowRecord};
use crate::domain::session::{SessionRecord, SessionSpec, SessionStatus};
use crate::domain::tenancy::{Node, Organization};

static MINT: std::sync::LazyLock<Mint> = std::sync::LazyLock::new(|| Mint::new(1));
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// A database that only this test uses, removed when the value is dropped.
#[derive(Debug)]
pub(super) struct TestDb {
    pub(super) db: Db,
    pub(super) settings: Settings,
    pub(super) dir: PathBuf,
    /// The URL of the server and the name of the database.
    pub(super) postgres: Option<(String, String)>,
}

#[expect(clippy::disallowed_methods, reason = "it says where the server for tests is")]
fn server() -> String {
    std::env::var("GREENROOM_TEST_POSTGRES_URL").expect(
        "GREENROOM_TEST_POSTGRES_URL is missing: `scripts/test` sets it, and so does \
         `export GREENROOM_TEST_POSTGRES_URL=$(scripts/postgres start DIR)`",
    )
}

/// Runs a test on SQLite, then on PostgreSQL.
#[track_caller]
pub(super) fn on_both(test: impl AsyncFn(&TestDb)) {
    on_both_with(&Settings::default(), test);
}

/// Runs a test on both databases, with settings that differ from the default.
pub(super) fn on_both_with(settings: &Settings, test: impl AsyncFn(&TestDb)) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for postgres in [false, true] {
            let world = TestDb::open(settings.clone(), postgres).await;
            eprintln!("on {:?}", world.db);
            test(&world).await;
            world.remove().await;
        }
    });
}

impl TestDb {
    async fn open(mut settings: Settings, postgres: bool) -> Self {
        let number = DATABASES.fetch_add(1, Ordering::Relaxed);
        // Process numbers recur, and a test run that was killed leaves its directory.
        let name =
            format!("greenroom_{}_{number}_{:08x}", std::process::id(), rand::random::<u32>());
        let dir = std::env::temp_dir().join(&name);
        fs::create_dir(&dir).unwrap();
        let postgres = postgres.then(|| (server(), name));
        if let Some((server, name)) = &postgres {
            admin(server, &format!("CREATE DATABASE {name}")).await;
            settings.url = Some(with_database(server, name).parse().unwrap());
        }
        let db = Db::open(&settings, &dir).await.unwrap();
        Self { db, settings, dir, postgres }
    }

    async fn remove(self) {
        self.db.close();
        if let Some((server, name)) = &self.postgres {
            admin(server, &format!("DROP DATABASE {name} WITH (FORCE)")).await;
        }
        fs::remove_dir_all(&self.dir).unwrap();
    }

    /// Executes statements directly, bypassing the program.
    pub(super) async fn execute(&self, sql: &str) {
        match &self.postgres {
            Some((server, name)) => admin(&with_database(server, name), sql).await,
            None => {
                use diesel::Connection as _;
                use diesel::connection::SimpleConnection as _;
                let path = self.dir.join("greenroom.db");
                let mut connection =
                    diesel::SqliteConnection::establish(path.to_str().unwrap()).unwrap();
                connection.batch_execute(sql).unwrap();
            }
        }
    }

    /// Stores an organization, a node and a workflow.
    pub(super) async fn tenant(&self) -> Tenant {
        let at = time(0);
        let organization = Organization::new(mint(), "Ann's theatre".to_owned(), at);
        organizations::insert(&self.db, &organization).await.unwrap();
        let node = Node {
            id: mint(),
            hostname: "stage".to_owned(),
            address: "http://127.0.0.1:8787".to_owned(),
            boot_id: "boot-1".to_owned(),
            started_at: at,
            seen_at: at,
            version: "0.1.0".to_owned(),
        };
        assert!(!nodes::register(&self.db, &node).await.unwrap());
        let workflow = workflow(organization.id, "The play");
        workflows::insert(&self.db, &workflow).await.unwrap();
        Tenant { organization: organization.id, node: node.id, workflow }
    }
}

/// The ids of the rows that nearly every other row refers to.
#[derive(Debug)]
pub(super) struct Tenant {
    pub(super) organization: OrganizationId,
    pub(super) node: NodeId,
    pub(super) workflow: WorkflowRecord,
}

impl Tenant {
    /// Returns a running session, created at `second` and not stored.
    pub(super) fn session(&self, second: i64) -> SessionRecord {
        SessionRecord {
            id: mint(),
            organization: self.organization,
            node: self.node,
            status: SessionStatus::Running,
            spec: SessionSpec::default(),
            desktop: None,
            occupancy: Occupancy::default(),
            deadlines: Deadlines::default(),
            failure: None,
            created_at: time(second),
            started_at: None,
            completed_at: None,
            modified_at: time(second),
        }
    }

    /// Returns a run, created at `second` and not stored.
    pub(super) fn run(&self, second: i64) -> RunRecord {
        RunRecord {
            id: mint(),
            organization: self.organization,
            node: self.node,
            workflow: self.workflow.id,
            workflow_permanent_id: self.workflow.permanent_id,
            session: None,
            owns_session: false,
            debug_session: None,
            title: None,
            status: RunStatus::Created,
            parameters: json!({}),
            request: json!({}),
            outputs: json!({}),
            failure: None,
            created_at: time(second),
            queued_at: None,
            started_at: None,
            finished_at: None,
            modified_at: time(second),
            api_key: None,
        }
    }

    /// Stores a running session, and returns its id.
    pub(super) async fn stored_session(&self, db: &Db) -> SessionId {
        let session = self.session(0);
        db.insert_session(session.clone(), Limits::default(), Vec::new()).await.unwrap();
        session.id
    }
}

/// Returns the first version of a workflow, not stored.
pub(super) fn workflow(organization: OrganizationId, title: &str) -> WorkflowRecord {
    WorkflowRecord {
        id: mint(),
        permanent_id: mint(),
        organization,
        version: 1,
        title: title.to_owned(),
        description: None,
        status: "published".to_owned(),
        definition: json!({"blocks": [{"label": "open", "unknown": [1, 2.5, null]}]}),
        settings: json!(null),
        created_at: time(0),
        modified_at: time(0),
        deleted_at: None,
    }
}

pub(super) fn mint<I: Id>() -> I {
    MINT.mint(Utc::now())
}

/// Returns a time with microseconds.
pub(super) fn time(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap() + TimeDelta::microseconds(120_450)
}

fn with_database(server: &str, name: &str) -> String {
    let mut url: url::Url = server.parse().unwrap();
    url.set_path(name);
    url.into()
}

async fn admin(url: &str, sql: &str) {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    let driver = tokio::spawn(connection);
    client.batch_execute(sql).await.unwrap();
    drop(client);
    driver.await.unwrap().unwrap();
}
