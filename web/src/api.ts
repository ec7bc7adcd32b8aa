// The part of the HTTP API that the pages read, and the addresses of the sockets.

import { clientId } from "./channel";
import { type Credentials, header, subprotocol } from "./credentials";
import { root } from "./root";

export type SessionStatus = "created" | "running" | "retry" | "completed" | "failed" | "timeout";

export interface Occupancy {
    readonly state?: string | null;
    readonly runnable_type?: string | null;
    readonly runnable_id?: string | null;
    readonly generation?: number | null;
    readonly since?: string | null;
    readonly expires_at?: string | null;
}

export interface Failure {
    readonly code?: string | null;
    readonly stage?: string | null;
    readonly message?: string | null;
    readonly exit?: string | null;
    readonly log_tail?: readonly string[] | null;
    readonly hint?: string | null;
}

/** A session, as the API returns it. Servers differ in the fields that they omit. */
export interface Session {
    readonly browser_session_id: string;
    readonly status?: SessionStatus | null;
    readonly occupancy?: Occupancy | null;
    readonly failure?: Failure | null;
    readonly display_number?: number | null;
    readonly created_at?: string | null;
    readonly started_at?: string | null;
    readonly completed_at?: string | null;
    readonly expires_at?: string | null;
    readonly idle_expires_at?: string | null;
    readonly browser_profile_id?: string | null;
    /** `write` if the session stores its profile, `copy` if it never does. */
    readonly browser_profile_access?: string | null;
}

/** The stored login of a browser. */
export interface Profile {
    readonly browser_profile_id: string;
    readonly name: string;
    readonly version?: number | null;
}

export interface RunBlock {
    readonly label?: string | null;
    readonly block_type?: string | null;
    readonly status?: string | null;
}

export interface Run {
    readonly run_id: string;
    readonly status?: string | null;
    readonly title?: string | null;
    readonly run_request?: { readonly title?: string | null } | null;
    readonly blocks?: readonly RunBlock[] | null;
}

/** A file that was uploaded into a session. */
export interface SessionFile {
    readonly name: string;
}

/** A fault in a field of a request. */
export interface FieldFault {
    readonly loc: readonly (string | number)[];
    readonly msg: string;
    readonly ctx?: { readonly line?: number | null } | null;
}

/** A part of a list, and the cursor of the next part. */
export interface Part<T> {
    readonly rows: T[];
    readonly next: string | null;
}

/** A failed request. The status is 0 if there was no response. */
export class ApiError extends Error {
    constructor(
        readonly status: number,
        readonly code: string | null,
        message: string,
        /** The faults of a request whose fields are invalid. */
        readonly faults: readonly FieldFault[] = [],
    ) {
        super(message);
        this.name = "ApiError";
    }

    /** True if other credentials may help. */
    get refused(): boolean {
        return this.status === 401 || this.status === 403;
    }
}

const ROOT = root(location.href);

/** The timeout of a request. A page has no use for a later response. */
const PATIENCE_MS = 15_000;
/** The timeout of saving a profile, which the server ends within two minutes. */
const SAVING_PATIENCE_MS = 150_000;

export class Api {
    /** The milliseconds by which the server's clock is ahead of the browser's. */
    #ahead = 0;

    /** `credentials` may be replaced after the server has rejected them. */
    constructor(public credentials: Credentials) {}

    /** The server's time. Deadlines refer to it, and clocks differ. */
    now(): number {
        return Date.now() + this.#ahead;
    }

    /** Sends a request with a JSON body, if there is one, and returns the JSON of the answer; null without one. */
    async call<T>(method: string, path: string, body?: unknown, patience = PATIENCE_MS): Promise<T> {
        const sent = body === undefined ? null : JSON.stringify(body);
        const answer = await this.#send(method, path, "application/json", sent, patience);
        const text = await answer.text();
        return (text === "" ? null : JSON.parse(text)) as T;
    }

    /** Loads a part of a list. */
    async list<T>(path: string): Promise<Part<T>> {
        const answer = await this.#get(path, "application/json");
        return { rows: (await answer.json()) as T[], next: answer.headers.get("x-next-cursor") };
    }

