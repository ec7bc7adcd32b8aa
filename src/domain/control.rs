//! Control of the browser's input: the agent has it, or one person.
//!
//! ```text
//!              take                        left
//!  Agent -----------------> User (here) ---------> User (gone, until)
//!    ^                       |  |  ^                 |  |
//!    +--- cede, put out -----+  |  +---- returned ---+  |
//!    +--- idle too long --------+                       |
//!    +--- cede, put out, not back in time --------------+
//! ```
//!
//! # Invariants
//!
//! 1. At most one user has control, and no other user can take it from them. A user whose
//!    connection is lost yields to another page of the same person.
//! 2. A user who loses the connection keeps control for a grace period; returning within it
//!    changes nothing.
//! 3. Every end of a user's control gives control back to the agent.
//!
//! Pure: each event carries the current time.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Duration, Utc};
use serde::{Deserialize, Serialize};

use super::ids::{ApiKeyId, ViewerId};
use super::rfb::Role;

/// The credential that a viewer has presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Credential {
    /// The API key with this id.
    Key(ApiKeyId),
    /// The viewer ticket with this id.
    Ticket(ViewerId),
}

/// The name that a viewer's page gives itself, the same on all its sockets. It is valid only
/// together with the same credential, so that guessing a name gains nothing.
///
/// The part before a `.` names the person and is the same for all pages of that person. A page that
/// was closed and opened again has a new name, and the person is recognized by this part.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientId(String);

/// A text that is not a client's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected 1 to 128 visible characters")]
pub struct NotAClientId;

impl ClientId {
    /// Returns the name of the person whose page this is, if the name contains one.
    fn person(&self) -> Option<&str> {
        self.0.split_once('.').map(|(person, _page)| person).filter(|person| !person.is_empty())
    }
}

impl FromStr for ClientId {
    type Err = NotAClientId;

    fn from_str(text: &str) -> Result<Self, NotAClientId> {
        let fits = (1..=128).contains(&text.len()) && text.bytes().all(|it| it.is_ascii_graphic());
        if fits { Ok(Self(text.to_owned())) } else { Err(NotAClientId) }
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One page of one person.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Party {
    /// The credential that the page has presented.
    pub credential: Credential,
    /// The page, among those with the same credential.
    pub client: ClientId,
}

/// A person who has control.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The page that has control.
    pub party: Party,
    /// A human-readable name of the person.
    pub label: Option<String>,
    /// The time at which control was taken.
    pub since: DateTime<Utc>,
    /// The time at which control returns to the agent unless a key or click comes before.
    pub idle_at: DateTime<Utc>,
    /// The time at which control returns to the agent because the connection is lost; none while
    /// connected.
    pub gone_until: Option<DateTime<Utc>>,
}

impl User {
    /// Returns the time at which control returns to the agent, as known now.
    pub fn expires_at(&self) -> DateTime<Utc> {
        self.gone_until.map_or(self.idle_at, |gone| gone.min(self.idle_at))
    }

    /// True if the connection is lost and `party` is another page of the same person.
    fn is_missed_by(&self, party: &Party) -> bool {
        let person = party.client.person();
        self.gone_until.is_some()
            && self.party.credential == party.credential
            && person.is_some_and(|person| self.party.client.person() == Some(person))
    }
}

/// The party whose input reaches the browser.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Control {
    /// The automation, and viewers that have no means to ask for control.
    #[default]
    Agent,
    /// A person has control.
    User(User),
}

/// An event that may change control.
#[derive(Debug, Clone)]
pub enum Event {
    /// A person asks for control. A person who already has control keeps it.
    Take { party: Party, label: Option<String>, now: DateTime<Utc>, idle_at: DateTime<Utc> },
    /// A person releases control. Does nothing if that person does not have it.
    Cede { party: Party },
    /// The last connection of this page is lost.
    Left { party: Party, until: DateTime<Utc> },
    /// This page has connected again.
    Returned { party: Party, now: DateTime<Utc> },
    /// The user in control has typed or clicked.
    Used { idle_at: DateTime<Utc> },
    /// Ends a user's control whose time is over at `now`.
    Expire { now: DateTime<Utc> },
    /// The holder of this credential loses control and may not take it again.
    Kicked { credential: Credential },
}

/// The reason why control is not granted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Another user has control.
    #[error("{} has control", .label.as_deref().unwrap_or("another viewer"))]
    Held {
        /// A human-readable name of that user.
        label: Option<String>,
        /// The time at which that control ends, unless the user types or clicks before.
        until: DateTime<Utc>,
    },
    /// The viewer's credential permits watching only.
    #[error("this viewer may only watch")]
    WatchOnly,
    /// The viewer has no message channel, or has lost it.
    #[error("this viewer is not connected")]
    NotConnected,
}

impl Control {
    /// Returns the user in control; none while the agent has it.
    pub fn user(&self) -> Option<&User> {
        match self {
            Self::Agent => None,
            Self::User(user) => Some(user),
        }
    }

    /// True if the user of this page has control.
    pub fn is_of(&self, party: &Party) -> bool {
        self.user().is_some_and(|user| user.party == *party)
    }

