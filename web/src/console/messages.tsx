// The message inspector, for operators: the journal of the messages between actors, live, with filters, as a table or
// as swim lanes.

import { useState } from "preact/hooks";

import type { ApiError } from "../api";
import { SubjectFilters } from "./filters";
import { filtersOf } from "./journal";
import { failureOf } from "./load";
import { MessageLanes } from "./message-lanes";
import { MessageTable } from "./message-table";
import { Action, Empty, Fault, Head, Pill, Search } from "./parts";
import { link, route, setQuery } from "./router";
import { saveBlob } from "./saving";
import { api } from "./state";
import { FIRST, type JournalPage, type Tail, useTail } from "./tail";
import type { ActorMessage } from "./types";

const OUTCOMES = ["done", "refused", "failed", "unanswered", "pending"];
/** The messages that the page shows after older ones were asked for. */
const MOST_SHOWN = 2000;

interface Older {
    readonly query: string;
    readonly rows: readonly ActorMessage[];
    readonly more: boolean;
}

export function MessagesPage() {
    const { query } = route.value;
    const filters = filtersOf(query).toString();
    const [paused, setPaused] = useState(false);
    const [loaded, setLoaded] = useState<Older | null>(null);
    const [failure, setFailure] = useState<ApiError | null>(null);
    const older = loaded?.query === filters ? loaded : null;
    const tail = useTail(filters, paused || older !== null);
    const isLanes = query.get("view") === "lanes";
    const more = async (cursor: number) => {
        try {
            const page = await api().call<JournalPage>("GET", `admin/messages?limit=${FIRST}${filters && `&${filters}`}&cursor=${cursor}`);
            setLoaded({ query: filters, rows: [...(older?.rows ?? []), ...page.messages], more: page.next_cursor !== null });
            setFailure(null);
        } catch (cause) {
            setFailure(failureOf(cause));
        }
    };
    const export_ = async () => {
        const stamp = new Date().toISOString().slice(0, 19).replaceAll(":", "-");
        // The key belongs into a header, so that this is no plain link.
        saveBlob(await api().blob(`admin/messages?format=jsonl${filters && `&${filters}`}`), `messages-${stamp}.jsonl`);
    };
    return (
        <>
            <Head title="Messages" lead="What actors sent each other, newest first: how long each message waited, and how it ended.">
                <div class="segments" role="group" aria-label="Form">
                    <button type="button" aria-pressed={!isLanes} onClick={() => setQuery({ view: "" })}>Table</button>
                    <button type="button" aria-pressed={isLanes} onClick={() => setQuery({ view: "lanes" })}>Swim lanes</button>
                </div>
                <button
                    class="button"
                    type="button"
                    aria-pressed={paused || older !== null}
                    onClick={() => {
                        setLoaded(null);
                        setPaused(!(paused || older !== null));
                    }}
                >
                    {paused || older !== null ? "Continue" : "Pause"}
                </button>
                <Action run={export_} done="The messages that the filters find are saved, one JSON object in each line.">Export JSONL</Action>
            </Head>
            <Filters query={query} />
            <State of={tail} />
            {tail.failure && <Fault of={tail.failure} />}
            {tail.window === null ? (
                tail.failure === null && <p class="loading" role="status">Loading…</p>
            ) : (
                <Shown
                    rows={older ? [...tail.window.rows, ...older.rows] : tail.window.rows}
                    hasMore={older ? older.more : tail.window.older}
                    lanes={isLanes}
                    more={more}
                />
            )}
            {failure && <Fault of={failure} />}
        </>
    );
}

function Shown({ rows, hasMore, lanes, more }: {
    rows: readonly ActorMessage[];
    hasMore: boolean;
    lanes: boolean;
    more: (cursor: number) => Promise<void>;
}) {
    const last = rows.at(-1);
    if (!last) return <Empty title="No message matches the filters"><p>Messages appear here when they have ended.</p></Empty>;
    const full = rows.length >= MOST_SHOWN;
    return (
        <>
            {lanes && hasMore && (
                <div class="hint-box hint-action">
                    <p>Only the newest {rows.length} messages are drawn; there are older ones. Filters and “Not before” choose others.</p>
                    {!full && <button class="button button-small" type="button" onClick={() => void more(last.id)}>Show older messages</button>}
                </div>
            )}
            {lanes ? <MessageLanes messages={rows} /> : <MessageTable label="Messages" messages={rows} />}
            {hasMore && (full || !lanes) && (
                <p class="more">
                    {full ? (
                        <span class="quiet">{rows.length} messages are shown, which is the most. Filters find older ones, and an export has all that are kept.</span>
                    ) : (
                        <button class="button" type="button" onClick={() => void more(last.id)}>Show older messages</button>
                    )}
                </p>
            )}
        </>
    );
}

const STATES: Readonly<Record<Tail["state"], readonly [tone: string, text: string]>> = {
    connecting: ["wait", "Connecting…"],
    live: ["live", "Live"],
    lost: ["bad", "Connecting again…"],
    hidden: ["over", "Waiting until the page is visible"],
    paused: ["over", "Paused"],
    stopped: ["bad", "Stopped"],
};

function State({ of }: { of: Tail }) {
    const [tone, text] = STATES[of.state];
    return (
        <>
            <p class="summary">
                <span role="status"><Pill tone={tone}>{text}</Pill></span>
                {of.window && <span>{of.window.rows.length}{of.window.older ? " newest" : ""} messages</span>}
            </p>
            {of.missed > 0 && (
                <p class="hint-box" role="status">
                    The stream was faster than this page: {of.missed} messages were left out, and the list was loaded again. Filters make the stream smaller.
                </p>
            )}
        </>
    );
}

function Filters({ query }: { query: URLSearchParams }) {
    const value = (name: string) => query.get(name) ?? "";
    const set = (name: string) => (text: string) => setQuery({ [name]: text });
    const any = filtersOf(query).size > 0;
    return (
        <div class="filters" role="group" aria-label="Filters">
            <div class="toolbar">
                <Search label="Text in names, notes or summaries" placeholder="Text" value={value("text")} onChange={set("text")} />
                <Search label="Kind" value={value("kind")} onChange={set("kind")} />
                <Search label="Actor" value={value("actor")} onChange={set("actor")} />
                <select aria-label="Outcome" value={value("outcome")} onChange={({ currentTarget }) => setQuery({ outcome: currentTarget.value })}>
                    <option value="">All outcomes</option>
                    {OUTCOMES.map((name) => <option key={name} value={name}>{name}</option>)}
                </select>
                <Search label="Slower than, in milliseconds" placeholder="Slower than (ms)" type="number" value={value("slower_than_ms")} onChange={set("slower_than_ms")} />
                {any && <a class="button" href={link(["messages"], { view: value("view") })}>Remove the filters</a>}
            </div>
            <SubjectFilters query={query} />
        </div>
    );
}
