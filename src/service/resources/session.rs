//! A session as the API shows it: the compatible API's `BrowserSessionResponse`, with our own
//! fields.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::actors::views::SessionView;
use crate::domain::control::{Control, OnTakeover, User};
use crate::domain::masking::{masked_address, masked_url};
use crate::domain::occupancy::Occupancy;
use crate::domain::profile::ProfileAccess;
use crate::domain::session::{SessionRecord, StartKind};
use crate::service::core::Core;
use crate::service::resources::artifact::FileResource;
use crate::service::resources::egress::{EgressResource, IsolationResource, usage};

/// A browser session and its present state.
#[derive(Debug, Serialize, ToSchema)]
pub struct SessionResource {
    /// The session's id, `pbs_…`.
    #[schema(value_type = String)]
    pub browser_session_id: String,
    /// The id of the session's organization, `o_…`.
    pub organization_id: String,
    /// The status: `created`, `running`, `retry`, `completed`, `failed` or `timeout`.
    pub status: &'static str,
    /// True while the session's desktop is being shut down.
    pub closing: bool,
    /// The type of the occupant: `workflow_run`, `task_run` or `external`.
    pub runnable_type: Option<&'static str>,
    /// The id of the occupant; null when the session is vacant.
    pub runnable_id: Option<String>,
    /// The session's lifetime from its start, in minutes; renewals add to it.
    pub timeout: u64,
    /// The session's lifetime from its start, in seconds.
    pub timeout_seconds: u64,
    /// The address for DevTools clients, which send the API key in the header `x-api-key`.
    pub browser_address: Option<String>,
    /// The address of the page that shows the session live.
    pub app_url: String,
    /// The address of the session's stream of events.
    pub events_url: String,
    /// The value from the request that made the session.
    pub extensions: Value,
    /// The value from the request that made the session.
    pub browser_type: Value,
    /// The profile that the session started from, or that it stores when it ends, `bp_…`.
    pub browser_profile_id: Option<String>,
    /// True if the profile is stored when the session ends.
    pub generate_browser_profile: bool,
    /// The permission for the profile: `write`, or `copy` if the session never writes to it.
    pub browser_profile_access: Option<&'static str>,
    /// The version of the profile that the session started from; null for an empty browser.
    pub browser_profile_version: Option<i64>,
    /// The value from the request that made the session.
    pub proxy_location: Value,
    /// True if the session can be watched by VNC.
    pub vnc_streaming_supported: bool,
    /// The kind of viewer to use: `vnc` or `cdp`.
    pub stream_transport: &'static str,
    /// Always null: the folder on the server's disk belongs to the session's own user. Clients read
    /// downloads by their URLs, and the files of a live session at `…/files`.
    pub download_path: Option<String>,
    /// The downloaded files, newest first. Empty in lists, and for tickets.
    pub downloaded_files: Vec<FileResource>,
    /// The completed recordings, newest first. Empty in lists, and for tickets.
    pub recordings: Vec<FileResource>,
    /// The time at which the browser became ready.
    pub started_at: Option<DateTime<Utc>>,
    /// The time at which the session ended.
    pub completed_at: Option<DateTime<Utc>>,
    /// The time at which the session was requested.
    pub created_at: DateTime<Utc>,
    /// The time of the last change.
    pub modified_at: DateTime<Utc>,
    /// Always null: deleted sessions are not shown.
    pub deleted_at: Option<DateTime<Utc>>,
    /// A warning about requested values that were not granted.
    pub warning: Option<String>,

