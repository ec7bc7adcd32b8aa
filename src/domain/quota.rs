//! Quotas: what an organization may have or use at once, within a minute or within a day.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, Days, NaiveTime, Utc};
use serde::{Deserialize, Serialize};

use super::given::nearest;
use super::ids::OrganizationId;

/// The bytes of a MiB.
pub const MIB: u64 = 1 << 20;

/// The window of [`Quota::CreatesPerMinute`].
pub const MINUTE: Duration = Duration::from_secs(60);

/// The time after which a client may retry if the time of a free place is unknown.
const RETRY_AFTER: Duration = Duration::from_secs(5);

const HIGHEST: u64 = 1_000_000_000;

/// A quantity that is counted for each organization.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quota {
    /// Sessions that have not ended, on all servers.
    Sessions,
    /// Sessions created within the last 60 seconds, on all servers.
    CreatesPerMinute,
    /// Workflow runs that have not ended, on all servers.
    Runs,
    /// Runs and programs that wait for an occupied session.
    Waiters,
    /// Live views: sockets with pictures of a session, and requested VNC ports.
    Viewers,
    /// Connections of programs to DevTools.
    DevtoolsConnections,
    /// Streams of events, and the message and input sockets of viewers.
    EventStreams,
    /// Stored artifacts: recordings, downloads, pictures and logs of runs.
    StorageMib,
    /// Bytes that sessions have sent and received since midnight, UTC.
    EgressMibPerDay,
    /// Requests that are being answered.
    Requests,
}

impl Quota {
    /// Every quota, in the order in which people read them.
    pub const ALL: [Self; 10] = [
        Self::Sessions,
        Self::CreatesPerMinute,
        Self::Runs,
        Self::Waiters,
        Self::Viewers,
        Self::DevtoolsConnections,
        Self::EventStreams,
        Self::StorageMib,
        Self::EgressMibPerDay,
        Self::Requests,
    ];

    /// The name in the API, the settings and the headers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sessions => "sessions",
            Self::CreatesPerMinute => "creates_per_minute",
            Self::Runs => "runs",
            Self::Waiters => "waiters",
            Self::Viewers => "viewers",
            Self::DevtoolsConnections => "devtools_connections",
            Self::EventStreams => "event_streams",
            Self::StorageMib => "storage_mib",
            Self::EgressMibPerDay => "egress_mib_per_day",
            Self::Requests => "requests",
        }
    }

    /// The noun for a message: `5 of 5 … are in use`.
    const fn counted(self) -> &'static str {
        match self {
            Self::Sessions => "live sessions",
            Self::CreatesPerMinute => "new sessions of the last minute",
            Self::Runs => "unfinished runs",
            Self::Waiters => "places in queues for sessions",
            Self::Viewers => "live views",
            Self::DevtoolsConnections => "DevTools connections",
            Self::EventStreams => "event streams and viewer channels",
            Self::StorageMib => "MiB of stored files",
            Self::EgressMibPerDay => "MiB of network traffic of this UTC day",
            Self::Requests => "requests at once",
        }
    }

    /// The remedy that a client has itself.
    const fn remedy(self) -> &'static str {
        match self {
            Self::Sessions => "close a session",
            Self::CreatesPerMinute => "wait until the minute is over",
            Self::Runs => "wait for a run to end, or cancel one",
            Self::Waiters => "retry when a waiter has left its queue",
            Self::Viewers => "close a live view",
            Self::DevtoolsConnections => "close a DevTools connection",
            Self::EventStreams => "close an event stream or a viewer",
            Self::StorageMib => "retry when stored files were removed",
            Self::EgressMibPerDay => "wait until midnight, UTC",
            Self::Requests => "wait for the answers to earlier requests",
        }
    }
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no quota.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown quota `{given}`{hint}")]
pub struct NotAQuota {
    given: String,
    hint: String,
}

impl FromStr for Quota {
    type Err = NotAQuota;

    fn from_str(text: &str) -> Result<Self, NotAQuota> {
        Self::ALL.into_iter().find(|quota| quota.as_str() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::as_str);
            let hint = match nearest(text, names) {
                Some(near) => format!("; did you mean `{near}`?"),
                None => format!("; expected one of {}", names.join(", ")),
            };
            NotAQuota { given: text.to_owned(), hint }
        })
    }
}

/// Limits by quota. A quota without an entry is not limited here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Limits(BTreeMap<Quota, u64>);

impl Limits {
    /// The limit of a quota, if there is one.
    pub fn get(&self, quota: Quota) -> Option<u64> {
        self.0.get(&quota).copied()
    }

    /// Sets a limit, or removes it.
    pub fn set(&mut self, quota: Quota, limit: Option<u64>) {
        match limit {
            Some(limit) => drop(self.0.insert(quota, limit)),
            None => drop(self.0.remove(&quota)),
        }
    }

