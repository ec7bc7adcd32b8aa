//! Retention: the age and the size from which stored files of an organization are removed.

use serde::{Deserialize, Serialize};

use super::quota::MIB;

/// The most days of a limit: a hundred years.
const MOST_DAYS: u64 = 36_500;

/// The most MiB of a limit.
const MOST_MIB: u64 = 1_000_000_000;

/// A kind of stored files that has limits of its own. Another kind needs its two limits in
/// [`Retention`] and its queries in `db/retention.rs`, or in `db/profiles/aging.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// Downloads, pictures and logs of runs, black boxes.
    Artifacts,
    /// Recordings of sessions and runs.
    Recordings,
    /// Versions of browser profiles, but for those from which sessions start.
    ProfileVersions,
}

impl Kept {
    /// All kinds, in their order.
    pub const ALL: [Self; 3] = [Self::Artifacts, Self::Recordings, Self::ProfileVersions];

    /// The plural, for messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Artifacts => "artifacts",
            Self::Recordings => "recordings",
            Self::ProfileVersions => "versions of profiles",
        }
    }
}

/// The limits of stored files. What has no limit is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// The days after which artifacts other than recordings are removed.
    pub artifacts_days: Option<u64>,
    /// The total size in MiB from which the oldest of these artifacts are removed.
    pub artifacts_max_mib: Option<u64>,
    /// The days after which recordings are removed.
    pub recordings_days: Option<u64>,
    /// The total size in MiB from which the oldest recordings are removed.
    pub recordings_max_mib: Option<u64>,
    /// The days after which versions of browser profiles are removed. The version from which sessions start, and
    /// the one from which a live session has started, are kept.
    pub profile_versions_days: Option<u64>,
    /// The total size in MiB of all versions of browser profiles from which the oldest ones are removed.
    pub profile_versions_max_mib: Option<u64>,
}

/// The limits of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptLimits {
    /// The age in days.
    pub days: Option<u64>,
    /// The total size in bytes.
    pub bytes: Option<u64>,
}

impl Retention {
    /// The names of the limits, in the API and the settings.
    pub const NAMES: [&str; 6] = [
        "artifacts_days",
        "artifacts_max_mib",
        "recordings_days",
        "recordings_max_mib",
        "profile_versions_days",
        "profile_versions_max_mib",
    ];

    fn limit(&mut self, name: &str) -> Option<&mut Option<u64>> {
        match name {
            "artifacts_days" => Some(&mut self.artifacts_days),
            "artifacts_max_mib" => Some(&mut self.artifacts_max_mib),
            "recordings_days" => Some(&mut self.recordings_days),
            "recordings_max_mib" => Some(&mut self.recordings_max_mib),
            "profile_versions_days" => Some(&mut self.profile_versions_days),
            "profile_versions_max_mib" => Some(&mut self.profile_versions_max_mib),
            _ => None,
        }
    }

    /// Sets a limit, or removes it.
    ///
    /// # Errors
    ///
    /// Fails with what was expected, if there is no such limit or it cannot have this value.
    pub fn set(&mut self, name: &str, value: Option<u64>) -> Result<(), String> {
        let most = if name.ends_with("_days") { MOST_DAYS } else { MOST_MIB };
        let Some(limit) = self.limit(name) else {
            return Err(format!("expected one of {}", Self::NAMES.join(", ")));
        };
        if value.is_some_and(|value| !(1..=most).contains(&value)) {
            return Err(format!(
                "expected a whole number from 1 to {most}, or null for the default"
            ));
        }
        *limit = value;
        Ok(())
    }

    /// The limits that cannot hold: names and messages.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut checked = Self::default();
        let mut given = *self;
        let wrong = |name: &'static str| {
            let value = given.limit(name).copied().flatten();
            checked.set(name, value).err().map(|expected| (name, expected))
        };
        Self::NAMES.into_iter().filter_map(wrong).collect()
    }

    /// These limits, and for each that is not set that of `defaults`.
    #[must_use]
    pub fn or(self, defaults: Self) -> Self {
        Self {
            artifacts_days: self.artifacts_days.or(defaults.artifacts_days),
            artifacts_max_mib: self.artifacts_max_mib.or(defaults.artifacts_max_mib),
            recordings_days: self.recordings_days.or(defaults.recordings_days),
            recordings_max_mib: self.recordings_max_mib.or(defaults.recordings_max_mib),
            profile_versions_days: self.profile_versions_days.or(defaults.profile_versions_days),
            profile_versions_max_mib: self
                .profile_versions_max_mib
                .or(defaults.profile_versions_max_mib),
        }
    }

    /// The limits of one kind.
    pub fn of(self, kept: Kept) -> KeptLimits {
        let (days, mib) = match kept {
            Kept::Artifacts => (self.artifacts_days, self.artifacts_max_mib),
            Kept::Recordings => (self.recordings_days, self.recordings_max_mib),
            Kept::ProfileVersions => (self.profile_versions_days, self.profile_versions_max_mib),
        };
        KeptLimits { days, bytes: mib.map(|mib| mib.saturating_mul(MIB)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_limits_come_before_the_defaults_and_zero_is_none() {
        let mut own = Retention::default();
        for name in Retention::NAMES {
            assert_eq!(own.set(name, Some(7)), Ok(()), "{name}");
            assert_eq!(own.set(name, None), Ok(()), "{name}");
            assert!(own.set(name, Some(0)).is_err(), "{name}");
        }
        assert!(own.set("days", Some(1)).unwrap_err().contains("recordings_max_mib"));
        own.set("artifacts_days", Some(2)).unwrap();
        let defaults = Retention {
            artifacts_days: Some(30),
            artifacts_max_mib: Some(3),
            ..Retention::default()
        };
        let all = own.or(defaults);
        assert_eq!(all.of(Kept::Artifacts), KeptLimits { days: Some(2), bytes: Some(3 << 20) });
        assert_eq!(all.of(Kept::Recordings), KeptLimits { days: None, bytes: None });
        let wrong = Retention { recordings_days: Some(40_000), ..all };
        assert_eq!(wrong.problems().len(), 1);
        assert_eq!(wrong.problems()[0].0, "recordings_days");
    }
}
