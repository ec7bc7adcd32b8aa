// The list of sessions: as live pictures, or as a table, and those that have ended.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";

import { type PictureTarget, Pictures } from "../pictures";
import { drawTile } from "../tile";
import { endOf, isFinal, isOccupied, occupant, remaining, shortId, standing } from "../text";
import { useList } from "./load";
import { Await, Empty, Head, Icon, More, Pill, Search, Table, useClock } from "./parts";
import { link, route, setQuery } from "./router";
import { NewSession } from "./session-form";
import { access, api, isWhole } from "./state";
import type { Session } from "./types";
import { moment } from "./words";

const EVERY_MS = 4_000;
const STATES = [
    ["", "All states"],
    ["ready", "Ready"],
    ["in use", "In use"],
    ["queue", "With a queue"],
    ["controlled", "A person has control"],
    ["starting", "Starting"],
    ["recovering", "Recovering"],
] as const;

export function SessionsPage() {
    const { query } = route.value;
    const [creating, setCreating] = useState(false);
    const ended = query.get("show") === "ended";
    const asTable = ended || query.get("show") === "table";
    const search = query.get("q") ?? "";
    const state = query.get("state") ?? "";
    const tags = (query.get("tags") ?? "").split(",").map((tag) => tag.trim()).filter(Boolean);
    const params = new URLSearchParams({ page_size: "100" });
    if (!ended) for (const tag of tags) params.append("tags", tag);
    const list = useList<Session>(`v1/browser_sessions${ended ? "/history" : ""}?${params}`, EVERY_MS);
    const create = access().kind === "organization";

    return (
        <>
            <Head title="Sessions" lead="Browsers that run, and the clients that use them.">
                <a class="button" href="wall">The wall</a>
                {create && (
                    <button class="button button-main" type="button" onClick={() => setCreating(true)}>
                        <Icon name="plus" /> New session
                    </button>
                )}
            </Head>
            <div class="toolbar" role="group" aria-label="Filters">
                <div class="segments" role="group" aria-label="Show">
                    {([["", "Pictures"], ["table", "Table"], ...(isWhole() ? [["ended", "Ended"]] : [])] as const).map(([show, text]) => (
                        <button key={show} type="button" aria-pressed={(query.get("show") ?? "") === show} onClick={() => setQuery({ show: show ?? "" })}>
                            {text}
                        </button>
                    ))}
                </div>
                <Search label="Filter by name, id or holder" value={search} onChange={(q) => setQuery({ q })} />
                {!ended && (
                    <>
                        <select aria-label="State" value={state} onChange={({ currentTarget }) => setQuery({ state: currentTarget.value })}>
                            {STATES.map(([value, text]) => <option key={value} value={value}>{text}</option>)}
                        </select>
                        <Search label="Tags, separated by commas" placeholder="Tags" value={tags.join(", ")} onChange={(text) => setQuery({ tags: text })} />
                    </>
                )}
            </div>
            <Await of={list}>
                {(rows) => {
                    const here = ended ? rows.filter(isFinal) : rows.filter((session) => !isFinal(session));
                    const shown = here.filter((session) => matches(session, search, ended ? "" : state));
                    if (shown.length === 0) {
                        const filtered = here.length > 0 || tags.length > 0;
                        return filtered ? <NothingFound /> : <NoSessions ended={ended} create={create ? () => setCreating(true) : null} />;
                    }
                    return (
                        <>
                            <p class="summary" role="status">{summary(shown, ended)}</p>
                            {asTable ? <SessionTable sessions={shown} ended={ended} /> : <SessionTiles sessions={shown} />}
                            <More of={list} />
                        </>
                    );
                }}
            </Await>
            {creating && <NewSession onClose={() => setCreating(false)} />}
        </>
    );
}

function summary(sessions: readonly Session[], ended: boolean): string {
    const count = `${sessions.length} ${sessions.length === 1 ? "session" : "sessions"}`;
    return ended ? count : `${count}, ${sessions.filter(isOccupied).length} in use`;
}

export function matches(session: Session, search: string, state: string): boolean {
    const text = [session.name, session.browser_session_id, session.occupancy?.runnable_id, session.start_url, ...(session.tags ?? [])]
        .join(" ")
        .toLowerCase();
    if (!text.includes(search.toLowerCase())) return false;
    switch (state) {
        case "":
            return true;
        case "queue":
            return (session.occupancy?.waiters?.length ?? 0) > 0;
        case "controlled":
            return session.control?.by === "user";
        default:
            return standing(session).word.toLowerCase() === state;
    }
}

function NothingFound() {
    return (
        <Empty title="Nothing matches the filters">
            <button class="button" type="button" onClick={() => setQuery({ q: "", state: "", tags: "" })}>
                Remove the filters
            </button>
        </Empty>
    );
}

