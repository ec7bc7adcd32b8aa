//! Profiles: one writer, versions in order, names that are unique.

use crate::db::profiles::{self, Added, Change, Filter};
use crate::db::store::{Ended, Store as _, StoreError};
use crate::db::testing::{mint, on_both, time};
use crate::db::{DbError, Page};
use crate::domain::ids::{OrganizationId, ProfileId, SessionId};
use crate::domain::labels::Tags;
use crate::domain::profile::{
    Manager, Origin, ProfileAccess, ProfileRecord, ProfileUse, VersionRecord,
};
use crate::domain::quota::{Limits, Quota};
use crate::domain::session::SessionStatus;

fn profile(organization: OrganizationId, name: &str) -> ProfileRecord {
    ProfileRecord {
        id: mint(),
        organization,
        name: name.parse().unwrap(),
        description: Some("Zwölf".to_owned()),
        tags: Tags::new(["a", "b"]).unwrap(),
        manager: None,
        current: 0,
        last: 0,
        writer: None,
        created_at: time(1),
        modified_at: time(1),
    }
}

fn version(of: &ProfileRecord, path: &str) -> VersionRecord {
    VersionRecord {
        profile: of.id,
        number: 0,
        organization: of.organization,
        session: Some(mint()),
        origin: Origin::SessionEnd,
        path: path.to_owned(),
        size: 1 << 40,
        checksum: "0a".repeat(32),
        browser_version: Some("156.0.8078.108".to_owned()),
        created_at: time(2),
    }
}

fn written(id: ProfileId) -> ProfileUse {
    ProfileUse::written(id)
}

#[test]
fn a_profile_has_one_writer_until_that_has_ended() {
    on_both(async |world| {
        let (db, tenant) = (&world.db, world.tenant().await);
        let own = profile(tenant.organization, "one");
        profiles::insert(db, &own).await.unwrap();
        assert_eq!(profiles::by_id(db, tenant.organization, own.id).await.unwrap().unwrap(), own);
        assert_eq!(profiles::by_id(db, mint(), own.id).await.unwrap(), None);
        let session = async || tenant.stored_session(db).await;
        let (first, second) = (session().await, session().await);
        let claim = async |session: SessionId| db.claim_profile(session, written(own.id)).await;
        assert_eq!(claim(first).await.unwrap(), None);
        assert_eq!(claim(first).await.unwrap(), None);
        assert_eq!(claim(second).await.unwrap(), Some(first));
        assert_eq!(profiles::writer(db, own.id).await.unwrap(), Some(first));
        let ended = Ended::new(SessionStatus::Completed, time(5));
        db.end_session(first, ended).await.unwrap();
        assert_eq!(profiles::writer(db, own.id).await.unwrap(), None);
        assert_eq!(claim(second).await.unwrap(), None);
        // The profile of another organization, and one that does not exist.
        let stranger = world.tenant().await.stored_session(db).await;
        for unknown in [written(own.id), written(mint())] {
            let refused = db.claim_profile(stranger, unknown).await;
            assert!(matches!(refused, Err(StoreError::Missing)), "{refused:?}");
        }
        let made = ProfileUse::made(mint());
        assert_eq!(db.claim_profile(stranger, made).await.unwrap(), None);
        // The version of a start changes nothing else, and only of the profile that it is of.
        db.set_profile_version(second, own.id, 7).await.unwrap();
        db.set_profile_version(second, mint(), 8).await.unwrap();
        let row = db.session(tenant.organization, second).await.unwrap().unwrap();
        let started = ProfileUse { version: Some(7), ..written(own.id) };
        assert_eq!(row.spec.profile, Some(started));
        // The writer gives its place up.
        let copy = ProfileUse { access: ProfileAccess::Copy, ..written(own.id) };
        db.set_profile(second, Some(copy.clone())).await.unwrap();
        assert_eq!(profiles::writer(db, own.id).await.unwrap(), None);
        let row = db.session(tenant.organization, second).await.unwrap().unwrap();
        assert_eq!(row.spec.profile, Some(copy));
        assert!(db.set_profile(first, None).await.is_err(), "it has ended");
    });
}

