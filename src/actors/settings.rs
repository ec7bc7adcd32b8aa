//! The settings of sessions, occupancies and runs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::browser_flags::BrowserChoices;
use crate::domain::control::{OnTakeover, Patience};

/// Limits and defaults of sessions, occupancies and runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The number of sessions that may live at once on this node.
    pub max_sessions: usize,
    /// The time limit for a session's browser to start.
    pub start_seconds: u64,
    /// The lifetime of a session that asks for none.
    pub default_lifetime_seconds: u64,
    /// The shortest lifetime that may be asked for.
    pub min_lifetime_seconds: u64,
    /// The longest lifetime; a request for more is granted this, with a warning.
    pub max_lifetime_seconds: u64,
    /// The time that a session may be vacant before it ends; 0 for as long as its lifetime.
    pub idle_seconds: u64,
    /// The lease of an occupant that asks for none.
    pub default_lease_seconds: u64,
    /// The longest lease that may be asked for.
    pub max_lease_seconds: u64,
    /// The number of waiters that one session may have.
    pub max_waiters: usize,
    /// The time that a run waits for its session, unless it says otherwise.
    pub run_wait_seconds: u64,
    /// The time limit of a run that sets none.
    pub run_limit_seconds: u64,
    /// The lifetime of a debug session from its last use.
    pub debug_session_seconds: u64,
    /// The time after which a debug session that is neither watched, nor driven, nor running a
    /// block is closed; 0 for never.
    pub debug_session_unused_seconds: u64,
    /// The number of times that a session's broken desktop is restarted within
    /// `recovery_window_seconds`; one more ends the session. 0 ends it at the first. A browser that
    /// closed in good order does not count, and is always started again.
    pub max_recoveries: usize,
    /// The time in which recoveries are counted.
    pub recovery_window_seconds: u64,
    /// The delay before the second recovery within the window; each further one waits twice as
    /// long. The first does not wait.
    pub recovery_wait_milliseconds: u64,
    /// The number of runs that may be under way at once on this node.
    pub max_runs: usize,
    /// The number of viewers that may watch one session at once.
    pub max_viewers: usize,
    /// The number of viewers that may watch all sessions of one organization at once, on this node.
    pub max_viewers_of_organization: usize,
    /// The number of clients that may be connected to one session's DevTools at once.
    pub max_drivers: usize,
    /// The number of browser profiles that an organization may have, without those that the server keeps for
    /// workflows and debug sessions.
    pub max_profiles: u64,
    /// The number of versions of a browser profile that are kept; the oldest goes when another is
    /// stored. The version that sessions start from stays.
    pub keep_profile_versions: u32,
    /// The time limit for storing the profile of a session that ends.
    pub profile_store_seconds: u64,
    /// The number of tickets of one session that may be valid at once.
    pub max_tickets: usize,
    /// The validity of a viewer's ticket that asks for nothing else.
    pub default_ticket_seconds: u64,
    /// The longest validity of a ticket.
    pub max_ticket_seconds: u64,
    /// The time without a key or click after which a person's control goes back to the agent.
    pub control_idle_seconds: u64,
    /// The time that a person whose connection is lost keeps control.
    pub control_grace_seconds: u64,
    /// The handling of an outside driver's input while a person has control, where the session does
    /// not say: `hold`, `refuse` or `share`.
    pub on_takeover: OnTakeover,
    /// The number of messages that the journal keeps for the whole server.
    pub journal_messages: usize,
    /// The number of further messages that it keeps for each actor.
    pub journal_messages_of_actor: usize,
    /// The flags and executables that clients may choose, which the sections `isolation` and
    /// `desktop` set.
    #[serde(skip)]
    pub browsers: BrowserChoices,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_sessions: 50,
            start_seconds: 120,
            default_lifetime_seconds: 60 * 60,
            min_lifetime_seconds: 5 * 60,
            max_lifetime_seconds: 240 * 60,
            idle_seconds: 0,
            default_lease_seconds: 30,
            max_lease_seconds: 60 * 60,
            max_waiters: 100,
            run_wait_seconds: 60 * 60,
            run_limit_seconds: 240 * 60,
            debug_session_seconds: 240 * 60,
            debug_session_unused_seconds: 5 * 60,
            max_recoveries: 5,
            recovery_window_seconds: 600,
            recovery_wait_milliseconds: 500,
            max_runs: 200,
            max_viewers: 50,
            max_viewers_of_organization: 500,
            max_drivers: 32,
            max_profiles: 10_000,
            keep_profile_versions: 10,
            profile_store_seconds: 120,
            max_tickets: 100,
            default_ticket_seconds: 60 * 60,
            max_ticket_seconds: 24 * 60 * 60,
            control_idle_seconds: 5 * 60,
            control_grace_seconds: 30,
            on_takeover: OnTakeover::Hold,
            journal_messages: 20_000,
            journal_messages_of_actor: 200,
            browsers: BrowserChoices::default(),
        }
    }
}

