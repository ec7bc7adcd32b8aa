//! The server's ability to run programs as other users. Capabilities decide, not the user's name.

use std::fmt;
use std::fs;

use rustix::thread::CapabilitySet;

use super::Range;

/// The capabilities needed to run programs as other users, and to manage these programs and their files.
const NEEDED: [(CapabilitySet, &str); 7] = [
    (CapabilitySet::SETUID, "CAP_SETUID"),
    (CapabilitySet::SETGID, "CAP_SETGID"),
    (CapabilitySet::CHOWN, "CAP_CHOWN"),
    (CapabilitySet::FOWNER, "CAP_FOWNER"),
    // The server reads, writes, lists and removes their files.
    (CapabilitySet::DAC_OVERRIDE, "CAP_DAC_OVERRIDE"),
    (CapabilitySet::KILL, "CAP_KILL"),
    // The server reads the session's marker in the environment of its processes.
    (CapabilitySet::SYS_PTRACE, "CAP_SYS_PTRACE"),
];

/// The reason for which programs cannot run as other users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// The server lacks these capabilities.
    Capabilities(Vec<&'static str>),
    /// The uids do not exist in the server's user namespace, as in most containers.
    Unmapped(Range),
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Capabilities(names) => write!(f, "the server has no {}", names.join(", ")),
            Self::Unmapped(range) => write!(f, "the users {range} do not exist here"),
        }
    }
}

/// Proof that programs can run as other users.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ability {
    /// True if network namespaces can be created without a user namespace (`CAP_SYS_ADMIN`).
    pub makes_namespaces: bool,
}

impl Ability {
    /// Determines the ability of this process.
    pub fn find(range: Range) -> Result<Self, Missing> {
        let sets = rustix::thread::capabilities(None).map(|sets| sets.effective);
        let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        Self::of(sets.unwrap_or(CapabilitySet::empty()), &map, range)
    }

    fn of(effective: CapabilitySet, map: &str, range: Range) -> Result<Self, Missing> {
        let lacks = |(capability, _): &(CapabilitySet, &str)| !effective.contains(*capability);
        let missing: Vec<_> = NEEDED.into_iter().filter(lacks).map(|(_, name)| name).collect();
        if !missing.is_empty() {
            return Err(Missing::Capabilities(missing));
        }
        if !is_mapped(map, range) {
            return Err(Missing::Unmapped(range));
        }
        Ok(Self { makes_namespaces: effective.contains(CapabilitySet::SYS_ADMIN) })
    }
}

/// True if one line of a `uid_map` (`inside outside count`) contains the whole range.
fn is_mapped(map: &str, range: Range) -> bool {
    map.lines().any(|line| {
        let mut numbers = line.split_ascii_whitespace().filter_map(|text| text.parse::<u64>().ok());
        let (Some(inside), _outside, Some(count)) =
            (numbers.next(), numbers.next(), numbers.next())
        else {
            return false;
        };
        inside <= range.first().into() && u64::from(range.last()) < inside.saturating_add(count)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::confine::user::DEFAULT;

    const ALL: &str = "         0          0 4294967295\n";

    #[test]
    fn each_capability_counts_and_so_does_the_namespace() {
        let able = Ability::of(CapabilitySet::all(), ALL, DEFAULT);
        assert_eq!(able, Ok(Ability { makes_namespaces: true }));
        for (capability, name) in NEEDED {
            let refused = Ability::of(CapabilitySet::all() - capability, ALL, DEFAULT);
            assert_eq!(refused, Err(Missing::Capabilities(vec![name])));
        }
        let container = "0 100000 65536\n";
        let refused = Ability::of(CapabilitySet::all(), container, DEFAULT);
        assert_eq!(refused, Err(Missing::Unmapped(DEFAULT)));
        let within = Range::new(10_000, 20_000).unwrap();
        assert!(Ability::of(CapabilitySet::all(), container, within).is_ok());
    }
}