    /// Returns the role of a viewer whose credential permits at most `most`.
    ///
    /// A viewer that can ask for control, because it has a client name, watches until it has
    /// control. A viewer that cannot, such as a native VNC client, may type while no person has
    /// control, so that there is never more than one person.
    pub fn role_of(&self, most: Role, party: Option<&Party>) -> Role {
        let may = match (self, party) {
            (Self::Agent, None) => true,
            (Self::Agent, Some(_)) | (Self::User(_), None) => false,
            (Self::User(user), Some(party)) => user.party == *party,
        };
        if may { most } else { Role::Watch }
    }

    /// Returns the control after `event`. Only a [`Event::Take`] can be refused.
    pub fn after(&self, event: Event) -> Result<Self, Refusal> {
        use Control::{Agent, User as Held};
        Ok(match (self, event) {
            (Agent, Event::Take { party, label, now, idle_at }) => {
                Held(User { party, label, since: now, idle_at, gone_until: None })
            }
            (
                Agent,
                Event::Cede { .. }
                | Event::Left { .. }
                | Event::Returned { .. }
                | Event::Used { .. }
                | Event::Expire { .. }
                | Event::Kicked { .. },
            ) => Agent,

            // The clock decides whether the control is over, not whether the timer has fired. A
            // person who closed the page and opened its link again need not wait for the timer.
            (Held(user), Event::Take { party, label, now, idle_at })
                if user.party != party
                    && (user.expires_at() <= now || user.is_missed_by(&party)) =>
            {
                let label =
                    label.or_else(|| user.label.clone().filter(|_label| user.is_missed_by(&party)));
                Held(User { party, label, since: now, idle_at, gone_until: None })
            }
            (Held(user), Event::Take { party, label, idle_at, .. }) if user.party == party => {
                let label = label.or_else(|| user.label.clone());
                let idle_at = idle_at.max(user.idle_at);
                Held(User { label, idle_at, gone_until: None, ..user.clone() })
            }
            (Held(user), Event::Take { .. }) => {
                let (label, until) = (user.label.clone(), user.expires_at());
                return Err(Refusal::Held { label, until });
            }

            (Held(user), Event::Cede { party }) if user.party == party => Agent,
            (Held(user), Event::Kicked { credential }) if user.party.credential == credential => {
                Agent
            }
            (Held(user), Event::Expire { now }) if user.expires_at() <= now => Agent,
            (Held(user), Event::Left { party, until }) if user.party == party => {
                Held(User { gone_until: Some(until), ..user.clone() })
            }
            (Held(user), Event::Returned { party, now })
                if user.party == party && user.expires_at() > now =>
            {
                Held(User { gone_until: None, ..user.clone() })
            }
            (Held(user), Event::Returned { party, .. }) if user.party == party => Agent,
            (Held(user), Event::Used { idle_at }) => {
                Held(User { idle_at: idle_at.max(user.idle_at), ..user.clone() })
            }
            (
                Held(_),
                Event::Cede { .. }
                | Event::Kicked { .. }
                | Event::Expire { .. }
                | Event::Left { .. }
                | Event::Returned { .. },
            ) => self.clone(),
        })
    }
}

/// The treatment of input from outside drivers while a person has control.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnTakeover {
    /// The input waits until the person releases control.
    #[default]
    Hold,
    /// The input is refused with an error.
    Refuse,
    /// The input reaches the browser alongside the person's.
    Share,
}

impl OnTakeover {
    /// Returns the value used in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Refuse => "refuse",
            Self::Share => "share",
        }
    }

    /// Parses a value written by [`as_str`](Self::as_str).
    pub fn from_name(text: &str) -> Option<Self> {
        [Self::Hold, Self::Refuse, Self::Share].into_iter().find(|it| it.as_str() == text)
    }
}

