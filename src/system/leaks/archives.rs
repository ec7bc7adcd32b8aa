//! Archives of profiles, compared with the rows that name them.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::LEFT_ALONE;
use crate::domain::ids::ProfileId;
use crate::domain::leak::{Leak, LeakKind};
use crate::system::objects::{ObjectInfo, Objects};

/// The age below which an archive needs no row. It is stored before its row, which is written again and
/// again while the database does not answer.
const UNDER_WAY: Duration = Duration::from_secs(3600);

/// The name of the description of a profile, which has no row.
const DESCRIPTION: &str = "/profile.json";

/// The profile to which an archive belongs.
pub fn profile_of(key: &str) -> Option<ProfileId> {
    // `profiles/<organization>/<profile>/<time>-<checksum>.tar.zst`
    key.rsplit('/').nth(1)?.parse().ok()
}

/// The key of the description of the profile to which an archive belongs.
pub fn description_of(key: &str) -> Option<String> {
    Some(format!("{}{DESCRIPTION}", key.rsplit_once('/')?.0))
}

/// The archives among the objects of profiles that are old enough to have a row.
pub fn archives_among(objects: Vec<ObjectInfo>) -> Vec<ObjectInfo> {
    let is_old = |file: &ObjectInfo| file.stored.elapsed().is_ok_and(|elapsed| elapsed > UNDER_WAY);
    let is_archive = |file: &ObjectInfo| !file.key.ends_with(DESCRIPTION);
    objects.into_iter().filter(|file| is_archive(file) && is_old(file)).collect()
}

/// The leaks of archives without a row. `changed` has the times at which the profiles were changed last,
/// of those that exist, and `described` the archives that the description of their profile may name.
pub fn archives(
    objects: &Objects,
    unnamed: &[ObjectInfo],
    changed: &HashMap<ProfileId, DateTime<Utc>>,
    described: &HashSet<String>,
) -> Vec<Leak> {
    let leaks = unnamed.iter().filter_map(|file| {
        let id = profile_of(&file.key)?;
        let since = DateTime::<Utc>::from(file.stored);
        let known = changed.get(&id);
        // A database that was restored from a backup knows the profile as it was before the archive,
        // and the description beside it as it was later. What no description names never had a row.
        let fixable =
            known.is_some_and(|changed| *changed > since) || !described.contains(&file.key);
        let remedy = match (fixable, known) {
            (true, _) => "the file is removed",
            (false, Some(_)) => "left alone: it is newer than the profile's row",
            (false, None) => LEFT_ALONE,
        };
        Some(Leak {
            kind: LeakKind::Artifact,
            what: objects.address(&file.key),
            session: None,
            run: None,
            since: Some(since),
            why: format!("no row names it: the profile {id} has no such version"),
            fixable,
            remedy: remedy.to_owned(),
        })
    });
    leaks.collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::SystemTime;

    use super::*;

    fn file(key: &str, age: u64) -> ObjectInfo {
        let stored = SystemTime::now() - Duration::from_secs(age);
        ObjectInfo { key: key.to_owned(), size: 1, stored }
    }

    #[test]
    fn an_old_archive_is_a_leak_and_goes_if_its_profile_was_changed_later() {
        let objects = Objects::in_directory(Path::new("/data"));
        let found = archives_among(vec![
            file("profiles/o_1/bp_1/a.tar.zst", 7_200),
            file("profiles/o_1/bp_1/profile.json", 7_200),
            file("profiles/o_1/bp_1/young.tar.zst", 600),
            file("profiles/o_1/bp_2/b.tar.zst", 7_200),
            file("profiles/o_1/bp_3/c.tar.zst", 7_200),
            file("profiles/o_1/bp_4/d.tar.zst", 7_200),
        ]);
        let ids: Vec<_> = found.iter().filter_map(|it| profile_of(&it.key)).collect();
        let [first, second, ..] = ids.as_slice() else { panic!("{found:?}") };
        let ago = |hours| Utc::now() - chrono::Duration::hours(hours);
        let changed = HashMap::from([(*first, ago(1)), (*second, ago(3))]);
        let described = ["a", "b", "c"].map(|name| {
            let of = |it: &&ObjectInfo| it.key.ends_with(&format!("/{name}.tar.zst"));
            found.iter().find(of).unwrap().key.clone()
        });
        let leaks = archives(&objects, &found, &changed, &HashSet::from(described));
        let seen: Vec<_> = leaks.iter().map(|it| (it.what.as_str(), it.fixable)).collect();
        let expected = [
            ("/data/profiles/o_1/bp_1/a.tar.zst", true),
            ("/data/profiles/o_1/bp_2/b.tar.zst", false),
            ("/data/profiles/o_1/bp_3/c.tar.zst", false),
            ("/data/profiles/o_1/bp_4/d.tar.zst", true),
        ];
        assert_eq!(seen, expected);
        assert!(leaks.iter().all(|it| it.session.is_none()));
    }
}
