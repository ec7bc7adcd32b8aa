//! A session as clients see it: the compatible API's `BrowserSessionResponse`, and our own fields
//! beside it.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::actors::views::SessionView;
use crate::domain::control::{Control, OnTakeover, User};
use crate::domain::masking::{masked_address, masked_url};
use crate::domain::occupancy::Occupancy;
use crate::domain::session::SessionRecord;
use crate::http::artifacts::FileResource;
use crate::http::egress::{EgressResource, IsolationResource, usage};
use crate::http::front::Front;

/// A browser session.
#[derive(Debug, Serialize, ToSchema)]
pub struct SessionResource {
    /// `pbs_…`.
    #[schema(value_type = String)]
    pub browser_session_id: String,
    /// `o_…`.
    pub organization_id: String,
    /// `created`, `running`, `retry`, `completed`, `failed` or `timeout`.
    pub status: &'static str,
    /// Whether its desktop is being taken down.
    pub closing: bool,
    /// What kind of thing occupies it.
    pub runnable_type: Option<&'static str>,
    /// Which one; null when it is vacant.
    pub runnable_id: Option<String>,
    /// Its lifetime from its start, in minutes; more than it was made with once it was renewed.
    pub timeout: u64,
    /// The same in seconds.
    pub timeout_seconds: u64,
    /// Where a DevTools client connects, with the API key in the header `x-api-key`.
    pub browser_address: Option<String>,
    /// The page that shows it live.
    pub app_url: String,
    /// What happens to it, as a stream of events.
    pub events_url: String,
    /// As it was asked for.
    pub extensions: Value,
    /// As it was asked for.
    pub browser_type: Value,
    /// As it was asked for.
    pub browser_profile_id: Value,
    /// As it was asked for.
    pub generate_browser_profile: bool,
    /// As it was asked for.
    pub proxy_location: Value,
    /// Whether it can be watched by VNC.
    pub vnc_streaming_supported: bool,
    /// Which viewer to use.
    pub stream_transport: &'static str,
    /// Null: files are read by their URLs, and not on the server's disk.
    pub download_path: Option<String>,
    /// Files that were downloaded, the newest first. Empty in lists, and for tickets.
    pub downloaded_files: Vec<FileResource>,
    /// Its recordings that are done, the newest first; listed for one session only.
    pub recordings: Vec<FileResource>,
    /// When its browser could first be driven.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub completed_at: Option<DateTime<Utc>>,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub modified_at: DateTime<Utc>,
    /// Never, for a session that is shown.
    pub deleted_at: Option<DateTime<Utc>>,
    /// What was not granted as it was asked for.
    pub warning: Option<String>,

    /// The X display `:N`; no other session's.
    pub display_number: Option<u16>,
    /// The loopback port of its VNC server; no other session's.
    pub vnc_port: Option<u16>,
    /// The width of its display, in pixels.
    pub width: u16,
    /// The height of its display, in pixels.
    pub height: u16,
    /// The page that its browser opened first.
    pub start_url: Option<String>,
    /// When its lifetime is over.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it has been vacant for too long.
    pub idle_expires_at: Option<DateTime<Utc>>,
    /// What its clock will do next, and when: `{kind, at}`.
    pub next_deadline: Option<Value>,
    /// Who drives it, and who waits.
    pub occupancy: OccupancyResource,
    /// How many watch it.
    pub viewers: usize,
    /// What it uses: `memory_bytes`, `memory_limit_bytes`, `cpu_seconds`, `tasks`,
    /// `out_of_memory_kills`, where the machine counts them, see `greenroom doctor`; `egress_bytes_sent` and
    /// `egress_bytes_received`, where its network is separate.
    pub usage: Option<Value>,
    /// The separation of its programs; null until they run.
    pub isolation: Option<IsolationResource>,
    /// What its programs may reach, and what they were refused. Null for tickets.
    pub egress: Option<EgressResource>,
    /// True if what each occupant leaves is cleared before another one begins.
    pub sanitize_on_release: bool,
    /// Whose input reaches the browser.
    pub control: ControlResource,
    /// What becomes of an outside driver's input while a person has control: `hold`, `refuse` or
    /// `share`.
    pub on_takeover: &'static str,
    /// Why it failed: `{code, stage, message, exit, log_tail, hint}`.
    pub failure: Option<Value>,
    /// The node it runs on.
    pub node_id: String,
    /// Rises with every change while it lives.
    pub version: u64,
}

