// The live events of a session or of the organization, over server-sent events.
//
// `EventSource` cannot send a key in a header, and a key in the address ends up in logs: the stream is read with
// `fetch`.

import { useEffect, useState } from "preact/hooks";

import { Backoff } from "../backoff";
import { readEvents, type ServerEvent } from "./sse";
import { api } from "./state";
import type { Event } from "./types";

/** The most events that a page keeps. */
const MOST = 500;

export interface Stream {
    /** The events that were received, the newest first. */
    readonly events: readonly Event[];
    readonly state: "connecting" | "live" | "lost";
}

/** Follows the events at a path from the first that is kept, or from now on. */
export function useEvents(path: string, from: "0" | "latest" = "0"): Stream {
    const [events, setEvents] = useState<readonly Event[]>([]);
    const [state, setState] = useState<Stream["state"]>("connecting");
    useEffect(() => {
        const abort = new AbortController();
        const backoff = new Backoff({ first: 1000, most: 15_000 });
        let after = from as string;
        setEvents([]);
        const onEvents = (arrived: readonly ServerEvent[]) => {
            const fresh = arrived.map(({ data }) => asEvent(data)).filter((event) => event !== null);
            if (fresh.length === 0) return;
            after = String(fresh.at(-1)?.seq ?? after);
            setEvents((former) => [...fresh.reverse(), ...former].slice(0, MOST));
        };
        const follow = async () => {
            while (!abort.signal.aborted) {
                try {
                    const body = await api().stream(path, after, abort.signal);
                    setState("live");
                    backoff.reset();
                    await readEvents(body, onEvents);
                } catch {
                    // The loop connects again.
                }
                if (abort.signal.aborted) return;
                setState("lost");
                await new Promise((resolve) => window.setTimeout(resolve, backoff.next()));
            }
        };
        void follow();
        return () => abort.abort();
    }, [path, from]);
    return { events, state };
}

function asEvent(data: string): Event | null {
    try {
        const event = JSON.parse(data) as Event;
        return typeof event.seq === "number" && typeof event.kind === "string" ? event : null;
    } catch {
        return null;
    }
}
