// The live tail of the messages between actors: the newest of them from the list, then each as it ends, from the stream.

import { useEffect, useRef, useState } from "preact/hooks";

import type { ApiError } from "../api";
import { Backoff } from "../backoff";
import { type JournalWindow, merge } from "./journal";
import { failureOf } from "./load";
import { readEvents, type ServerEvent } from "./sse";
import { api } from "./state";
import type { ActorMessage } from "./types";

export interface JournalPage {
    readonly messages: ActorMessage[];
    readonly next_cursor: number | null;
}

/** The messages that are listed at first, and those that the tail keeps. */
export const FIRST = 200;
const MOST_LIVE = 500;
/** The pause between two renderings of a busy stream. */
const GATHER_MS = 250;
/** The server sends a heartbeat each 15 s. A stream that is silent for longer than this is dead. */
const SILENCE_MS = 40_000;
/** The interval of lists where the stream has nothing: it sends messages when they end. */
const POLL_MS = 2_000;

export interface Tail {
    readonly window: JournalWindow | null;
    readonly state: "connecting" | "live" | "lost" | "hidden" | "paused" | "stopped";
    readonly failure: ApiError | null;
    /** The number of messages that the server did not send because this page was too slow. */
    readonly missed: number;
}

/** Follows the messages that match a query, unless it is paused. Without anyone who looks, nothing is asked. */
export function useTail(query: string, paused: boolean): Tail {
    const [window_, setWindow] = useState<JournalWindow | null>(null);
    const [state, setState] = useState<Tail["state"]>("connecting");
    const [failure, setFailure] = useState<ApiError | null>(null);
    const [missed, setMissed] = useState(0);
    const listed = useRef<string | null>(null);

    useEffect(() => {
        let current = true;
        const backoff = new Backoff({ first: 1_000, most: 15_000 });
        const suffix = query === "" ? "" : `&${query}`;
        const isPending = new URLSearchParams(query).get("outcome") === "pending";
        let connection = new AbortController();
        let wake: (() => void) | null = null;
        let gathered: ActorMessage[] = [];
        let timer: number | undefined;
        /** The messages that arrived while the list was asked for again; null otherwise. */
        let meanwhile: ActorMessage[] | null = null;

        if (listed.current !== query) {
            setWindow(null);
            setFailure(null);
        }
        setMissed(0);

        const show = () => {
            timer = undefined;
            const fresh = gathered;
            gathered = [];
            if (current) setWindow((former) => (former ? merge(former, fresh, MOST_LIVE) : former));
        };
        const list = async () => {
            const page = await api().call<JournalPage>("GET", `admin/messages?limit=${FIRST}${suffix}`);
            if (!current) return;
            listed.current = query;
            const first = { rows: page.messages, older: page.next_cursor !== null };
            setWindow(merge(first, meanwhile ?? [], MOST_LIVE));
            setFailure(null);
        };
        /** Lists again after a gap: what was missed is in the list, as far as that goes back. */
        const catchUp = async () => {
            if (meanwhile !== null) return;
            meanwhile = [];
            try {
                await list();
            } catch {
                connection.abort();
            }
            meanwhile = null;
        };
        const onEvents = (events: readonly ServerEvent[]) => {
            let gap = 0;
            const arrived: ActorMessage[] = [];
            for (const { kind, data } of events) {
                if (kind === "message") arrived.push(...asMessage(data));
                else if (kind === "gap") gap += missedOf(data);
            }
            gathered.push(...arrived);
            meanwhile?.push(...arrived);
            if (meanwhile && meanwhile.length > MOST_LIVE) meanwhile.splice(0, meanwhile.length - MOST_LIVE);
            // More than the window holds would not be shown anyway.
            if (gathered.length > MOST_LIVE) gathered = gathered.slice(-MOST_LIVE);
            if (gathered.length > 0) timer ??= window.setTimeout(show, GATHER_MS);
            if (gap > 0 && current) {
                setMissed((count) => count + gap);
                void catchUp();
            }
        };
        const stream = async (signal: AbortSignal) => {
            const body = await api().stream(`admin/messages/stream?${query}`, null, signal);
            // Listed after the stream is open, so that no message falls between the two.
            await list();
            if (!current) return;
            setState("live");
            backoff.reset();
            let silence = window.setTimeout(() => connection.abort(), SILENCE_MS);
            try {
                await readEvents(body, (events) => {
                    window.clearTimeout(silence);
                    silence = window.setTimeout(() => connection.abort(), SILENCE_MS);
                    onEvents(events);
                });
            } finally {
                window.clearTimeout(silence);
            }
        };
        const poll = async (signal: AbortSignal) => {
            while (!signal.aborted) {
                await list();
                if (!current) return;
                setState("live");
                backoff.reset();
                await sleep(POLL_MS);
            }
        };
        /** Resolves after a time, or when the page is shown again. */
        const sleep = (ms: number | null) =>
            new Promise<void>((resolve) => {
                const asleep = ms === null ? undefined : window.setTimeout(resolve, ms);
                wake = () => {
                    window.clearTimeout(asleep);
                    resolve();
                };
            });
        const follow = async () => {
            while (current) {
                if (document.hidden) {
                    setState("hidden");
                    await sleep(null);
                    continue;
                }
                connection = new AbortController();
                try {
                    if (paused) {
                        if (listed.current !== query) await list();
                        if (current) setState("paused");
                        return;
                    }
                    await (isPending ? poll : stream)(connection.signal);
                } catch (cause) {
                    if (!current) return;
                    if (!connection.signal.aborted) {
                        const failed = failureOf(cause);
                        setFailure(failed);
                        // The same request would be refused again.
                        if (failed.refused || failed.status === 422) {
                            setState("stopped");
                            return;
                        }
                    }
                } finally {
                    // Also if the list failed while the stream was open.
                    connection.abort();
                }
                if (!current) return;
                if (document.hidden) continue;
                setState("lost");
                await sleep(backoff.next());
            }
        };
        const onVisible = () => {
            if (document.hidden) connection.abort();
            wake?.();
        };
        document.addEventListener("visibilitychange", onVisible);
        void follow();
        return () => {
            current = false;
            document.removeEventListener("visibilitychange", onVisible);
            window.clearTimeout(timer);
            connection.abort();
            wake?.();
        };
    }, [query, paused]);

    return { window: window_, state, failure, missed };
}

function asMessage(data: string): ActorMessage[] {
    try {
        const message = JSON.parse(data) as ActorMessage;
        return typeof message.id === "number" ? [message] : [];
    } catch {
        return [];
    }
}

function missedOf(data: string): number {
    try {
        return Number((JSON.parse(data) as { missed?: unknown }).missed) || 0;
    } catch {
        return 0;
    }
}