/// The limits on idleness and absence of a user in control.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// The longest time without a key or click.
    pub idle: Duration,
    /// The longest time without a connection.
    pub grace: Duration,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn party(name: &str) -> Party {
        // Ann, her other tab and pages, and every person with a name of the same length share a
        // credential.
        let person = name.split('.').next().unwrap().trim_end_matches('2');
        let credential = Credential::Ticket(ViewerId::from(u64::try_from(person.len()).unwrap()));
        Party { credential, client: name.parse().unwrap() }
    }

    /// `take ann 0`: idle after 100 s; `left ann 5`: for 10 s; `used 7`, `expire 8`, `out ann 9`.
    fn event(line: &str) -> Event {
        let words: Vec<_> = line.split(' ').collect();
        let now = at(words[words.len() - 1].parse().unwrap());
        let party = party(words[1]);
        let idle_at = now + Duration::seconds(100);
        match words[0] {
            "take" => Event::Take { label: Some(words[1].to_owned()), party, now, idle_at },
            "cede" => Event::Cede { party },
            "left" => Event::Left { party, until: now + Duration::seconds(10) },
            "returned" => Event::Returned { party, now },
            "used" => Event::Used { idle_at },
            "expire" => Event::Expire { now },
            "out" => Event::Kicked { credential: party.credential },
            other => panic!("{other}"),
        }
    }

    #[track_caller]
    fn check(events: &[&str], expected: &str) {
        let mut control = Ok(Control::Agent);
        for line in events {
            let before: Control = control.expect("only the last event may be refused");
            control = before.after(event(line));
        }
        let shown = match control {
            Ok(Control::Agent) => "agent".to_owned(),
            Ok(Control::User(user)) => {
                format!("{} until {}", user.party.client, user.expires_at().timestamp())
            }
            Err(refusal) => format!("refused: {refusal}"),
        };
        assert_eq!(shown, expected, "after {events:?}");
    }

    #[test]
    fn one_takes_and_hands_back() {
        check(&["take ann 0"], "ann until 100");
        check(&["take ann 0", "cede ann 1"], "agent");
        check(&["take ann 0", "cede bob 1"], "ann until 100");
        check(&["take ann 0", "take bob 1"], "refused: ann has control");
        check(&["take ann 0", "take ann 1"], "ann until 101");
        check(&["take ann 0", "cede ann 1", "take bob 2"], "bob until 102");
        check(&["take ann 0", "take ann2 1"], "refused: ann has control");
        check(&["take ann 0", "left ann 1", "take bob 2"], "refused: ann has control");
        check(&["take ann 0", "left ann 1", "take ann2 2"], "refused: ann has control");
    }

    #[test]
    fn another_page_of_the_same_person_has_the_control_of_one_that_is_gone() {
        let gone = ["take ann.1 0", "left ann.1 1"];
        check(&[&gone[..], &["take ann.2 2"]].concat(), "ann.2 until 102");
        check(&[&gone[..], &["take ann.2 2", "returned ann.1 3"]].concat(), "ann.2 until 102");
        // A page with only the same credential, or the same name under another one, is another
        // person.
        check(&[&gone[..], &["take bob.2 2"]].concat(), "refused: ann.1 has control");
        check(&[&gone[..], &["take ann 2"]].concat(), "refused: ann.1 has control");
        check(&["take .1 0", "left .1 1", "take .2 2"], "refused: .1 has control");
        check(&["take ann.1 0", "take ann.2 1"], "refused: ann.1 has control");
    }

    #[test]
    fn another_tab_of_the_same_viewer_is_another() {
        check(&["take ann 0", "take ann2 1"], "refused: ann has control");
        check(&["take ann 0", "cede ann2 1"], "ann until 100");
        check(&["take ann 0", "out ann2 1"], "agent");
    }

    #[test]
    fn control_survives_a_reconnect_in_time_and_not_later() {
        check(&["take ann 0", "left ann 5"], "ann until 15");
        check(&["take ann 0", "left ann 5", "take bob 6"], "refused: ann has control");
        check(&["take ann 0", "left ann 5", "returned ann 14", "expire x 20"], "ann until 100");
        check(&["take ann 0", "left ann 5", "returned ann 15"], "agent");
        check(&["take ann 0", "left ann 5", "expire x 15"], "agent");
        check(&["take ann 0", "left bob 5", "expire x 15"], "ann until 100");
    }

    #[test]
    fn who_does_nothing_loses_control_and_whoever_types_keeps_it() {
        check(&["take ann 0", "expire x 99"], "ann until 100");
        check(&["take ann 0", "expire x 100"], "agent");
        check(&["take ann 0", "used x 50", "expire x 100"], "ann until 150");
        check(&["take ann 0", "take bob 100"], "bob until 200");
    }

    fn any_event() -> impl Strategy<Value = String> {
        const KINDS: &[&str] = &["take", "cede", "left", "returned", "used", "expire", "out"];
        const NAMES: &[&str] = &["ann", "ann2", "ann.1", "ann.2", "robert"];
        (prop::sample::select(KINDS), prop::sample::select(NAMES), 0..40_i64)
            .prop_map(|(kind, name, step)| format!("{kind} {name} {step}"))
    }

    proptest! {
        #[test]
        fn control_passes_from_person_to_person_only_through_the_agent_or_when_it_is_over(
            lines in prop::collection::vec(any_event(), 0..60)
        ) {
            let (mut control, mut now) = (Control::Agent, 0_i64);
            for line in &lines {
                let (head, step) = line.rsplit_once(' ').unwrap();
                now += step.parse::<i64>().unwrap();
                let asked = event(&format!("{head} {now}"));
                let taken = line.starts_with("take");
                let before = control.clone();
                match before.after(asked) {
                    Err(_) => prop_assert!(taken && before.user().is_some(), "on {}", line),
                    Ok(next) => control = next,
                }
                let (was, is) = (before.user(), control.user());
                if let (Some(was), Some(is)) = (was, is) && was.party != is.party {
                    let missed = was.is_missed_by(&is.party);
                    prop_assert!(taken && (missed || was.expires_at() <= at(now)), "on {}", line);
                }
                if was.is_none() && is.is_some() {
                    prop_assert!(taken, "on {}", line);
                }
                // Whatever happens, an hour of silence gives control back.
                let later = Event::Expire { now: at(now + 3600) };
                prop_assert_eq!(control.after(later), Ok(Control::Agent));
            }
        }
    }
}