impl Settings {
    /// The problems of these settings, one line each.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut check = |holds: bool, problem: &str| {
            if !holds {
                problems.push(problem.to_owned());
            }
        };
        check(self.start_seconds > 0, "start_seconds must be at least 1");
        check(self.max_sessions > 0, "max_sessions must be at least 1");
        check(self.max_drivers > 0, "max_drivers must be at least 1");
        check(
            self.min_lifetime_seconds <= self.default_lifetime_seconds
                && self.default_lifetime_seconds <= self.max_lifetime_seconds,
            "min_lifetime_seconds, default_lifetime_seconds and max_lifetime_seconds must rise",
        );
        check(
            (1..=self.max_lease_seconds).contains(&self.default_lease_seconds),
            "default_lease_seconds must be between 1 and max_lease_seconds",
        );
        check(
            (1..=self.max_ticket_seconds).contains(&self.default_ticket_seconds),
            "default_ticket_seconds must be between 1 and max_ticket_seconds",
        );
        check(self.debug_session_seconds > 0, "debug_session_seconds must be at least 1");
        check(self.keep_profile_versions > 0, "keep_profile_versions must be at least 1");
        check(self.profile_store_seconds > 0, "profile_store_seconds must be at least 1");
        check(self.control_idle_seconds > 0, "control_idle_seconds must be at least 1");
        check(self.journal_messages > 0, "journal_messages must be at least 1");
        problems
    }

    /// The lease of an occupant that asks for none.
    pub fn default_lease(&self) -> Duration {
        Duration::from_secs(self.default_lease_seconds)
    }

    /// The lifetime of a debug session from its last use.
    pub fn debug_session(&self) -> Duration {
        Duration::from_secs(self.debug_session_seconds)
    }

    /// The duration of [`profile_store_seconds`](Self::profile_store_seconds).
    pub(super) fn profile_store_limit(&self) -> Duration {
        Duration::from_secs(self.profile_store_seconds)
    }

    /// The duration of [`start_seconds`](Self::start_seconds).
    pub(super) fn start_limit(&self) -> Duration {
        Duration::from_secs(self.start_seconds)
    }

    /// The time after which an unused debug session is closed, if it is.
    pub fn debug_session_unused(&self) -> Option<Duration> {
        let seconds = self.debug_session_unused_seconds;
        (seconds > 0).then(|| Duration::from_secs(seconds))
    }

    /// The time that a session may be vacant, if that is limited.
    pub fn idle(&self) -> Option<Duration> {
        (self.idle_seconds > 0).then(|| Duration::from_secs(self.idle_seconds))
    }

    /// The limits on the idleness and the absence of a person in control.
    pub fn control_patience(&self) -> Patience {
        let seconds =
            |count: u64| chrono::Duration::seconds(i64::try_from(count).unwrap_or(86_400));
        Patience {
            idle: seconds(self.control_idle_seconds),
            grace: seconds(self.control_grace_seconds),
        }
    }
}