    /// The number of the session's own X display, `:N`.
    pub display_number: Option<u16>,
    /// The loopback port of the session's own VNC server.
    pub vnc_port: Option<u16>,
    /// The width of the display, in pixels.
    pub width: u16,
    /// The height of the display, in pixels.
    pub height: u16,
    /// The page that the browser opened first.
    pub start_url: Option<String>,
    /// `warm` if the session got a browser that ran already, `cold` if its browser was started for it;
    /// null until the browser runs.
    pub start: Option<&'static str>,
    /// The time at which the session's lifetime ends.
    pub expires_at: Option<DateTime<Utc>>,
    /// The time at which the session ends if it stays vacant.
    pub idle_expires_at: Option<DateTime<Utc>>,
    /// The next deadline of the session, with its time: `{kind, at}`.
    pub next_deadline: Option<Value>,
    /// The holder of the session, and the queue of waiters.
    pub occupancy: OccupancyResource,
    /// The number of connected viewers.
    pub viewers: usize,
    /// The resources in use: `memory_bytes`, `memory_limit_bytes`, `cpu_seconds`, `tasks` and
    /// `out_of_memory_kills`, if the machine counts them, see `greenroom doctor`;
    /// `egress_bytes_sent` and `egress_bytes_received`, if the network is separate.
    pub usage: Option<Value>,
    /// The isolation of the session's programs; null until they run.
    pub isolation: Option<IsolationResource>,
    /// The targets that the session's programs may reach, and those that were refused. Null for
    /// tickets.
    pub egress: Option<EgressResource>,
    /// The name, unique among the organization's sessions that have not ended.
    pub name: Option<String>,
    /// The tags of the session.
    pub tags: Vec<String>,
    /// True if each occupant's data is cleared before the next one begins.
    pub sanitize_on_release: bool,
    /// The given settings of the browser, as pages see it.
    #[schema(value_type = Object)]
    pub settings: Value,
    /// The party whose input reaches the browser.
    pub control: ControlResource,
    /// The effect of a person's control on an external driver's commands: `hold`, `refuse` or
    /// `share`.
    pub on_takeover: &'static str,
    /// The reason for the failure: `{code, stage, message, exit, log_tail, hint}`.
    pub failure: Option<Value>,
    /// The id of the session's node.
    pub node_id: String,
    /// A number that rises with every change of a live session.
    pub version: u64,
}

/// The occupancy of a session.
#[derive(Debug, Serialize, ToSchema)]
pub struct OccupancyResource {
    /// The state: `vacant`, `held` or `closed`.
    pub state: &'static str,
    /// The latest fencing token.
    pub generation: i64,
    /// The type of the holder: `workflow_run`, `task_run` or `external`.
    pub runnable_type: Option<&'static str>,
    /// The id of the holder.
    pub runnable_id: Option<String>,
    /// The time since which it is held.
    pub since: Option<DateTime<Utc>>,
    /// The time of the holder's last heartbeat.
    pub heartbeat_at: Option<DateTime<Utc>>,
    /// The time at which the lease ends without a heartbeat.
    pub expires_at: Option<DateTime<Utc>>,
    /// The waiters in the queue, in order.
    pub waiters: Vec<WaiterResource>,
}

/// The party whose input reaches the browser.
#[derive(Debug, Serialize, ToSchema)]
pub struct ControlResource {
    /// The party in control: `agent` or `user`.
    pub by: &'static str,
    /// The name of the user, for people.
    pub label: Option<String>,
    /// The time since which a user has control.
    pub since: Option<DateTime<Utc>>,
    /// The time at which the agent gets control again, unless the user does something before.
    pub expires_at: Option<DateTime<Utc>>,
}

impl ControlResource {
    fn of(control: &Control) -> Self {
        let user = control.user();
        Self {
            by: if user.is_some() { "user" } else { "agent" },
            label: user.and_then(|user| user.label.clone()),
            since: user.map(|user| user.since),
            expires_at: user.map(User::expires_at),
        }
    }
}

/// A waiter in a session's queue.
#[derive(Debug, Serialize, ToSchema)]
pub struct WaiterResource {
    /// The place in the queue, from 1.
    pub place: usize,
    /// The type of the waiter: `workflow_run`, `task_run` or `external`.
    pub runnable_type: &'static str,
    /// The id of the waiter.
    pub runnable_id: String,
    /// The time at which it stops waiting.
    pub until: DateTime<Utc>,
}

impl OccupancyResource {
    /// Returns the occupancy of a session, with its waiters.
    pub fn of(view: &SessionView) -> Self {
        let occupancy = &view.record.occupancy;
        let held = occupancy.holder();
        Self {
            state: match occupancy {
                Occupancy::Vacant { .. } => "vacant",
                Occupancy::Held(_) => "held",
                Occupancy::Closed { .. } => "closed",
            },
            generation: occupancy.generation().number(),
            runnable_type: held.map(|held| held.occupant.runnable_type.as_str()),
            runnable_id: held.map(|held| held.occupant.runnable_id.to_string()),
            since: held.map(|held| held.since),
            heartbeat_at: held.map(|held| held.heartbeat_at),
            expires_at: held.map(|held| held.expires_at),
            waiters: view
                .waiters
                .iter()
                .map(|waiter| WaiterResource {
                    place: waiter.place.0,
                    runnable_type: waiter.occupant.runnable_type.as_str(),
                    runnable_id: waiter.occupant.runnable_id.to_string(),
                    until: waiter.until,
                })
                .collect(),
        }
    }
}

