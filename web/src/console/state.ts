// The credentials of the console, and the permissions that they have.

import { signal } from "@preact/signals";

import { Api, ApiError } from "../api";
import { Backoff } from "../backoff";
import { type Credentials, forget, inAddress, keep, load } from "../credentials";
import { readAddress } from "./router";

/** The permissions of the present credentials. */
export type Access =
    /** Everything of an organization. `admin` is true if the key also opens the pages of operators. */
    | { readonly kind: "organization"; readonly admin: boolean }
    /** The operator key of the settings, which belongs to no organization. */
    | { readonly kind: "operator" }
    /** A key that sees sessions only. */
    | { readonly kind: "watch" | "drive" }
    /** A ticket, which is valid for one session. */
    | { readonly kind: "ticket"; readonly session: string };

export interface SignedIn {
    readonly api: Api;
    readonly access: Access;
}

/** Undefined while stored credentials are being checked, null without valid ones. */
export const signedIn = signal<SignedIn | null | undefined>(undefined);

/** The reason why stored credentials could not be checked yet. */
export const unchecked = signal<string | null>(null);

/** The reason for the form, if credentials were rejected. */
export const rejection = signal<string | null>(null);

/** A short report of an action, for a few seconds. */
export const notice = signal<{ readonly text: string; readonly bad: boolean } | null>(null);

let noticeTimer: number | undefined;

export function notify(text: string, bad = false): void {
    notice.value = { text, bad };
    window.clearTimeout(noticeTimer);
    noticeTimer = window.setTimeout(() => (notice.value = null), bad ? 12_000 : 5_000);
}

/** The credentials in a text that a person pasted: a key, or the link of a ticket or of a session. */
export function pasted(text: string): { credentials: Credentials; session: string | null } | string {
    const value = text.trim();
    if (value === "") return "Enter a key, or paste the link of a ticket.";
    if (!/^https?:\/\//.test(value)) {
        if (value.startsWith("vt_")) {
            return "A ticket is valid for one session. Paste its whole link, which names the session.";
        }
        return { credentials: { kind: "key", value }, session: null };
    }
    const found = inAddress(value);
    if (!found) return "This link has no key and no ticket.";
    const session = /\/view\/([^/?#]+)/.exec(value)?.[1] ?? null;
    if (found.credentials.kind === "ticket" && session === null) return "This link names no session.";
    return { credentials: found.credentials, session };
}

/** The reason why credentials do not open the console. */
export interface Rejection {
    readonly reason: string;
    /** True if the server knows that they are wrong, false if it could not check them. */
    readonly final: boolean;
}

/** Checks credentials and opens the console with them. */
export async function signIn(credentials: Credentials, session: string | null): Promise<Rejection | null> {
    const api = new Api(credentials);
    try {
        const access = await accessOf(api, session);
        keep(credentials, access.kind === "ticket" ? session : null);
        rejection.value = null;
        signedIn.value = { api, access };
        return null;
    } catch (cause) {
        if (!(cause instanceof ApiError)) return { reason: "The server cannot be reached.", final: false };
        if (cause.refused) {
            return { reason: "The server does not know this key. It may be mistyped, revoked or expired.", final: true };
        }
        const passing = cause.status === 0 || cause.status === 429 || cause.status >= 500;
        return { reason: cause.message, final: !passing };
    }
}

async function accessOf(api: Api, session: string | null): Promise<Access> {
    if (api.credentials.kind === "ticket") {
        await api.session(session ?? "");
        return { kind: "ticket", session: session ?? "" };
    }
    // One request after the other: the server delays answers to an address that sends many wrong keys.
    const admin = await permits(api, "admin/drain");
    try {
        await api.call("GET", "v1/quotas");
        return { kind: "organization", admin };
    } catch (cause) {
        if (!(cause instanceof ApiError) || !cause.refused) throw cause;
        if (admin) return { kind: "operator" };
        if (cause.code !== "key_insufficient") throw cause;
        return { kind: /`drive`/.test(cause.message) ? "drive" : "watch" };
    }
}

/** True if the credentials permit a request. Throws if the server does not know them, or does not answer. */
async function permits(api: Api, path: string): Promise<boolean> {
    try {
        await api.call("GET", path);
        return true;
    } catch (cause) {
        if (!(cause instanceof ApiError) || cause.status === 0 || cause.code === "credentials_invalid") throw cause;
        return false;
    }
}

/** The session of the last ticket, after a reload. */
const TICKET_SESSION = "greenroom.console.session";

export function rememberTicket(session: string | null): void {
    try {
        if (session === null) sessionStorage.removeItem(TICKET_SESSION);
        else sessionStorage.setItem(TICKET_SESSION, session);
    } catch {
        // Without a store, a reload asks for the link again.
    }
}

/** Continues with the credentials of the address or of this tab. */
export async function resume(): Promise<void> {
    let session: string | null = null;
    try {
        session = sessionStorage.getItem(TICKET_SESSION);
    } catch {
        // Without a store there is no former ticket.
    }
    const credentials = load(session);
    // A key in the address is not a page.
    readAddress();
    if (!credentials) {
        signedIn.value = null;
        return;
    }
    const wait = new Backoff({ first: 1_000, most: 10_000 });
    let outcome = await signIn(credentials, session);
    // Only the server's word ends them: a reload aborts this check, and a restart makes it fail.
    while (outcome !== null && !outcome.final && signedIn.peek() === undefined) {
        unchecked.value = outcome.reason;
        await new Promise((done) => window.setTimeout(done, wait.next()));
        if (signedIn.peek() === undefined) outcome = await signIn(credentials, session);
    }
    unchecked.value = null;
    if (outcome?.final) signOut(outcome.reason, credentials);
}

export function signOut(reason: string | null = null, credentials = signedIn.peek()?.api.credentials): void {
    const access = signedIn.peek()?.access;
    if (credentials) forget(credentials, access?.kind === "ticket" ? access.session : null);
    rememberTicket(null);
    rejection.value = reason;
    signedIn.value = null;
}

/** The API with the present credentials. Pages are shown to signed-in people only. */
export function api(): Api {
    const present = signedIn.peek();
    if (!present) throw new ApiError(0, null, "You are signed out.");
    return present.api;
}

export function access(): Access {
    return signedIn.value?.access ?? { kind: "watch" };
}

/** True if the credentials permit everything of an organization. */
export function isWhole(): boolean {
    return access().kind === "organization";
}

/** True if the credentials open the pages of operators. */
export function isOperator(): boolean {
    const present = access();
    return present.kind === "operator" || (present.kind === "organization" && present.admin);
}

const THEME = "greenroom.theme";
export type Theme = "light" | "dark" | "system";

export const theme = signal<Theme>(storedTheme());

function storedTheme(): Theme {
    try {
        const kept = localStorage.getItem(THEME);
        return kept === "light" || kept === "dark" ? kept : "system";
    } catch {
        return "system";
    }
}

export function setTheme(next: Theme): void {
    theme.value = next;
    try {
        localStorage.setItem(THEME, next);
    } catch {
        // Without a store, the choice is valid for this page.
    }
}