    async text(path: string): Promise<string> {
        return (await this.#get(path, "*/*")).text();
    }

    async blob(path: string): Promise<Blob> {
        return (await this.#send("GET", path, "*/*", null, SAVING_PATIENCE_MS)).blob();
    }

    /** Opens a stream of server-sent events; of stored ones, from the event after `after` on. The signal ends it. */
    async stream(path: string, after: string | null, signal: AbortSignal): Promise<ReadableStream<Uint8Array>> {
        const url = new URL(path, ROOT);
        if (after !== null) url.searchParams.set("after", after);
        const headers = { accept: "text/event-stream", ...header(this.credentials) };
        const answer = await fetch(url, { headers, cache: "no-store", credentials: "omit", signal });
        if (!answer.ok || !answer.body) throw await refusal(answer);
        return answer.body;
    }

    async session(id: string): Promise<Session> {
        return this.#json<Session>(`v1/browser_sessions/${encodeURIComponent(id)}`);
    }

    /** Saves the login of a session: as a new profile of this name, or, without a name, to its own profile. */
    async saveProfile(id: string, name: string | null): Promise<Profile> {
        const path = `v1/browser_sessions/${encodeURIComponent(id)}/profile`;
        const body = JSON.stringify(name === null ? {} : { name });
        const answer = await this.#send("POST", path, "application/json", body, SAVING_PATIENCE_MS);
        return (await answer.json()) as Profile;
    }

    /** Extends a session by its original lifetime. */
    async renew(id: string): Promise<Session> {
        const path = `v1/browser_sessions/${encodeURIComponent(id)}/renew`;
        const answer = await this.#send("POST", path, "application/json");
        return (await answer.json()) as Session;
    }

    /** Uploads a file into a session. `onProgress` gets the part that is sent, from 0 to 1. */
    upload(id: string, file: File, signal: AbortSignal, onProgress: (part: number) => void): Promise<SessionFile> {
        const path = `v1/browser_sessions/${encodeURIComponent(id)}/files?name=${encodeURIComponent(file.name)}`;
        // `fetch` does not report the progress of a body.
        const request = new XMLHttpRequest();
        return new Promise((resolve, reject) => {
            signal.addEventListener("abort", () => request.abort());
            if (signal.aborted) return reject(new ApiError(0, null, "The upload was canceled."));
            request.open("POST", new URL(path, ROOT));
            const headers = { accept: "application/json", "x-greenroom-client": clientId(), ...header(this.credentials) };
            for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
            request.setRequestHeader("content-type", "application/octet-stream");
            request.upload.addEventListener("progress", ({ loaded, total }) => onProgress(total > 0 ? loaded / total : 1));
            request.addEventListener("abort", () => reject(new ApiError(0, null, "The upload was canceled.")));
            request.addEventListener("error", () => reject(new ApiError(0, null, "The server cannot be reached.")));
            request.addEventListener("load", () => {
                const answer = new Response(request.responseText, { status: request.status });
                if (answer.ok) answer.json().then(resolve, reject);
                else void refusal(answer).then(reject);
            });
            request.send(file);
        });
    }

    async sessions(): Promise<Session[]> {
        const answer = await this.#json<unknown>("v1/browser_sessions");
        if (!Array.isArray(answer)) throw new ApiError(200, null, "The server did not send a list of sessions.");
        return answer as Session[];
    }

    async run(id: string): Promise<Run> {
        return this.#json<Run>(`v1/runs/${encodeURIComponent(id)}`);
    }

    /** The latest picture of a session. */
    async screenshot(id: string): Promise<Blob> {
        const path = `v1/browser_sessions/${encodeURIComponent(id)}/screenshot?format=jpeg`;
        const answer = await this.#get(path, "image/jpeg");
        return answer.blob();
    }

    /** Opens `wss://host/v1/stream/<kind>/browser_session/<id>`. */
    socket(kind: "vnc" | "messages", id: string, client: string): WebSocket {
        return this.#socket(`${kind}/browser_session/${encodeURIComponent(id)}`, client);
    }

    /** Opens the screencast, forced even if the display is available. */
    screencast(id: string, client: string): WebSocket {
        return this.#socket(`browser_sessions/${encodeURIComponent(id)}`, client, ["force_cdp", "true"]);
    }

    /** Opens the socket that accepts keys and clicks during a screencast. */
    input(id: string, client: string): WebSocket {
        return this.#socket(`cdp_input/browser_session/${encodeURIComponent(id)}`, client);
    }

    #socket(path: string, client: string, ...further: [name: string, value: string][]): WebSocket {
        const url = new URL(`v1/stream/${path}`, ROOT);
        url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
        for (const [name, value] of [["client_id", client] as const, ...further]) url.searchParams.set(name, value);
        // The server takes `binary`, and reads the credentials.
        return new WebSocket(url.toString(), ["binary", subprotocol(this.credentials)]);
    }

    async #json<T>(path: string): Promise<T> {
        const answer = await this.#get(path, "application/json");
        return (await answer.json()) as T;
    }

    async #get(path: string, accept: string): Promise<Response> {
        return this.#send("GET", path, accept);
    }

    async #send(
        method: string,
        path: string,
        accept: string,
        body: string | null = null,
        patience = PATIENCE_MS,
    ): Promise<Response> {
        const content = body === null ? {} : { "content-type": "application/json" };
        let answer: Response;
        try {
            answer = await fetch(new URL(path, ROOT), {
                method,
                // A single-use ticket is bound to this name of the page.
                headers: { accept, ...content, "x-greenroom-client": clientId(), ...header(this.credentials) },
                body,
                cache: "no-cache",
                credentials: "omit",
                signal: AbortSignal.timeout(patience),
            });
        } catch {
            throw new ApiError(0, null, "The server cannot be reached.");
        }
        this.#readClock(answer);
        if (!answer.ok) throw await refusal(answer);
        return answer;
    }

    #readClock(answer: Response): void {
        const date = Date.parse(answer.headers.get("date") ?? "");
        if (Number.isNaN(date)) return;
        const ahead = date - Date.now();
        // The header has whole seconds: a difference below two is noise.
        this.#ahead = Math.abs(ahead) < 2000 ? 0 : ahead;
    }
}

async function refusal(answer: Response): Promise<ApiError> {
    let code: string | null = null;
    let message = `The server answered with status ${answer.status}.`;
    try {
        const body = (await answer.json()) as { code?: unknown; detail?: unknown };
        if (typeof body.code === "string") code = body.code;
        if (typeof body.detail === "string") message = body.detail;
        if (Array.isArray(body.detail)) {
            const faults = body.detail as FieldFault[];
            return new ApiError(answer.status, code, faults.map(faultText).join("; "), faults);
        }
    } catch {
        // A proxy's error has no such body.
    }
    return new ApiError(answer.status, code, message);
}

/** A fault as text, with the name of its field unless the message names a line. */
function faultText({ loc, msg, ctx }: FieldFault): string {
    const field = loc.slice(1).join(".");
    return field && !ctx?.line ? `${field}: ${msg}` : msg;
}