    /// True if nothing is limited.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// These limits, and for quotas without one those of `defaults`.
    #[must_use]
    pub fn or(&self, defaults: &Self) -> Self {
        let mut all = defaults.0.clone();
        all.extend(&self.0);
        Self(all)
    }
}

/// Checks a limit that was given: 0 to 1000000000.
///
/// # Errors
///
/// Fails with the range in words.
pub fn checked_limit(given: u64) -> Result<u64, &'static str> {
    if given <= HIGHEST { Ok(given) } else { Err(EXPECTED) }
}

/// The values of a limit, in words.
pub const EXPECTED: &str = "expected a whole number from 0 to 1000000000, or null for the default";

/// The use of a quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Use {
    pub quota: Quota,
    /// The limit; none if there is none.
    pub limit: Option<u64>,
    /// The use, in the unit of the quota.
    pub used: u64,
    /// The time at which the use falls by itself.
    pub resets_at: Option<DateTime<Utc>>,
}

impl Use {
    /// The rest that may be used, if there is a limit.
    pub fn remaining(&self) -> Option<u64> {
        self.limit.map(|limit| limit.saturating_sub(self.used))
    }
}

/// A refusal: the limit of an organization is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaExceeded {
    pub organization: OrganizationId,
    pub quota: Quota,
    pub limit: u64,
    /// The use at the time of the refusal.
    pub used: u64,
    /// The time of the refusal.
    pub at: DateTime<Utc>,
    /// The time at which the use falls by itself.
    pub resets_at: Option<DateTime<Utc>>,
}

impl QuotaExceeded {
    /// The earliest time at which the same request may succeed, from the refusal on.
    pub fn retry_after(&self) -> Duration {
        match self.resets_at {
            Some(at) => (at - self.at).to_std().unwrap_or_default().max(Duration::from_secs(1)),
            None => RETRY_AFTER,
        }
    }

    /// The same as a point in time.
    pub fn retry_at(&self) -> DateTime<Utc> {
        self.resets_at.unwrap_or(self.at + RETRY_AFTER)
    }
}

impl fmt::Display for QuotaExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { quota, limit, used, .. } = self;
        write!(
            f,
            "the quota `{quota}` of this organization is used up: {used} of {limit} {}; {}, or ask the \
             operator of the server to raise it",
            quota.counted(),
            quota.remedy(),
        )
    }
}

impl std::error::Error for QuotaExceeded {}

/// Midnight after this time, UTC.
pub fn next_midnight(now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let tomorrow = now.date_naive().checked_add_days(Days::new(1))?;
    Some(tomorrow.and_time(NaiveTime::MIN).and_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_nearly_right_is_answered_with_the_right_one() {
        for quota in Quota::ALL {
            assert_eq!(quota.as_str().parse(), Ok(quota));
            assert_eq!(serde_json::to_value(quota).unwrap(), quota.as_str());
        }
        let near = "sesions".parse::<Quota>().unwrap_err().to_string();
        assert_eq!(near, "unknown quota `sesions`; did you mean `sessions`?");
        assert!("x".parse::<Quota>().unwrap_err().to_string().contains("creates_per_minute"));
    }

    #[test]
    fn own_limits_come_before_the_defaults_and_zero_is_one() {
        let (mut own, mut defaults) = (Limits::default(), Limits::default());
        own.set(Quota::Runs, Some(0));
        defaults.set(Quota::Runs, Some(7));
        defaults.set(Quota::Viewers, Some(3));
        let all = own.or(&defaults);
        assert_eq!((all.get(Quota::Runs), all.get(Quota::Viewers)), (Some(0), Some(3)));
        own.set(Quota::Runs, None);
        assert_eq!(own.or(&defaults).get(Quota::Runs), Some(7));
        assert_eq!(serde_json::to_string(&all).unwrap(), r#"{"runs":0,"viewers":3}"#);
    }

    #[test]
    fn a_refusal_names_the_quota_the_use_and_the_way_out() {
        let at = DateTime::from_timestamp(1_000, 500).unwrap();
        let refusal = QuotaExceeded {
            organization: OrganizationId::from(1),
            quota: Quota::Sessions,
            limit: 3,
            used: 3,
            at,
            resets_at: None,
        };
        let text = refusal.to_string();
        for part in ["`sessions`", "3 of 3 live sessions", "close a session", "operator"] {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(refusal.retry_after(), RETRY_AFTER);
        let midnight = next_midnight(at).unwrap();
        assert_eq!(midnight.timestamp(), 86_400);
        let refusal = QuotaExceeded { resets_at: Some(midnight), ..refusal };
        assert_eq!(refusal.retry_at(), midnight);
        assert!(refusal.retry_after() > Duration::from_secs(85_000));
    }
}
