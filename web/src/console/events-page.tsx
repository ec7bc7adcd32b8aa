// The live events of the organization, and the list that a session's events use as well.

import { useState } from "preact/hooks";

import { shortId } from "../text";
import { type Stream, useEvents } from "./events";
import { Empty, Head, JsonView, Pill, Search } from "./parts";
import { link, route, setQuery } from "./router";
import type { Event } from "./types";
import { EVENT_KINDS, eventText, eventTitle, eventTone, moment } from "./words";

export function EventsPage() {
    const stream = useEvents("v1/events");
    const { query } = route.value;
    const kind = query.get("kind") ?? "";
    const text = (query.get("q") ?? "").toLowerCase();
    const shown = stream.events.filter(
        (event) => (kind === "" || event.kind === kind) && (text === "" || JSON.stringify(event).toLowerCase().includes(text)),
    );
    return (
        <>
            <Head title="Events" lead="Changes of your sessions and runs, as they happen. Webhooks deliver the same events to your programs." />
            <div class="toolbar" role="group" aria-label="Filters">
                <select aria-label="Kind" value={kind} onChange={({ currentTarget }) => setQuery({ kind: currentTarget.value })}>
                    <option value="">All kinds</option>
                    {EVENT_KINDS.map((name) => <option key={name} value={name}>{eventTitle(name)}</option>)}
                </select>
                <Search label="Filter by text" value={query.get("q") ?? ""} onChange={(q) => setQuery({ q })} />
            </div>
            <EventList stream={{ ...stream, events: shown }} label="Events" sources />
        </>
    );
}

/** A list of events, newest first, with the data of each. */
export function EventList({ stream, label, sources }: { stream: Stream; label: string; sources?: boolean }) {
    const words = { connecting: "Connecting…", live: "Live", lost: "Connecting again…" };
    return (
        <>
            <p class="summary" role="status">
                <Pill tone={stream.state === "live" ? "live" : "wait"}>{words[stream.state]}</Pill> {stream.events.length} events
            </p>
            {stream.events.length === 0 ? (
                <Empty title="Nothing has happened yet">
                    <p>Events appear here by themselves. They are kept for a week.</p>
                </Empty>
            ) : (
                <ol class="events" aria-label={label}>
                    {stream.events.map((event) => <Item key={event.seq} event={event} sources={sources ?? false} />)}
                </ol>
            )}
        </>
    );
}

function Item({ event, sources }: { event: Event; sources: boolean }) {
    const [open, setOpen] = useState(false);
    return (
        <li class="event" data-tone={eventTone(event)}>
            <div class="event-line">
                <i class="lamp" aria-hidden="true" />
                <button type="button" class="event-title" aria-expanded={open} onClick={() => setOpen(!open)}>
                    {eventTitle(event.kind)}
                </button>
                <span class="event-text">{eventText(event)}</span>
                {sources && event.run_id && <a class="id" href={link(["runs", event.run_id])}>{shortId(event.run_id)}</a>}
                {sources && event.browser_session_id && <a class="id" href={link(["sessions", event.browser_session_id])}>{shortId(event.browser_session_id)}</a>}
                <time class="event-time" dateTime={event.at}>{moment(event.at)}</time>
            </div>
            {open && <JsonView value={{ seq: event.seq, kind: event.kind, data: event.data }} label="The event" />}
        </li>
    );
}
