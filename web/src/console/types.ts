// The resources of the API that the console shows. Servers differ in the fields that they omit.

import type { Failure, Session as BaseSession } from "../api";

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

export interface Waiter {
    readonly place: number;
    readonly runnable_id: string;
    readonly runnable_type: string;
    readonly until: string;
}

export interface FileLink {
    readonly artifact_id: string;
    readonly filename: string;
    readonly file_size: number;
    readonly url: string;
    readonly modified_at: string;
}

export interface RefusedTarget {
    readonly target: string | null;
    readonly message: string;
    readonly count: number;
}

export interface Session extends BaseSession {
    readonly version: number;
    readonly name?: string | null;
    readonly tags?: readonly string[];
    readonly closing?: boolean;
    readonly occupancy?: (BaseSession["occupancy"] & { readonly waiters?: readonly Waiter[]; readonly heartbeat_at?: string | null }) | null;
    readonly control?: { readonly by: string; readonly label?: string | null; readonly since?: string | null } | null;
    readonly viewers?: number;
    readonly width?: number;
    readonly height?: number;
    readonly start_url?: string | null;
    readonly timeout_seconds?: number;
    readonly browser_address?: string | null;
    readonly settings?: { readonly [key: string]: Json };
    readonly isolation?: { readonly files?: string | null; readonly network?: string; readonly sandbox?: boolean | null };
    readonly egress?: { readonly allow: readonly string[]; readonly deny: readonly string[]; readonly upstream: string | null; readonly refused: readonly RefusedTarget[] } | null;
    readonly usage?: { readonly [key: string]: Json } | null;
    readonly sanitize_on_release?: boolean;
    readonly on_takeover?: string;
    readonly next_deadline?: { readonly kind: string; readonly at: string } | null;
    readonly node_id?: string;
    readonly vnc_port?: number | null;
    readonly warning?: string | null;
    readonly stream_transport?: string;
}

export interface Event {
    readonly seq: number;
    readonly event_id: string;
    readonly kind: string;
    readonly browser_session_id: string | null;
    readonly run_id: string | null;
    readonly at: string;
    readonly data: Json;
}

export interface SessionFile {
    readonly name: string;
    readonly folder: string;
    readonly file_size: number;
    readonly complete: boolean;
    readonly modified_at: string;
    readonly path: string | null;
}

export interface Recording {
    readonly recording_id: string;
    readonly status: string;
    readonly began_at: string | null;
    readonly frame_rate: number | null;
    readonly media_type: string;
    readonly file: FileLink | null;
}

export interface Artifact {
    readonly artifact_id: string;
    readonly artifact_type: string;
    readonly signed_url: string;
    readonly run_id: string | null;
    readonly workflow_run_block_id: string | null;
    readonly browser_session_id: string | null;
    readonly file_name: string;
    readonly media_type: string;
    readonly file_size: number;
    readonly created_at: string;
}

export interface Ticket {
    readonly viewer_id: string;
    readonly role: string;
    readonly label: string | null;
    readonly used: boolean;
    readonly single_use: boolean;
    readonly expires_at: string;
    readonly link?: string;
    readonly cdp_url?: string;
}

export interface RunSummary {
    readonly run_id: string;
    readonly status: string;
    readonly title: string | null;
    readonly created_at: string;
    readonly started_at: string | null;
    readonly finished_at: string | null;
    readonly workflow_permanent_id: string;
    readonly browser_session_id: string | null;
}

export interface Run extends RunSummary {
    readonly version: number;
    readonly output: Json;
    readonly failure_reason: string | null;
    readonly failure: (Failure & { readonly block?: string | null }) | null;
    readonly errors: readonly Json[] | null;
    readonly run_request: { readonly parameters?: { readonly [key: string]: Json } | null };
    readonly waiting_for: { readonly browser_session_id: string; readonly place: number | null; readonly runnable_type?: string | null; readonly runnable_id?: string | null } | null;
    readonly warning: string | null;
    readonly egress_refused?: readonly RefusedTarget[];
    readonly workflow_version_id: string;
    readonly queued_at: string | null;
    readonly recording_url: string | null;
}