/// Who drives a session.
#[derive(Debug, Serialize, ToSchema)]
pub struct OccupancyResource {
    /// `vacant`, `held` or `closed`.
    pub state: &'static str,
    /// The latest fencing token that was given.
    pub generation: i64,
    /// What kind of thing holds it.
    pub runnable_type: Option<&'static str>,
    /// Which one.
    pub runnable_id: Option<String>,
    /// Since when.
    pub since: Option<DateTime<Utc>>,
    /// When it was last heard of.
    pub heartbeat_at: Option<DateTime<Utc>>,
    /// When it lapses without a heartbeat.
    pub expires_at: Option<DateTime<Utc>>,
    /// Who waits, in order.
    pub waiters: Vec<WaiterResource>,
}

/// Whose input reaches the browser.
#[derive(Debug, Serialize, ToSchema)]
pub struct ControlResource {
    /// `agent` or `user`.
    pub by: &'static str,
    /// For people: which user.
    pub label: Option<String>,
    /// Since when a user has it.
    pub since: Option<DateTime<Utc>>,
    /// When it goes back to the agent, unless the user does something before.
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

/// One who waits for a session.
#[derive(Debug, Serialize, ToSchema)]
pub struct WaiterResource {
    /// 1 is next.
    pub place: usize,
    /// What kind of thing waits.
    pub runnable_type: &'static str,
    /// Which one.
    pub runnable_id: String,
    /// When it stops waiting.
    pub until: DateTime<Utc>,
}

impl OccupancyResource {
    fn of(view: &SessionView) -> Self {
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
    /// The session as it stands.
    pub fn of(view: &SessionView, front: &Front) -> Self {
        let SessionView { version, record, viewers, control, closing, .. } = view;
        let SessionRecord { id, spec, desktop, deadlines, .. } = record;
        let echoed = |field: &str| spec.echo.get(field).cloned().unwrap_or_default();
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
                .then(|| format!("{}/v1/browser_sessions/{id}/cdp", front.socket_url())),
            app_url: format!("{}/view/{id}", front.base_url()),
            events_url: format!("{}/v1/browser_sessions/{id}/events", front.base_url()),
            extensions: echoed("extensions"),
            browser_type: echoed("browser_type"),
            browser_profile_id: echoed("browser_profile_id"),
            generate_browser_profile: echoed("generate_browser_profile").as_bool().unwrap_or(false),
            proxy_location: masked_address(echoed("proxy_location")),
            vnc_streaming_supported: true,
            stream_transport: front.streaming.as_str(),
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
            start_url: spec.start_url.as_ref().map(|url| masked_url(url.as_str())),
            expires_at: deadlines.expires_at,
            idle_expires_at: deadlines.idle_expires_at,
            next_deadline: next.and_then(|next| serde_json::to_value(next).ok()),
            occupancy,
            viewers: *viewers,
            usage: desktop.as_ref().filter(|_desktop| live).and_then(|_desktop| usage(*id, front)),
            isolation: IsolationResource::of(view),
            egress: Some(EgressResource::of(view, front)),
            sanitize_on_release: spec.sanitize_after.is_some(),
            control: ControlResource::of(control),
            on_takeover: on_takeover(record, front).as_str(),
            failure: record.failure.as_ref().and_then(|cause| serde_json::to_value(cause).ok()),
            node_id: record.node.to_string(),
            version: *version,
        }
    }
}

/// How long the session lives from its start, in seconds: clients of the compatible API reckon its
/// end from that.
fn lifetime(record: &SessionRecord) -> u64 {
    let lives = record.deadlines.expires_at.zip(record.started_at);
    let lives = lives.and_then(|(until, from)| u64::try_from((until - from).num_seconds()).ok());
    record.spec.lifetime.as_secs().max(lives.unwrap_or_default())
}

/// What becomes of an outside driver's input while a person has control: as the session was
/// asked for, or else as the server is set.
pub fn on_takeover(record: &SessionRecord, front: &Front) -> OnTakeover {
    let asked = record.spec.echo.get("on_takeover").and_then(Value::as_str);
    asked.and_then(OnTakeover::from_name).unwrap_or(front.world.settings.on_takeover)
}
