// The message inspector, for operators: the journal of the messages between actors, with filters.

import { useState } from "preact/hooks";

import { shortId } from "../text";
import { failureOf, useLoad } from "./load";
import { Await, Empty, Fault, Head, JsonView, Search, Status, Table } from "./parts";
import type { ApiError } from "../api";
import { link, route, setQuery } from "./router";
import { api } from "./state";
import type { ActorMessage } from "./types";
import { micros, moment } from "./words";

interface Journal {
    readonly messages: ActorMessage[];
    readonly next_cursor: number | null;
}

const OUTCOMES = ["done", "refused", "failed", "unanswered", "pending"];
const FILTERS = [
    ["actor", "Actor"],
    ["session", "Session"],
    ["run", "Run"],
    ["kind", "Kind"],
] as const;

export function MessagesPage() {
    const { query } = route.value;
    const params = new URLSearchParams({ limit: "100" });
    for (const name of ["actor", "session", "run", "kind", "outcome"]) {
        const value = query.get(name);
        if (value) params.set(name, value);
    }
    const address = `admin/messages?${params}`;
    const [live, setLive] = useState(true);
    const first = useLoad(() => api().call<Journal>("GET", address), [address], live ? 2000 : 0);
    const [older, setOlder] = useState<{ address: string; rows: ActorMessage[]; next: number | null } | null>(null);
    const [failure, setFailure] = useState<ApiError | null>(null);
    const [shown, setShown] = useState<number | null>(null);
    const mine = older?.address === address ? older : null;
    const more = async (cursor: number) => {
        setLive(false);
        try {
            const part = await api().call<Journal>("GET", `${address}&cursor=${cursor}`);
            setOlder({ address, rows: [...(mine?.rows ?? []), ...part.messages], next: part.next_cursor });
            setFailure(null);
        } catch (cause) {
            setFailure(failureOf(cause));
        }
    };
    return (
        <>
            <Head title="Messages" lead="What actors sent each other, newest first: how long each message waited, and how it ended.">
                <button class="button" type="button" aria-pressed={live} onClick={() => { setOlder(null); setLive(!live); }}>
                    {live ? "Pause" : "Continue"}
                </button>
            </Head>
            <div class="toolbar" role="group" aria-label="Filters">
                {FILTERS.map(([name, text]) => (
                    <Search key={name} label={text} value={query.get(name) ?? ""} onChange={(value) => setQuery({ [name]: value })} />
                ))}
                <select aria-label="Outcome" value={query.get("outcome") ?? ""} onChange={({ currentTarget }) => setQuery({ outcome: currentTarget.value })}>
                    <option value="">All outcomes</option>
                    {OUTCOMES.map((name) => <option key={name} value={name}>{name}</option>)}
                </select>
            </div>
            <Await of={first}>
                {(journal) => {
                    const rows = mine ? [...journal.messages, ...mine.rows] : journal.messages;
                    const next = mine ? mine.next : journal.next_cursor;
                    if (rows.length === 0) return <Empty title="No message matches the filters" />;
                    return (
                        <>
                            <Table label="Messages" columns={["#", "At", "Kind", "From", "To", "Waited", "Handled", "Outcome", "Caused by"]}>
                                {rows.map((message) => (
                                    <Row key={message.id} message={message} open={shown === message.id} toggle={() => setShown(shown === message.id ? null : message.id)} />
                                ))}
                            </Table>
                            {failure && <Fault of={failure} />}
                            {next !== null && <p class="more"><button class="button" type="button" onClick={() => void more(next)}>Show older messages</button></p>}
                        </>
                    );
                }}
            </Await>
        </>
    );
}

function Row({ message, open, toggle }: { message: ActorMessage; open: boolean; toggle: () => void }) {
    const actor = (name: string) => <a href={link(["messages"], { actor: name })} title={name}>{shortId(name)}</a>;
    return (
        <>
            <tr id={`message-${message.id}`}>
                <td class="number">{message.id}</td>
                <td class="number">{moment(message.enqueued_at)}</td>
                <td><button class="cell-main linklike" type="button" aria-expanded={open} onClick={toggle}>{message.kind.replaceAll("_", " ")}</button></td>
                <td>{message.sender === "http" ? "http" : actor(message.sender)}</td>
                <td>{actor(message.receiver)}</td>
                <td class="number" data-slow={(message.wait_us ?? 0) > 100_000}>{micros(message.wait_us)}</td>
                <td class="number" data-slow={(message.handling_us ?? 0) > 1_000_000}>{micros(message.handling_us)}</td>
                <td><Status of={message.outcome} /></td>
                <td class="number">{message.cause ?? "–"}</td>
            </tr>
            {open && (
                <tr class="row-detail">
                    <td colSpan={9}>
                        {message.note && <p>{message.note}</p>}
                        <JsonView value={message} label={`Message ${message.id}`} />
                    </td>
                </tr>
            )}
        </>
    );
}
