// The page of one message between actors: what it was, what led to it, and what it led to.

import { useRef, useState } from "preact/hooks";

import { shortId } from "../text";
import { isUnderWay, type TreeRow, treeRows } from "./journal";
import { useLoad } from "./load";
import { ActorLink, kindText, MessageTable } from "./message-table";
import { Await, Copy, Facts, Head, Icon, JsonView, Status } from "./parts";
import { go, link, route } from "./router";
import { api, isWhole } from "./state";
import type { ActorMessage, Consequence, Lineage } from "./types";
import { micros, moment } from "./words";

const BACK = { href: link(["messages"]), text: "Messages" };

export function MessagePage({ id }: { id: string }) {
    const [settled, setSettled] = useState(false);
    const lineage = useLoad(
        async () => {
            const found = await api().call<Lineage>("GET", `admin/messages/${encodeURIComponent(id)}`);
            setSettled(!isUnderWay(found.message, found.consequences));
            return found;
        },
        [id],
        settled ? 0 : 2000,
    );
    if (lineage.failure?.status === 404 && lineage.data === null) {
        return (
            <Head
                title="This message is not kept"
                back={BACK}
                lead="The server keeps the latest messages in memory (sessions.journal_messages), and forgets them when it ends. Changes are in the audit trail for longer."
            >
                <a class="button" href={link(["audit"])}>Audit</a>
            </Head>
        );
    }
    return <Await of={lineage}>{(data) => <Shown lineage={data} />}</Await>;
}

function Shown({ lineage: { message, causes, consequences, truncated } }: { lineage: Lineage }) {
    // A number of the audit trail may be that of a former server.
    const asked = route.value.query.get("at");
    const isOther = asked !== null && Date.parse(asked) !== Date.parse(message.enqueued_at);
    return (
        <>
            <Head
                title={`Message ${message.id}: ${kindText(message.kind)}`}
                back={BACK}
                lead={
                    <span class="head-facts">
                        <Status of={message.outcome} />
                        <span>{moment(message.enqueued_at)}</span>
                        <span><ActorLink name={message.sender} /> to <ActorLink name={message.receiver} /></span>
                    </span>
                }
            />
            {isOther && <p class="hint-box">The server has started anew since the change in the audit trail: its message had this number too, and is not kept any more.</p>}
            {message.note && <p class="hint-box">{message.note}</p>}
            <div class="columns">
                <section>
                    <h2>Facts</h2>
                    <Facts
                        of={[
                            ["Kind", <a href={link(["messages"], { kind: message.kind })}><code>{message.kind}</code></a>],
                            ["Sent", moment(message.enqueued_at)],
                            ["Waited", micros(message.wait_us)],
                            ["Handled in", micros(message.handling_us)],
                            ["From", <ActorLink name={message.sender} />],
                            ["To", <ActorLink name={message.receiver} />],
                            ["Session", message.browser_session_id && <Subject id={message.browser_session_id} page="sessions" filter="session" />],
                            ["Run", message.run_id && <Subject id={message.run_id} page="runs" filter="run" />],
                            ["Organization", message.organization_id && <Subject id={message.organization_id} page="organizations" filter="organization" />],
                        ]}
                    />
                </section>
                <section>
                    <h2>Payload</h2>
                    <JsonView value={message.summary} label="Summary of the payload" />
                    <p class="quiet">The journal keeps a summary of each message, and never its secrets.</p>
                    <details class="further">
                        <summary>The whole entry</summary>
                        <JsonView value={message} label={`Message ${message.id}`} />
                    </details>
                </section>
            </div>
            <section aria-labelledby="causes">
                <h2 id="causes">Causes</h2>
                {causes.length > 0 ? (
                    <>
                        <p class="quiet">Each was sent in the handling of the one above it, and the last led to this message.</p>
                        <MessageTable label="Causes, the outermost first" messages={causes} />
                    </>
                ) : message.cause === null ? (
                    <p class="quiet">{message.sender === "http" ? "None: it came with a request." : "None: an actor sent it by itself."}</p>
                ) : (
                    <p class="quiet">Message {message.cause}, which is not kept any more.</p>
                )}
            </section>
            <section aria-labelledby="consequences">
                <h2 id="consequences">Consequences</h2>
                {consequences.length > 0 ? <Tree of={consequences} /> : <p class="quiet">{message.outcome === null ? "None yet." : "None: no message was sent in its handling."}</p>}
                {truncated && <p class="hint-box">There are more consequences than the server lists at once. Open one of them to see its own.</p>}
            </section>
        </>
    );
}

