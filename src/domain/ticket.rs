//! The roles of tickets, and the keys that may make them.

use super::rfb::Role;
use super::tenancy::KeyRole;

/// The extent of a ticket's power over its one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TicketRole {
    /// The state and the pictures.
    Watch,
    /// The same, and control for a person.
    Control,
    /// DevTools and the occupancy, as of a key whose role is `drive`, and what `watch` opens.
    Drive,
}

impl TicketRole {
    pub const ALL: [Self; 3] = [Self::Watch, Self::Control, Self::Drive];

    /// As the API writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Watch => "watch",
            Self::Control => "control",
            Self::Drive => "drive",
        }
    }

    /// The role of a viewer that comes with such a ticket.
    pub const fn as_viewer(self) -> Role {
        match self {
            Self::Watch | Self::Drive => Role::Watch,
            Self::Control => Role::Control,
        }
    }

    /// True if a key of this role may make such a ticket: none opens more than its key. A key that only watches
    /// makes none.
    pub fn may_be_made_by(self, key: KeyRole) -> bool {
        match self {
            Self::Watch | Self::Drive => key >= KeyRole::Drive,
            Self::Control => key >= KeyRole::Organization,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_ticket_opens_more_than_the_key_that_makes_it() {
        for (key, allowed) in [
            (KeyRole::Watch, &[][..]),
            (KeyRole::Drive, &["watch", "drive"]),
            (KeyRole::Organization, &["watch", "control", "drive"]),
            (KeyRole::Operator, &["watch", "control", "drive"]),
        ] {
            let made = TicketRole::ALL.into_iter().filter(|role| role.may_be_made_by(key));
            let made: Vec<_> = made.map(TicketRole::as_str).collect();
            assert_eq!(made, allowed, "{key:?}");
        }
    }
}
