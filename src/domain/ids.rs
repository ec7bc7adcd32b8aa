//! Identifiers: a prefix for the kind of object, and a 64-bit number that sorts by time.
//!
//! The number has the layout of the API that Greenroom is compatible with. From high to low, it has
//! 32 bits of seconds since [`EPOCH_SECONDS`], 21 bits that identify the server process, 10 bits of
//! sequence, and one version bit, which is 0.
//!
//! Ids are parsed at the boundary and typed from there on; no bare string identifies an object.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use chrono::{DateTime, Utc};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The epoch of the seconds in an id: 2022-06-20T00:00:00Z, as a Unix time.
pub const EPOCH_SECONDS: i64 = 1_655_683_200;

const WORKER_BITS: u32 = 21;
const SEQUENCE_BITS: u32 = 10;
const VERSION_BITS: u32 = 1;

/// The common interface of all ids.
pub trait Id: Copy + fmt::Display + FromStr<Err = NotAnId> + From<u64> {
    /// The prefix before the underscore.
    const PREFIX: &'static str;
}

/// A text that is not an id of the kind that was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected an id: `{expected}_` and a decimal number")]
pub struct NotAnId {
    /// The prefix that the text should have had.
    pub expected: &'static str,
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u64);

        impl $name {
            /// Returns the time at which the id was minted, to the second.
            pub fn minted_at(self) -> DateTime<Utc> {
                minted_at(self.0)
            }

            /// Returns the number of the id.
            pub fn number(self) -> u64 {
                self.0
            }
        }

        impl Id for $name {
            const PREFIX: &'static str = $prefix;
        }

        impl From<u64> for $name {
            fn from(number: u64) -> Self {
                Self(number)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "_{}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;

            fn from_str(text: &str) -> Result<Self, NotAnId> {
                number(text, $prefix).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(D::Error::custom)
            }
        }
    )+};
}

ids! {
    /// A tenant. Every object belongs to exactly one.
    OrganizationId = "o";
    /// An API key's record; the key itself is a secret and is never stored.
    ApiKeyId = "oat";
    /// One running server process on one machine.
    NodeId = "n";
    /// A persistent browser session.
    SessionId = "pbs";
    /// The stored state of a browser, from which sessions start.
    ProfileId = "bp";
    /// A browser extension that an organization has uploaded.
    ExtensionId = "ext";
    /// One version of a workflow.
    WorkflowId = "w";
    /// A workflow over all its versions.
    WorkflowPermanentId = "wpid";
    /// One execution of a workflow.
    RunId = "wr";
    /// One block of a run.
    BlockRunId = "wrb";
    /// A parameter of one version of a workflow.
    ParameterId = "wp";
    /// The output of a block, as a parameter of one version of a workflow.
    OutputParameterId = "op";
    /// The debug session of a person for a workflow.
    DebugSessionId = "ds";
    /// A stored file that a run or a session made.
    ArtifactId = "a";
    /// A row of the audit trail.
    AuditEventId = "ae";
    /// An event of a session or a run.
    EventId = "ev";
    /// A viewer of a session: a ticket, or a connection that presented an API key.
    ViewerId = "vw";
    /// The subscription by which an organization receives events.
    WebhookId = "wh";
    /// A message that a webhook delivers.
    WebhookMessageId = "wm";
    /// An attempt to deliver a webhook.
    WebhookDeliveryId = "wd";
}

fn minted_at(number: u64) -> DateTime<Utc> {
    let seconds = number >> (WORKER_BITS + SEQUENCE_BITS + VERSION_BITS);
    let seconds = i64::try_from(seconds).unwrap_or(0).saturating_add(EPOCH_SECONDS);
    DateTime::from_timestamp(seconds, 0).unwrap_or_default()
}

fn number(text: &str, prefix: &'static str) -> Result<u64, NotAnId> {
    text.strip_prefix(prefix)
        .and_then(|rest| rest.strip_prefix('_'))
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|digits| digits.parse().ok())
        .ok_or(NotAnId { expected: prefix })
}

/// Mints ids in ascending order.
#[derive(Debug)]
pub struct Mint {
    worker: u64,
    /// The seconds and sequence of the last id, packed.
    last: AtomicU64,
}

impl Mint {
    /// Creates a mint. `worker` identifies this process; only its low 21 bits are used.
    pub fn new(worker: u64) -> Self {
        Self { worker: worker & ((1 << WORKER_BITS) - 1), last: AtomicU64::new(0) }
    }

    /// Returns a new id for the time `now`. More than 1,024 ids within a second borrow from the
    /// next second, and a clock that steps back does not make ids descend.
    pub fn mint<I: Id>(&self, now: DateTime<Utc>) -> I {
        let seconds = u64::try_from(now.timestamp() - EPOCH_SECONDS).unwrap_or(0);
        let earliest = seconds << SEQUENCE_BITS;
        let next = |last: u64| Some(earliest.max(last + 1));
        let updated = self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        let tick = match updated {
            Ok(last) | Err(last) => earliest.max(last + 1),
        };
        let sequence = tick & ((1 << SEQUENCE_BITS) - 1);
        let seconds = tick >> SEQUENCE_BITS;
        I::from(
            (seconds << (WORKER_BITS + SEQUENCE_BITS + VERSION_BITS))
                | (self.worker << (SEQUENCE_BITS + VERSION_BITS))
                | (sequence << VERSION_BITS),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(EPOCH_SECONDS + seconds, 0).unwrap()
    }

    #[test]
    fn an_id_is_read_back_as_it_was_written() {
        let id: SessionId = Mint::new(7).mint(at(139_000_000));
        assert_eq!(id.to_string().parse(), Ok(id));
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(serde_json::from_str::<SessionId>(&json).unwrap(), id);
    }

    #[test]
    fn an_id_of_another_kind_or_with_signs_is_refused() {
        for text in
            ["wr_1", "pbs_", "pbs_+1", "pbs_-1", "pbs1", "pbs_1x", "", "pbs_99999999999999999999"]
        {
            assert_eq!(text.parse::<SessionId>(), Err(NotAnId { expected: "pbs" }), "{text}");
        }
    }

    #[test]
    fn ids_rise_within_a_second_over_its_limit_and_when_the_clock_steps_back() {
        let mint = Mint::new(3);
        let mut last = SessionId::from(0);
        for step in 0..5_000 {
            let next: SessionId = mint.mint(at(if step == 4_000 { 90 } else { 100 }));
            assert!(next > last, "{next} after {last}");
            last = next;
        }
    }
}