/** The subject of a message, as its page, its messages and its swim lanes. */
function Subject({ id, page, filter }: { id: string; page: string; filter: string }) {
    // Sessions and runs have pages for keys of organizations only.
    const hasPage = page === "organizations" || isWhole();
    return (
        <span class="subject">
            {hasPage ? <a href={link([page, id])}>{shortId(id)}</a> : <Copy text={id} shown={shortId(id)} />}
            <a href={link(["messages"], { [filter]: id })}>Messages</a>
            <a href={link(["messages"], { [filter]: id, view: "lanes" })}>Swim lanes</a>
        </span>
    );
}

/** Messages that led to each other. Arrow keys move, right and left open and close, Enter shows the message. */
function Tree({ of }: { of: readonly Consequence[] }) {
    const [closed, setClosed] = useState<ReadonlySet<number>>(new Set());
    const [active, setActive] = useState<number | null>(null);
    const place = useRef<HTMLUListElement>(null);
    const rows = treeRows(of, closed);
    const present = rows.find(({ message }) => message.id === active) ?? rows[0];
    const fold = (id: number, isClosed: boolean) => {
        const next = new Set(closed);
        if (isClosed) next.add(id);
        else next.delete(id);
        setClosed(next);
    };
    const move = (row: TreeRow | undefined) => {
        if (!row) return;
        setActive(row.message.id);
        place.current?.querySelector<HTMLElement>(`[data-id="${row.message.id}"]`)?.focus();
    };
    const onKey = (event: KeyboardEvent) => {
        if (!present) return;
        const at = rows.indexOf(present);
        const { message, open, parent } = present;
        switch (event.key) {
            case "ArrowDown": move(rows[at + 1]); break;
            case "ArrowUp": move(rows[at - 1]); break;
            case "Home": move(rows[0]); break;
            case "End": move(rows.at(-1)); break;
            case "ArrowRight":
                if (open === false) fold(message.id, false);
                else if (open) move(rows[at + 1]);
                break;
            case "ArrowLeft":
                if (open) fold(message.id, true);
                else move(rows.find((row) => row.message.id === parent));
                break;
            case "Enter": go(link(["messages", String(message.id)])); break;
            default: return;
        }
        event.preventDefault();
    };
    return (
        <ul ref={place} class="tree" role="tree" aria-label="Consequences" onKeyDown={onKey}>
            {rows.map(({ message, level, place, siblings, open }) => (
                <li
                    key={message.id}
                    class="tree-row"
                    role="treeitem"
                    aria-level={level}
                    aria-posinset={place}
                    aria-setsize={siblings}
                    aria-expanded={open ?? undefined}
                    aria-selected={message === present?.message}
                    data-id={message.id}
                    data-level={Math.min(level, 8)}
                    tabIndex={message === present?.message ? 0 : -1}
                    onFocus={() => setActive(message.id)}
                    onClick={() => go(link(["messages", String(message.id)]))}
                >
                    <span
                        class="tree-mark"
                        data-open={open}
                        onClick={(event) => {
                            if (open === null) return;
                            event.stopPropagation();
                            fold(message.id, open);
                        }}
                    >
                        {open !== null && <Icon name="arrow" />}
                    </span>
                    <TreeText of={message} />
                </li>
            ))}
        </ul>
    );
}

function TreeText({ of }: { of: ActorMessage }) {
    return (
        <>
            <span class="tree-number">{of.id}</span>{" "}
            <span class="tree-kind">{kindText(of.kind)}</span>{" "}
            <span class="tree-route">{shortId(of.sender)} → {shortId(of.receiver)}</span>{" "}
            <span class="tree-times">waited {micros(of.wait_us)}, handled {micros(of.handling_us)}</span>{" "}
            <Status of={of.outcome} />
            {of.note && <span class="tree-note">{of.note}</span>}
        </>
    );
}