export interface Block {
    readonly workflow_run_block_id: string;
    readonly block_type: string;
    readonly greenroom_block_type?: string | null;
    readonly label: string | null;
    readonly status: string;
    readonly output: Json;
    readonly failure_reason: string | null;
    readonly error_codes: readonly string[];
    readonly duration: number | null;
    readonly created_at: string;
    readonly modified_at: string;
}

export interface TimelineItem {
    readonly block: Block;
    readonly children: readonly TimelineItem[];
}

export interface Parameter {
    readonly parameter_type: string;
    readonly key: string;
    readonly workflow_parameter_type?: string;
    readonly description?: string | null;
    readonly default_value?: Json;
}

export interface WorkflowBlock {
    readonly block_type: string;
    readonly label: string;
    readonly loop_blocks?: readonly WorkflowBlock[];
    readonly [field: string]: unknown;
}

export interface Workflow {
    readonly workflow_permanent_id: string;
    readonly workflow_id: string;
    readonly title: string;
    readonly description: string | null;
    readonly version: number;
    readonly tags?: readonly string[];
    readonly created_at: string;
    readonly modified_at: string;
    readonly workflow_definition: {
        readonly parameters: readonly Parameter[];
        readonly blocks: readonly WorkflowBlock[];
        readonly [field: string]: unknown;
    };
    readonly [field: string]: unknown;
}

export interface Profile {
    readonly browser_profile_id: string;
    readonly name: string;
    readonly description: string | null;
    readonly tags: readonly string[];
    readonly version: number | null;
    readonly size: number | null;
    readonly browser_version: string | null;
    readonly is_managed: boolean;
    readonly workflow_permanent_id: string | null;
    readonly created_at: string;
    readonly modified_at: string;
    readonly writer: string | null;
    readonly warning: string | null;
}

export interface ProfileVersion {
    readonly version: number;
    readonly is_current: boolean;
    readonly origin: string;
    readonly browser_session_id: string | null;
    readonly size: number;
    readonly created_at: string;
    readonly browser_version: string | null;
}

export interface Webhook {
    readonly webhook_id: string;
    readonly url: string;
    readonly kinds: readonly string[];
    readonly description: string | null;
    readonly paused: boolean;
    readonly created_at: string;
    readonly secret?: string;
}

export interface Delivery {
    readonly at: string;
    readonly attempt: number;
    readonly error: string | null;
    readonly latency_ms: number;
    readonly response_body: string | null;
    readonly status_code: number | null;
}

export interface Message {
    readonly message_id: string;
    readonly kind: string;
    readonly status: string;
    readonly attempts: number;
    readonly created_at: string;
    readonly finished_at: string | null;
    readonly next_attempt_at: string | null;
    readonly error: string | null;
    readonly payload: string | null;
    readonly deliveries?: readonly Delivery[] | null;
    readonly url: string;
    readonly run_id: string | null;
    readonly browser_session_id: string | null;
}

export interface ApiKey {
    readonly api_key_id: string;
    readonly label: string;
    readonly role: string;
    readonly sessions: readonly string[] | null;
    readonly status: string;
    readonly is_bootstrap: boolean;
    readonly created_at: string;
    readonly expires_at: string | null;
    readonly last_used_at: string | null;
    readonly last_used_from: string | null;
    readonly key?: string;
}

export interface Quota {
    readonly limit: number | null;
    readonly used: number;
    readonly resets_at: string | null;
}

export interface Organization {
    readonly organization_id: string;
    readonly name: string;
    readonly created_at: string;
    readonly suspended_at: string | null;
    readonly deleted_at: string | null;
    readonly live_sessions: number;
    readonly quotas?: { readonly [name: string]: Quota } | null;
}

