//! The connected viewers of a session.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use actix::SpawnHandle;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tokio::sync::{broadcast, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::actors::views::SessionView;
use crate::domain::control::{ClientId, Control, Credential, Party};
use crate::domain::ids::ViewerId;
use crate::domain::rfb::Role;

/// The number of pastes that may wait for a message channel.
const PASTES_BEHIND: usize = 16;

/// The time of a person's last key or click. Bridges write it and the session reads it, so that
/// single keys and clicks involve no mailbox.
#[derive(Debug, Default)]
pub struct Activity(AtomicI64);

impl Activity {
    /// Records a key or a click at `now`.
    pub fn note(&self, now: DateTime<Utc>) {
        self.0.fetch_max(now.timestamp_millis(), Ordering::Relaxed);
    }

    /// The time of the last key or click, if there was one.
    pub(super) fn latest(&self) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp_millis(self.0.load(Ordering::Relaxed))
    }
}

/// The purpose of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ViewerKind {
    /// The display, over the RFB protocol.
    Vnc,
    /// Messages: control, the clipboard, tabs.
    Messages,
    /// A stream of pictures.
    Pictures,
    /// Keys and clicks over DevTools.
    Input,
}

impl ViewerKind {
    /// The name of the purpose in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Vnc => "vnc",
            Self::Messages => "messages",
            Self::Pictures => "pictures",
            Self::Input => "cdp_input",
        }
    }

    /// True if the connection shows the display.
    pub(super) fn shows(self) -> bool {
        match self {
            Self::Vnc | Self::Pictures => true,
            Self::Messages | Self::Input => false,
        }
    }

    /// True if the connection can ask for control. A page that has lost all such connections counts
    /// as gone.
    pub(super) fn asks(self) -> bool {
        match self {
            Self::Messages | Self::Input => true,
            Self::Vnc | Self::Pictures => false,
        }
    }
}

/// The identity and the rights of a viewer.
#[derive(Debug, Clone)]
pub struct Visit {
    /// The credential that the viewer has presented.
    pub credential: Credential,
    /// The highest role that the credential grants.
    pub role: Role,
    /// A label for people.
    pub label: Option<String>,
    /// The client id of the page, if it has one.
    pub client: Option<ClientId>,
}

impl Visit {
    /// The page as a party in control, if its client id distinguishes it from others.
    pub fn party(&self) -> Option<Party> {
        let client = self.client.clone()?;
        Some(Party { credential: self.credential, client })
    }

    pub(super) fn summary(&self, kind: ViewerKind) -> Value {
        let ticket = match self.credential {
            Credential::Key(_) => None,
            Credential::Ticket(id) => Some(id),
        };
        json!({ "kind": kind.as_str(), "label": self.label, "ticket": ticket })
    }
}

/// The connection of a viewer. Dropping it unregisters the viewer.
#[derive(Debug)]
pub struct Connected {
    /// The id of this connection.
    pub id: ViewerId,
    /// The page as a party in control, if its client id distinguishes it from others.
    pub party: Option<Party>,
    /// The highest role of the viewer.
    pub role: Role,
    /// A token that is canceled when the viewer is kicked.
    pub out: CancellationToken,
    /// A token that is canceled when the session begins to end.
    pub ended: CancellationToken,
    /// The session's view, including the control.
    pub view: watch::Receiver<SessionView>,
    /// The record of keys and clicks, which bridges write.
    pub activity: Arc<Activity>,
    /// The parties that press the paste key, sent from bridges to message channels: the page takes
    /// part in pasting.
    pub pastes: broadcast::Sender<Party>,
    /// The guard whose drop unregisters the viewer.
    pub guard: DropGuard,
}

/// A viewer that is connected.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    pub visit: Visit,
    pub kind: ViewerKind,
    pub since: DateTime<Utc>,
    /// A token that is canceled to kick the viewer.
    pub out: CancellationToken,
}

/// All connections of viewers, and the control.
#[derive(Debug)]
pub(super) struct Watchers {
    pub connections: BTreeMap<ViewerId, Connection>,
    pub control: Control,
    pub activity: Arc<Activity>,
    pub pastes: broadcast::Sender<Party>,
    /// The timer of the end of control.
    pub timer: Option<SpawnHandle>,
}

impl Default for Watchers {
    fn default() -> Self {
        let (pastes, _) = broadcast::channel(PASTES_BEHIND);
        Self {
            connections: BTreeMap::new(),
            control: Control::Agent,
            activity: Arc::default(),
            pastes,
            timer: None,
        }
    }
}

impl Watchers {
    /// The number of connections that show the display.
    pub fn watching(&self) -> usize {
        self.count(ViewerKind::shows)
    }

    /// The number of connections of the kinds that `counts` accepts.
    pub fn count(&self, counts: impl Fn(ViewerKind) -> bool) -> usize {
        self.connections.values().filter(|connection| counts(connection.kind)).count()
    }

    /// True if this page has a connection over which it can ask for control.
    pub fn can_ask(&self, party: &Party) -> bool {
        self.connections.values().any(|connection| {
            connection.kind.asks() && connection.visit.party().as_ref() == Some(party)
        })
    }
}
