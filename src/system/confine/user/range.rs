//! The range of uids for sessions' users.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The range that is used unless another one is set.
///
/// It collides with no usual range. People and services are below 65536, and systemd's dynamic users
/// are 61184 to 65519. Subordinate users begin at 100000 (`SUB_UID_MIN`), and containers of systemd
/// end at 1879048191. SSSD and FreeIPA assign up to 2000200000, and systemd's foreign users begin at
/// 2147352576.
pub const DEFAULT: Range = Range { first: 2_100_000_000, count: 65_536 };

/// A range of uids, which are also gids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Range {
    first: u32,
    count: u32,
}

impl Default for Range {
    fn default() -> Self {
        DEFAULT
    }
}

/// The reason for which a range is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// The text is not a range.
    #[error("`{0}` is not a range of users: expected `first-last`, such as 2100000000-2100065535")]
    Unreadable(String),
    /// The range contains reserved numbers.
    #[error("the users {0} are not for sessions: below 1000, 61184 to 65535 or above 4294967293")]
    Reserved(Range),
}

impl Range {
    /// Makes the range from `first` to `last`, both included.
    pub fn new(first: u32, last: u32) -> Result<Self, RangeError> {
        let unreadable = || RangeError::Unreadable(format!("{first}-{last}"));
        let count = last.checked_sub(first).and_then(|more| more.checked_add(1));
        let range = Self { first, count: count.ok_or_else(unreadable)? };
        let touches = |low: u32, high: u32| first <= high && last >= low;
        if touches(0, 999) || touches(61_184, 65_535) || touches(u32::MAX - 1, u32::MAX) {
            return Err(RangeError::Reserved(range));
        }
        Ok(range)
    }

    /// The first uid of the range.
    pub fn first(self) -> u32 {
        self.first
    }

    /// The last uid of the range.
    pub fn last(self) -> u32 {
        self.first.saturating_add(self.count.saturating_sub(1))
    }

    /// The number of uids in the range.
    pub fn count(self) -> u32 {
        self.count
    }

    /// True if the range contains `uid`.
    pub fn contains(self, uid: u32) -> bool {
        (self.first..=self.last()).contains(&uid)
    }

    /// All uids of the range, starting at `offset` and wrapping around.
    pub(super) fn from(self, offset: u32) -> impl Iterator<Item = u32> {
        let count = self.count.max(1);
        let offset = offset % count;
        (0..self.count).map(move |step| {
            let place = u64::from(offset) + u64::from(step);
            let place = u32::try_from(place % u64::from(count)).unwrap_or_default();
            self.first.saturating_add(place)
        })
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last())
    }
}

impl FromStr for Range {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, RangeError> {
        let parsed = text.split_once('-').and_then(|(first, last)| {
            Some((first.trim().parse().ok()?, last.trim().parse().ok()?))
        });
        let (first, last) = parsed.ok_or_else(|| RangeError::Unreadable(text.to_owned()))?;
        Self::new(first, last)
    }
}

impl TryFrom<String> for Range {
    type Error = RangeError;

    fn try_from(text: String) -> Result<Self, RangeError> {
        text.parse()
    }
}

impl From<Range> for String {
    fn from(range: Range) -> Self {
        range.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_nobody_elses_numbers() {
        assert_eq!(DEFAULT.to_string(), "2100000000-2100065535");
        assert_eq!(DEFAULT.to_string().parse::<Range>().unwrap(), DEFAULT);
        for refused in ["0-10", "900-2000", "61000-70000", "5-1", "x", "1000-", "70000-4294967295"]
        {
            assert!(refused.parse::<Range>().is_err(), "{refused}");
        }
    }

    #[test]
    fn numbers_go_around() {
        let range = Range::new(2_000, 2_002).unwrap();
        assert_eq!(range.from(4).collect::<Vec<_>>(), [2_001, 2_002, 2_000]);
        assert!(range.contains(2_002) && !range.contains(2_003));
    }
}