function NoSessions({ ended, create }: { ended: boolean; create: (() => void) | null }) {
    if (ended) {
        return (
            <Empty title="No session has ended yet">
                <p>Sessions of the last seven days are listed here, with their recordings and files.</p>
            </Empty>
        );
    }
    const command = `curl -H "x-api-key: $KEY" -d '{}' ${new URL("v1/browser_sessions", document.baseURI)}`;
    return (
        <Empty title="No browser runs yet" {...(create ? { command } : {})}>
            <p>A session is a browser of its own, with a live picture. Programs drive it, and you can watch and take control.</p>
            {create && (
                <>
                    <button class="button button-main" type="button" onClick={create}>Create the first session</button>
                    <p class="quiet">or from a terminal:</p>
                </>
            )}
        </Empty>
    );
}

/** The holder of a session and the length of its queue, as text. */
function holderText(session: Session): string {
    const waiters = session.occupancy?.waiters?.length ?? 0;
    const queue = waiters > 0 ? `, ${waiters} waiting` : "";
    return `${occupant(session) ?? "No holder"}${queue}`;
}

function SessionTiles({ sessions }: { sessions: readonly Session[] }) {
    const pictures = useMemo(() => new Pictures(api()), []);
    useEffect(() => () => pictures.stop(), [pictures]);
    return (
        <ul class="tiles">
            {sessions.map((session) => (
                <SessionTile key={session.browser_session_id} session={session} pictures={pictures} />
            ))}
        </ul>
    );
}

function SessionTile({ session, pictures }: { session: Session; pictures: Pictures }) {
    const id = session.browser_session_id;
    const item = useRef<HTMLLIElement>(null);
    const canvas = useRef<HTMLCanvasElement>(null);
    const present = useRef(session);
    present.current = session;
    useEffect(() => {
        const root = item.current;
        const picture = canvas.current;
        if (!root || !picture) return undefined;
        const target: PictureTarget = {
            root,
            id,
            get running() {
                return present.current.status === "running" || present.current.status === "retry";
            },
            draw: (bitmap) => drawTile(bitmap, picture, root),
        };
        pictures.add(target);
        return () => pictures.drop(target);
    }, [id, pictures]);
    const { tone, word } = standing(session);
    return (
        <li ref={item} class="tile" data-tone={tone}>
            <a href={link(["sessions", id])}>
                <span class="sr">Session </span>
                <div class="tile-frame">
                    <span class="tile-blank"><Icon name="eye" /></span>
                    <canvas ref={canvas} width={0} aria-hidden="true" />
                </div>
                <div class="tile-head">
                    <Pill tone={tone}>{word}</Pill>
                    <span class="tile-name" title={id}>{session.name ?? shortId(id)}</span>
                    <Remaining session={session} />
                </div>
                <span class={isOccupied(session) ? "tile-who" : "tile-who quiet"}>{holderText(session)}</span>
                {(session.tags?.length ?? 0) > 0 && <TagList of={session.tags ?? []} />}
            </a>
        </li>
    );
}

export function TagList({ of }: { of: readonly string[] }) {
    return <span class="tags">{of.map((tag) => <span key={tag} class="tag">{tag}</span>)}</span>;
}

/** The time until a session ends by itself. */
export function Remaining({ session }: { session: Session }) {
    useClock();
    const end = endOf(session);
    if (end === null || isFinal(session)) return null;
    const left = end - api().now();
    return (
        <span class="time" data-short={left < 120_000} title={`Ends at ${moment(new Date(end).toISOString())}`}>
            <Icon name="clock" /> {remaining(left)}
        </span>
    );
}

function SessionTable({ sessions, ended }: { sessions: readonly Session[]; ended: boolean }) {
    const columns = ended ? ["Session", "State", "Began", "Ended", "Reason", "Tags"] : ["Session", "State", "Holder", "Queue", "Viewers", "Remaining", "Tags"];
    return (
        <Table label="Sessions" columns={columns}>
            {sessions.map((session) => {
                const id = session.browser_session_id;
                const { tone, word } = standing(session);
                return (
                    <tr key={id}>
                        <td>
                            <a class="cell-main" href={link(["sessions", id])}>{session.name ?? shortId(id)}</a>
                            <code class="id">{id}</code>
                        </td>
                        <td><Pill tone={tone}>{word}</Pill></td>
                        {ended ? (
                            <>
                                <td class="number">{moment(session.created_at)}</td>
                                <td class="number">{moment(session.completed_at)}</td>
                                <td class="cell-text">{session.failure?.message ?? "–"}</td>
                            </>
                        ) : (
                            <>
                                <td>{occupant(session) ?? <span class="quiet">none</span>}</td>
                                <td class="number">{session.occupancy?.waiters?.length ?? 0}</td>
                                <td class="number">{session.viewers ?? 0}</td>
                                <td class="number"><Remaining session={session} /></td>
                            </>
                        )}
                        <td><TagList of={session.tags ?? []} /></td>
                    </tr>
                );
            })}
        </Table>
    );
}
