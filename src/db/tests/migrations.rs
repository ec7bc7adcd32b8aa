//! Compares the tables of both databases with those of `schema.rs`.

use std::collections::BTreeMap;

use diesel::Connection as _;
use diesel::migration::Migration as _;
use diesel::sql_types::{Bool, Text};
use diesel_async::async_connection_wrapper::AsyncConnectionWrapper;
use diesel_async::{AsyncConnection as _, AsyncPgConnection};
use diesel_migrations::MigrationHarness as _;

use crate::db::open::{POSTGRES, SQLITE};
use crate::db::testing::{TestDb, on_both};
use crate::db::{Db, OpenError};

#[derive(Debug, diesel::QueryableByName)]
struct Column {
    #[diesel(sql_type = Text)]
    table_name: String,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Bool)]
    nullable: bool,
}

/// Table and column, with the type and true if the column may be null.
type Tables = BTreeMap<(String, String), (String, bool)>;

const OF_SQLITE: &str = "SELECT m.name AS table_name, p.name AS name, p.type AS kind, \
     p.\"notnull\" = 0 AS nullable FROM sqlite_master m, pragma_table_info(m.name) p \
     WHERE m.type = 'table' AND m.name NOT LIKE '\\_\\_%' ESCAPE '\\' AND m.name NOT LIKE 'sqlite%'";
const OF_POSTGRES: &str = "SELECT table_name::text, column_name::text AS name, \
     data_type::text AS kind, is_nullable = 'YES' AS nullable FROM information_schema.columns \
     WHERE table_schema = 'public' AND table_name NOT LIKE '\\_\\_%'";

/// Returns one name for the types that both databases use in the same way.
fn kind(kind: &str) -> &'static str {
    match kind {
        // SQLite stores JSON as text.
        "TEXT" | "text" | "json" | "Text" | "Json" => "text",
        "TIMESTAMP" | "timestamp without time zone" | "Timestamp" => "timestamp",
        "INTEGER" | "integer" | "Int4" => "32 bits",
        "BIGINT" | "bigint" | "Int8" => "64 bits",
        "BOOLEAN" | "boolean" | "Bool" => "boolean",
        unknown => panic!("{unknown}"),
    }
}

/// Runs all migrations down or up, and returns the tables afterwards.
async fn migrated(world: &TestDb, up: bool) -> Tables {
    let url = world.settings.url.as_ref().map(|url| url.reveal().to_owned());
    let file = world.dir.join("greenroom.db").to_str().unwrap().to_owned();
    let postgres = match &url {
        Some(url) => Some(AsyncPgConnection::establish(url).await.unwrap()),
        None => None,
    };
    let work = move || -> Vec<Column> {
        use diesel::RunQueryDsl as _;
        if let Some(postgres) = postgres {
            let mut c = AsyncConnectionWrapper::<AsyncPgConnection>::from(postgres);
            let done = if up {
                c.run_pending_migrations(POSTGRES)
            } else {
                c.revert_all_migrations(POSTGRES)
            };
            done.unwrap();
            diesel::sql_query(OF_POSTGRES).load(&mut c).unwrap()
        } else {
            let mut c = diesel::SqliteConnection::establish(&file).unwrap();
            let done =
                if up { c.run_pending_migrations(SQLITE) } else { c.revert_all_migrations(SQLITE) };
            done.unwrap();
            diesel::sql_query(OF_SQLITE).load(&mut c).unwrap()
        }
    };
    let columns = tokio::task::spawn_blocking(work).await.unwrap();
    columns
        .into_iter()
        .map(|c| ((c.table_name, c.name), (kind(&c.kind).to_owned(), c.nullable)))
        .collect()
}

/// Returns the columns that `schema.rs` declares.
fn declared() -> Tables {
    let mut tables = Tables::new();
    let mut table = String::new();
    for line in include_str!("../../schema.rs").lines().map(str::trim) {
        if let Some((column, of)) = line.trim_end_matches(',').split_once(" -> ") {
            if of.contains('(') {
                continue; // Tables that may be joined.
            }
            let inner = of.strip_prefix("Nullable<").and_then(|of| of.strip_suffix('>'));
            let nullable = inner.is_some();
            let of = kind(inner.unwrap_or(of)).to_owned();
            tables.insert((table.clone(), column.to_owned()), (of, nullable));
        } else if let Some((name, _key)) = line.split_once(" (") {
            table = name.to_owned();
        }
    }
    tables
}

#[test]
fn the_tables_are_the_same_in_both_and_in_the_schema_and_all_go_on_the_way_down() {
    let declared = declared();
    assert!(declared.len() > 100, "{declared:?}");
    on_both(async |world| {
        assert_eq!(migrated(world, true).await, declared);
        world.db.close();
        assert_eq!(migrated(world, false).await, Tables::new());
        assert_eq!(migrated(world, true).await, declared);
    });
}

#[test]
fn both_have_the_same_migrations() {
    use diesel::migration::MigrationSource;
    let sqlite = MigrationSource::<diesel::sqlite::Sqlite>::migrations(&SQLITE).unwrap();
    let postgres = MigrationSource::<diesel::pg::Pg>::migrations(&POSTGRES).unwrap();
    let sqlite: Vec<_> = sqlite.iter().map(|one| one.name().to_string()).collect();
    let postgres: Vec<_> = postgres.iter().map(|one| one.name().to_string()).collect();
    assert_eq!(sqlite, postgres);
}

#[test]
fn a_database_is_opened_again_and_one_of_a_newer_program_is_refused() {
    on_both(async |world| {
        let tenant = world.tenant().await;
        let again = Db::open(&world.settings, &world.dir).await.unwrap();
        let found = crate::db::organizations::first(&again).await.unwrap().unwrap();
        assert_eq!(found.id, tenant.organization);
        again.close();

        let newer = "INSERT INTO __diesel_schema_migrations (version) VALUES ('29990101000000')";
        world.execute(newer).await;
        let refused = Db::open(&world.settings, &world.dir).await;
        let Err(OpenError::Newer { migration }) = refused else { panic!("{refused:?}") };
        assert_eq!(migration, "29990101000000");
    });
}