export interface ActorMessage {
    readonly id: number;
    readonly kind: string;
    readonly sender: string;
    readonly receiver: string;
    readonly organization_id: string | null;
    readonly browser_session_id: string | null;
    readonly run_id: string | null;
    readonly cause: number | null;
    readonly enqueued_at: string;
    readonly started_at?: string | null;
    readonly ended_at?: string | null;
    readonly wait_us: number | null;
    readonly handling_us: number | null;
    /** Null while it is under way. */
    readonly outcome: string | null;
    readonly note: string | null;
    readonly summary: Json;
}

/** A message that was sent in the handling of another, with those that were sent in its own. */
export interface Consequence extends ActorMessage {
    readonly consequences: readonly Consequence[];
}

export interface Lineage {
    readonly message: ActorMessage;
    /** The messages that led to it, the outermost first. */
    readonly causes: readonly ActorMessage[];
    readonly consequences: readonly Consequence[];
    /** True if there are more consequences than the answer has. */
    readonly truncated: boolean;
}

/** A change that a request caused, or that the server made by itself: then without a key, address and request. */
export interface AuditEvent {
    readonly audit_event_id: string;
    readonly at: string;
    readonly kind: string;
    readonly outcome: string;
    readonly sender: string;
    readonly receiver: string;
    readonly key_id: string | null;
    readonly client_address: string | null;
    readonly request_id: string | null;
    readonly organization_id: string | null;
    readonly browser_session_id: string | null;
    readonly run_id: string | null;
    /** The number of the message in the server process that made the change. */
    readonly message_id: number | null;
    readonly cause: number | null;
    readonly summary: Json;
}

export interface ServerNode {
    readonly node_id: string;
    readonly hostname: string;
    readonly address: string | null;
    readonly boot_id: string | null;
    readonly started_at: string;
    readonly seen_at: string;
    /** True for the node that answers. */
    readonly this: boolean;
    readonly alive: boolean;
}

export interface Pressure {
    readonly accepts: boolean;
    readonly reason: string | null;
    readonly capacity: {
        readonly sessions: number;
        readonly most_sessions: number;
        readonly dormant_sessions: number;
        readonly runs: number;
        readonly most_runs: number;
    };
    /** `database_changes` is null with PostgreSQL. */
    readonly queued: { readonly occupancy_waiters: number; readonly database_changes: number | null };
    /** The requests for new work that were refused since the start of the server. */
    readonly rejected: number;
}

export interface PoolShape {
    readonly name: string;
    readonly width: number;
    readonly height: number;
    readonly executable: string | null;
    readonly wanted: number;
    readonly ready: number;
    readonly oldest_since: string | null;
}

export interface PoolStatus {
    readonly shapes: readonly PoolShape[];
    readonly starting: number;
    readonly paused_until: string | null;
    /** Sessions that got a running browser, and those that did not, by the reason. */
    readonly warm: number;
    readonly cold: Readonly<Record<string, number>>;
    readonly started: number;
    readonly adopted: number;
    readonly failed: number;
    readonly died: number;
    readonly aged: number;
    readonly yielded: number;
    readonly last_failure: string | null;
}

export interface ServerConfig {
    readonly settings: { readonly [section: string]: Json };
    /** The source of each setting, by its name with points: `default`, a file, a variable or a flag. */
    readonly origins: Readonly<Record<string, string>>;
}

export interface Actor {
    readonly name: string;
    readonly kind: string;
    readonly phase: string;
    readonly mailbox_depth: number;
    readonly oldest_waiting: Json;
    readonly in_progress: readonly ActorMessage[];
    readonly last_error: Json;
    readonly next_timer: { readonly kind: string; readonly at: string } | null;
    readonly messages: number;
    readonly started_at: string;
}

/** The cause of the state of a session or run. */
export interface Explanation {
    readonly well: boolean;
    readonly cause: string;
    readonly summary: string;
    readonly details: readonly string[];
}

export interface DebugSession {
    readonly debug_session_id: string;
    readonly browser_session_id: string;
    readonly workflow_permanent_id: string;
    readonly status: string;
    readonly expires_at: string;
    readonly replaced: boolean;
    readonly replaced_reason: string | null;
}