#[test]
fn versions_are_numbered_and_rolled_back() {
    on_both(async |world| {
        let (db, tenant) = (&world.db, world.tenant().await);
        let organization = tenant.organization;
        let own = profile(organization, "one");
        let add = async |path: &str| {
            db.add_profile_version(own.clone(), true, version(&own, path)).await.unwrap().number
        };
        assert_eq!((add("a").await, add("b").await), (1, 2));
        assert_eq!(add("b").await, 2, "a repeated write adds nothing");
        assert_eq!(add("c").await, 3);
        let current = async || profiles::current(db, organization, own.id).await.unwrap().unwrap();
        let third =
            VersionRecord { number: 3, session: current().await.session, ..version(&own, "c") };
        assert_eq!(current().await, third);
        let to = |number| Change { current: Some(number), ..Change::default() };
        assert!(profiles::change(db, organization, own.id, to(4)).await.unwrap().is_none());
        assert!(profiles::change(db, mint(), own.id, to(1)).await.unwrap().is_none());
        let back = profiles::change(db, organization, own.id, to(1)).await.unwrap().unwrap();
        assert_eq!((back.current, back.last), (1, 3));
        assert_eq!(current().await.path, "a");
        // The version that sessions start from stays.
        let former = profiles::former(db, organization).await.unwrap();
        assert_eq!(former.iter().map(|it| it.number).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(profiles::former(db, mint()).await.unwrap(), []);
        assert_eq!(profiles::bytes(db, organization).await.unwrap(), 3 << 40);
        let old = db.old_profile_versions(own.id, 1).await.unwrap();
        assert_eq!(old.iter().map(|it| it.number).collect::<Vec<_>>(), [2]);
        assert!(db.delete_profile_version(own.id, 2).await.unwrap());
        assert!(!db.delete_profile_version(own.id, 1).await.unwrap(), "sessions start from it");
        assert_eq!(add("d").await, 4);
        assert_eq!(profiles::versions_of(db, own.id).await.unwrap().len(), 3);
        profiles::delete(db, organization, own.id).await.unwrap();
        assert_eq!(profiles::versions_of(db, own.id).await.unwrap(), []);
        let late = db.add_profile_version(own.clone(), false, version(&own, "e")).await;
        assert!(matches!(late, Err(StoreError::Missing)), "{late:?}");
    });
}

#[test]
fn a_version_is_added_only_to_a_profile_as_it_was_read_and_without_a_writer() {
    on_both(async |world| {
        let (db, tenant) = (&world.db, world.tenant().await);
        let organization = tenant.organization;
        let read = profile(organization, "one");
        profiles::insert(db, &read).await.unwrap();
        let add = async |read: &ProfileRecord, path: &str| {
            profiles::add_to(db, read, &version(read, path)).await.unwrap()
        };
        assert_eq!(add(&read, "a").await, Added::Stored(1));
        assert_eq!(add(&read, "a").await, Added::Stored(1), "a repeated write adds nothing");
        assert_eq!(add(&read, "b").await, Added::Changed);
        let read = profiles::by_id(db, organization, read.id).await.unwrap().unwrap();
        assert_eq!((read.current, read.last), (1, 1));
        let session = tenant.stored_session(db).await;
        db.claim_profile(session, written(read.id)).await.unwrap();
        assert_eq!(add(&read, "b").await, Added::Written(session));
        let ended = Ended::new(SessionStatus::Completed, time(5));
        db.end_session(session, ended).await.unwrap();
        assert_eq!(add(&read, "b").await, Added::Stored(2));
        let foreign = ProfileRecord { organization: mint(), ..read.clone() };
        assert_eq!(add(&foreign, "c").await, Added::Gone);
        profiles::delete(db, organization, read.id).await.unwrap();
        assert_eq!(add(&read, "c").await, Added::Gone);
    });
}

#[test]
fn a_session_is_inserted_as_the_writer_or_with_a_copy() {
    on_both(async |world| {
        let (db, tenant) = (&world.db, world.tenant().await);
        let own = profile(tenant.organization, "one");
        profiles::insert(db, &own).await.unwrap();
        let mut most = Limits::default();
        most.set(Quota::Sessions, Some(100));
        let insert = async |second: i64, used: ProfileUse, limits: &Limits| {
            let mut session = tenant.session(second);
            session.spec.profile = Some(used);
            for _again in 0..2 {
                let full =
                    db.insert_session(session.clone(), limits.clone(), Vec::new()).await.unwrap();
                assert_eq!(full, None);
            }
            let row = db.session(tenant.organization, session.id).await.unwrap().unwrap();
            (session.id, row.spec.profile.unwrap().access)
        };
        let (first, access) = insert(1, written(own.id), &Limits::default()).await;
        assert_eq!(access, ProfileAccess::Write);
        assert_eq!(profiles::writer(db, own.id).await.unwrap(), Some(first));
        let (_, access) = insert(2, written(own.id), &most).await;
        assert_eq!(access, ProfileAccess::Copy);
        assert_eq!(profiles::writer(db, own.id).await.unwrap(), Some(first));
        let ended = Ended::new(SessionStatus::Completed, time(5));
        db.end_session(first, ended).await.unwrap();
        let (third, access) = insert(3, written(own.id), &most).await;
        assert_eq!(access, ProfileAccess::Write);
        assert_eq!(profiles::writer(db, own.id).await.unwrap(), Some(third));
        // One that the session makes has no row yet; one that does not exist cannot be written to.
        assert_eq!(insert(4, ProfileUse::made(mint()), &most).await.1, ProfileAccess::Write);
        assert_eq!(insert(5, written(mint()), &most).await.1, ProfileAccess::Copy);
        let foreign = profile(world.tenant().await.organization, "theirs");
        profiles::insert(db, &foreign).await.unwrap();
        assert_eq!(insert(6, written(foreign.id), &most).await.1, ProfileAccess::Copy);
    });
}

#[test]
fn a_profile_that_is_being_removed_starts_no_session_and_has_no_writer() {
    on_both(async |world| {
        let (db, tenant) = (&world.db, world.tenant().await);
        let organization = tenant.organization;
        let own = profile(organization, "one");
        db.add_profile_version(own.clone(), true, version(&own, "a")).await.unwrap();
        let session = tenant.stored_session(db).await;
        db.claim_profile(session, written(own.id)).await.unwrap();
        assert_eq!(profiles::begin_removal(db, own.id).await.unwrap(), Some(session));
        assert!(profiles::current(db, organization, own.id).await.unwrap().is_some());
        let ended = Ended::new(SessionStatus::Completed, time(5));
        db.end_session(session, ended).await.unwrap();
        assert_eq!(profiles::begin_removal(db, own.id).await.unwrap(), None);
        assert_eq!(profiles::current(db, organization, own.id).await.unwrap(), None);
        assert_eq!(profiles::versions_of(db, own.id).await.unwrap().len(), 1);
        let paths = ["a".to_owned(), "b".to_owned()];
        let known = profiles::known_among(db, &paths).await.unwrap();
        assert_eq!(known.into_iter().collect::<Vec<_>>(), ["a"]);
        let changed = profiles::modified(db, &[own.id, mint()]).await.unwrap();
        assert_eq!(changed.keys().collect::<Vec<_>>(), [&own.id]);
    });
}

#[test]
fn only_the_present_writer_adds_a_version_of_its_own() {
    on_both(async |world| {
        let (db, tenant) = (&world.db, world.tenant().await);
        let organization = tenant.organization;
        let own = profile(organization, "one");
        profiles::insert(db, &own).await.unwrap();
        let (first, second) = (tenant.stored_session(db).await, tenant.stored_session(db).await);
        let add = async |writer, path: &str| {
            let by = ProfileRecord { writer: Some(writer), ..own.clone() };
            let added = db.add_profile_version(by, false, version(&own, path)).await;
            added.map(|version| version.number)
        };
        db.claim_profile(first, written(own.id)).await.unwrap();
        assert_eq!(add(first, "a").await.unwrap(), 1);
        let foreign = add(second, "b").await;
        assert!(matches!(foreign, Err(StoreError::Missing)), "{foreign:?}");
        let copy = ProfileUse { access: ProfileAccess::Copy, ..written(own.id) };
        db.set_profile(first, Some(copy)).await.unwrap();
        assert_eq!(add(first, "a").await.unwrap(), 1, "a repeated write finds its row");
        let given_up = add(first, "b").await;
        assert!(matches!(given_up, Err(StoreError::Missing)), "{given_up:?}");
        db.claim_profile(second, written(own.id)).await.unwrap();
        let late = add(first, "b").await;
        assert!(matches!(late, Err(StoreError::Missing)), "{late:?}");
        assert_eq!(add(second, "b").await.unwrap(), 2);
        // One that the session makes has a row with its first version.
        let new = ProfileRecord { writer: Some(first), ..profile(organization, "two") };
        for (path, number) in [("c", 1), ("d", 2)] {
            let added = db.add_profile_version(new.clone(), true, version(&new, path)).await;
            assert_eq!(added.unwrap().number, number);
        }
    });
}

#[test]
fn names_are_unique_among_profiles_that_are_not_managed() {
    on_both(async |world| {
        let (db, tenant) = (&world.db, world.tenant().await);
        let organization = tenant.organization;
        let own = profile(organization, "Müller");
        profiles::insert(db, &own).await.unwrap();
        let again = profile(organization, "Müller");
        assert!(matches!(profiles::insert(db, &again).await, Err(DbError::Conflict)));
        let manager = Manager::Workflow { workflow: mint(), key: String::new() };
        let managed = ProfileRecord { manager: Some(manager), ..profile(organization, "Müller") };
        assert_eq!(db.managed_profile(managed.clone()).await.unwrap(), managed.id);
        let other = ProfileRecord { id: mint(), ..managed.clone() };
        assert_eq!(db.managed_profile(other).await.unwrap(), managed.id);
        let workflow = managed.manager.as_ref().unwrap().workflow();
        let found = profiles::managed_for(db, organization, workflow).await.unwrap();
        assert_eq!(found, [managed]);
        let page = Page::first(10);
        let listed = async |filter: Filter| {
            profiles::list(db, organization, filter, page.clone()).await.unwrap().len()
        };
        assert_eq!(listed(Filter::default()).await, 2);
        assert_eq!(listed(Filter { managed: Some(false), ..Filter::default() }).await, 1);
        let search = Filter { search: Some("MÜLL".to_owned()), ..Filter::default() };
        assert_eq!(listed(search).await, 2);
        let tagged = Filter { tags: vec!["c".to_owned()], ..Filter::default() };
        assert_eq!(listed(tagged).await, 0);
        let named = |name: &str| Filter { name: Some(name.to_owned()), ..Filter::default() };
        assert_eq!((listed(named("Müller")).await, listed(named("müller")).await), (2, 0));
        assert_eq!(profiles::count(db, organization).await.unwrap(), 1);
        // Pages are the same whether the database or the server cuts them.
        for (number, search) in (1..=3).flat_map(|number| [(number, None), (number, Some("m"))]) {
            let filter = Filter { search: search.map(str::to_owned), ..Filter::default() };
            let page = Page { number, size: 1, after: None };
            let found = profiles::list(db, organization, filter, page).await.unwrap();
            let expected = usize::from(number < 3);
            assert_eq!(found.len(), expected, "page {number}, {search:?}");
        }
    });
}
