//! The foundations of quotas: counts in the transaction that adds a row, and traffic by day.

use chrono::{Days, NaiveDate, TimeDelta, Utc};
use futures_util::future::join_all;

use crate::db::egress_usage::SessionTraffic;
use crate::db::store::{Ended, Full, Store as _};
use crate::db::testing::on_both;
use crate::db::{artifacts, egress_usage, organizations, runs, sessions};
use crate::domain::quota::{Limits, Quota};
use crate::domain::session::SessionStatus;

fn limits(limits: &[(Quota, u64)]) -> Limits {
    let mut all = Limits::default();
    for (quota, limit) in limits {
        all.set(*quota, Some(*limit));
    }
    all
}

#[test]
fn of_twenty_sessions_added_at_once_at_a_limit_of_three_three_are() {
    on_both(async |world| {
        let (tenant, other) = (world.tenant().await, world.tenant().await);
        let three = limits(&[(Quota::Sessions, 3)]);
        let attempts =
            (0..20).map(|number| {
                let (db, session, limits) =
                    (world.db.clone(), tenant.session(number), three.clone());
                async move {
                    (session.id, db.insert_session(session, limits, Vec::new()).await.unwrap())
                }
            });
        let outcomes = join_all(attempts).await;
        let (added, refused): (Vec<_>, Vec<_>) =
            outcomes.into_iter().partition(|(_, full)| full.is_none());
        assert_eq!((added.len(), refused.len()), (3, 17));
        let full = Full { quota: Quota::Sessions, limit: 3, used: 3, oldest: None };
        assert!(refused.iter().all(|(_, refusal)| *refusal == Some(full)), "{refused:?}");
        assert_eq!(sessions::count_live(&world.db, tenant.organization).await.unwrap(), 3);
        let theirs = world.db.insert_session(other.session(30), three.clone(), Vec::new()).await;
        assert_eq!(theirs.unwrap(), None);

        let ended = Ended::new(SessionStatus::Completed, Utc::now());
        world.db.end_session(added[0].0, ended).await.unwrap();
        let next = tenant.session(31);
        assert_eq!(
            world.db.insert_session(next.clone(), three.clone(), Vec::new()).await.unwrap(),
            None
        );
        // The same write again finds its row, which does not count against itself.
        assert_eq!(world.db.insert_session(next, three, Vec::new()).await.unwrap(), None);
    });
}

#[test]
fn new_sessions_count_for_a_minute_whether_they_have_ended_or_not() {
    on_both(async |world| {
        let tenant = world.tenant().await;
        let two = limits(&[(Quota::CreatesPerMinute, 2)]);
        let now = Utc::now();
        for ago in [90, 30, 20] {
            let mut session = tenant.session(ago);
            session.created_at = now - TimeDelta::seconds(ago);
            let added =
                world.db.insert_session(session.clone(), two.clone(), Vec::new()).await.unwrap();
            assert_eq!(added, None, "{ago} s ago");
            let ended = Ended::new(SessionStatus::Completed, now);
            world.db.end_session(session.id, ended).await.unwrap();
        }
        let full =
            world.db.insert_session(tenant.session(1), two, Vec::new()).await.unwrap().unwrap();
        assert_eq!((full.quota, full.used), (Quota::CreatesPerMinute, 2));
        let age = now - full.oldest.unwrap();
        assert!((29..=31).contains(&age.num_seconds()), "{age}");
    });
}

#[test]
fn of_twenty_runs_added_at_once_at_a_limit_of_three_three_are() {
    on_both(async |world| {
        let tenant = world.tenant().await;
        let three = limits(&[(Quota::Runs, 3)]);
        let attempts = (0..20).map(|number| {
            let (db, run, limits) = (world.db.clone(), tenant.run(number), three.clone());
            async move { db.insert_run(run, limits).await.unwrap() }
        });
        let outcomes = join_all(attempts).await;
        assert_eq!(outcomes.iter().filter(|full| full.is_none()).count(), 3);
        assert_eq!(runs::count_unfinished(&world.db, tenant.organization).await.unwrap(), 3);
        assert_eq!(artifacts::bytes_of(&world.db, tenant.organization).await.unwrap(), 0);
    });
}

#[test]
fn limits_are_changed_one_by_one_and_none_is_left_of_defaults() {
    on_both(async |world| {
        let tenant = world.tenant().await.organization;
        let change = |changes: &[(Quota, Option<u64>)]| {
            organizations::change_quotas(&world.db, tenant, changes.to_vec())
        };
        change(&[(Quota::Runs, Some(0)), (Quota::Viewers, Some(7))]).await.unwrap();
        let both = organizations::quotas(&world.db, tenant).await.unwrap();
        assert_eq!(both, limits(&[(Quota::Runs, 0), (Quota::Viewers, 7)]));
        change(&[(Quota::Runs, None)]).await.unwrap();
        let all = organizations::all_quotas(&world.db).await.unwrap();
        assert_eq!(all.get(&tenant), Some(&limits(&[(Quota::Viewers, 7)])));
        change(&[(Quota::Viewers, None)]).await.unwrap();
        assert!(!organizations::all_quotas(&world.db).await.unwrap().contains_key(&tenant));
    });
}

#[test]
fn traffic_is_added_up_by_organization_and_day() {
    on_both(async |world| {
        let (red, blue) = (world.tenant().await, world.tenant().await);
        let made = [red.session(1), red.session(2), blue.session(3)];
        for session in &made {
            world.db.insert_session(session.clone(), Limits::default(), Vec::new()).await.unwrap();
        }
        let [one, two, three] = made.map(|session| (session.id, session.organization));
        let of = |(session, organization), bytes| SessionTraffic { session, organization, bytes };
        let today = NaiveDate::from_ymd_opt(2026, 11, 29).unwrap();
        let tomorrow = today.checked_add_days(Days::new(1)).unwrap();
        let note = |traffic, day| egress_usage::note(&world.db, traffic, day);
        let read = async |day, organization| {
            let all = egress_usage::of_day(&world.db, day).await.unwrap();
            all.get(&organization).copied()
        };
        note(vec![of(one, 10), of(two, 5), of(three, 7)], today).await.unwrap();
        note(vec![of(one, 30)], today).await.unwrap();
        assert_eq!(read(today, one.1).await, Some(35));
        assert_eq!(read(today, three.1).await, Some(7));
        note(vec![of(one, 31)], tomorrow).await.unwrap();
        assert_eq!(read(tomorrow, one.1).await, Some(1));
        assert_eq!(read(tomorrow, three.1).await, None);
    });
}