impl SessionResource {
    /// Returns the present state of a session.
    pub fn of(view: &SessionView, core: &Core) -> Self {
        let SessionView { version, record, viewers, control, closing, .. } = view;
        let SessionRecord { id, spec, desktop, deadlines, .. } = record;
        let echoed = |field: &str| spec.echo.get(field).cloned().unwrap_or_default();
        let profile = spec.profile.as_ref();
        let live = !record.status.is_final();
        let occupancy = OccupancyResource::of(view);
        let next = deadlines.next(&record.occupancy).filter(|_next| live);
        let lifetime = lifetime(record);
        Self {
            browser_session_id: id.to_string(),
            organization_id: record.organization.to_string(),
            status: record.status.as_str(),
            closing: *closing,
            runnable_type: occupancy.runnable_type,
            runnable_id: occupancy.runnable_id.clone(),
            timeout: lifetime.div_ceil(60),
            timeout_seconds: lifetime,
            browser_address: live
                .then(|| format!("{}/v1/browser_sessions/{id}/cdp", core.socket_url())),
            app_url: format!("{}/view/{id}", core.base_url()),
            events_url: format!("{}/v1/browser_sessions/{id}/events", core.base_url()),
            extensions: echoed("extensions"),
            browser_type: echoed("browser_type"),
            browser_profile_id: profile.map(|used| used.id.to_string()),
            generate_browser_profile: profile
                .is_some_and(|used| used.access == ProfileAccess::Write),
            browser_profile_access: profile.map(|used| used.access.as_str()),
            browser_profile_version: profile.and_then(|used| used.version),
            proxy_location: masked_address(echoed("proxy_location")),
            vnc_streaming_supported: true,
            stream_transport: core.streaming.as_str(),
            download_path: None,
            downloaded_files: Vec::new(),
            recordings: Vec::new(),
            started_at: record.started_at,
            completed_at: record.completed_at,
            created_at: record.created_at,
            modified_at: record.modified_at,
            deleted_at: None,
            warning: None,
            display_number: desktop.as_ref().map(|desktop| desktop.display_number),
            vnc_port: desktop.as_ref().map(|desktop| desktop.vnc_port),
            width: spec.size.width(),
            height: spec.size.height(),
            start: desktop.as_ref().and_then(|desktop| desktop.start).map(StartKind::as_str),
            start_url: spec.start_url.as_ref().map(|url| masked_url(url.as_str())),
            expires_at: deadlines.expires_at,
            idle_expires_at: deadlines.idle_expires_at,
            next_deadline: next.and_then(|next| serde_json::to_value(next).ok()),
            occupancy,
            viewers: *viewers,
            usage: desktop.as_ref().filter(|_desktop| live).and_then(|_desktop| usage(*id, core)),
            isolation: IsolationResource::of(view),
            egress: Some(EgressResource::of(view, core)),
            name: spec.name.as_ref().map(ToString::to_string),
            tags: spec.tags.as_slice().to_vec(),
            sanitize_on_release: spec.sanitize_after.is_some(),
            settings: serde_json::to_value(&spec.settings).unwrap_or_default(),
            control: ControlResource::of(control),
            on_takeover: on_takeover(record, core).as_str(),
            failure: record.failure.as_ref().and_then(|cause| serde_json::to_value(cause).ok()),
            node_id: record.node.to_string(),
            version: *version,
        }
    }
}

/// Returns the session's lifetime from its start, in seconds, from which clients of the compatible
/// API compute its end.
fn lifetime(record: &SessionRecord) -> u64 {
    let lives = record.deadlines.expires_at.zip(record.started_at);
    let lives = lives.and_then(|(until, from)| u64::try_from((until - from).num_seconds()).ok());
    record.spec.lifetime.as_secs().max(lives.unwrap_or_default())
}

/// Returns the effect of a person's control on an external driver's commands: the session's own,
/// else that of the settings.
pub fn on_takeover(record: &SessionRecord, core: &Core) -> OnTakeover {
    let asked = record.spec.echo.get("on_takeover").and_then(Value::as_str);
    asked.and_then(OnTakeover::from_name).unwrap_or(core.world.settings.on_takeover)
}
