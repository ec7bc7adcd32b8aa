// The audit trail, for operators: who changed what, and by which request.

import { useState } from "preact/hooks";

import { shortId } from "../text";
import { SubjectFilters } from "./filters";
import { filtersOf } from "./journal";
import { useList } from "./load";
import { ActorLink, kindText } from "./message-table";
import { Await, Copy, Empty, Head, JsonView, More, Search, Status, Table } from "./parts";
import { link, route, setQuery } from "./router";
import { api, isWhole } from "./state";
import type { AuditEvent } from "./types";
import { moment } from "./words";

const FILTERS = ["kind", "outcome", "key", "request", "session", "run", "organization", "since"];
const OUTCOMES = ["done", "refused", "failed", "unanswered"];
const COLUMNS = ["At", "Change", "Outcome", "Subject", "Key", "Client", "Request", "Message"];

interface AuditPart {
    readonly events: AuditEvent[];
    readonly next_cursor: string | null;
}

async function loadPart(path: string) {
    const { events, next_cursor } = await api().call<AuditPart>("GET", path);
    return { rows: events, next: next_cursor };
}

export function AuditPage() {
    const { query } = route.value;
    const filters = filtersOf(query, FILTERS).toString();
    const events = useList<AuditEvent>(`admin/audit?limit=100${filters && `&${filters}`}`, 5000, loadPart);
    const [shown, setShown] = useState<string | null>(null);
    return (
        <>
            <Head title="Audit" lead="The changes that were requested, newest first, with the key, the address and the request behind each. The database keeps them." />
            <Filters query={query} any={filters !== ""} />
            <Await of={events}>
                {(rows) =>
                    rows.length === 0 ? (
                        <Empty title={filters ? "No change matches the filters" : "Nothing was changed yet"}>
                            <p>Creating, holding, closing and each other change by a client appears here.</p>
                        </Empty>
                    ) : (
                        <Table label="Audit trail" columns={COLUMNS}>
                            {rows.map((event) => (
                                <Row
                                    key={event.audit_event_id}
                                    event={event}
                                    open={shown === event.audit_event_id}
                                    toggle={() => setShown(shown === event.audit_event_id ? null : event.audit_event_id)}
                                />
                            ))}
                        </Table>
                    )
                }
            </Await>
            <More of={events} />
        </>
    );
}

function Row({ event, open, toggle }: { event: AuditEvent; open: boolean; toggle: () => void }) {
    const { key_id: key, client_address: address, request_id: request, message_id: message } = event;
    return (
        <>
            <tr>
                <td class="number">{moment(event.at)}</td>
                <td><button class="cell-main linklike" type="button" aria-expanded={open} onClick={toggle}>{kindText(event.kind)}</button></td>
                <td><Status of={event.outcome} /></td>
                <td><Subjects of={event} /></td>
                <td>{key ? <a href={link(["audit"], { key })} title={`The changes with ${key}`}>{shortId(key)}</a> : <span class="quiet">the server</span>}</td>
                <td class="number">{address ?? "–"}</td>
                <td>{request ? <a class="id-link" href={link(["audit"], { request })} title={`The changes of request ${request}`}>{request.slice(0, 8)}…</a> : "–"}</td>
                <td class="number">{message === null ? "–" : <a href={link(["messages", String(message)], { at: event.at })}>{message}</a>}</td>
            </tr>
            {open && (
                <tr class="row-detail">
                    <td colSpan={COLUMNS.length}>
                        <p class="head-facts">
                            <span>From <ActorLink name={event.sender} /> to <ActorLink name={event.receiver} /></span>
                            {request && <span>Request <Copy text={request} label="Copy the id of the request" /></span>}
                            {key && <span>Key <Copy text={key} label="Copy the id of the key" /></span>}
                            {event.organization_id && <a href={link(["audit"], { organization: event.organization_id })}>All of its organization</a>}
                        </p>
                        <JsonView value={event.summary} label={`Summary of ${kindText(event.kind)}`} />
                    </td>
                </tr>
            )}
        </>
    );
}

/** The session and the run, as pages for keys of organizations; else the organization. */
function Subjects({ of }: { of: AuditEvent }) {
    const { browser_session_id: session, run_id: run, organization_id: organization } = of;
    const subject = (id: string, page: string, filter: string, word: string) => (
        <a key={id} class="subject-link" href={isWhole() ? link([page, id]) : link(["audit"], { [filter]: id })} title={id}>{word} {shortId(id)}</a>
    );
    if (session === null && run === null) {
        return organization ? <a href={link(["organizations", organization])} title={organization}>organization {shortId(organization)}</a> : <>–</>;
    }
    return (
        <>
            {session && subject(session, "sessions", "session", "session")}
            {run && subject(run, "runs", "run", "run")}
        </>
    );
}

function Filters({ query, any }: { query: URLSearchParams; any: boolean }) {
    const value = (name: string) => query.get(name) ?? "";
    const set = (name: string) => (text: string) => setQuery({ [name]: text });
    return (
        <div class="filters" role="group" aria-label="Filters">
            <div class="toolbar">
                <Search label="Kind" value={value("kind")} onChange={set("kind")} />
                <select aria-label="Outcome" value={value("outcome")} onChange={({ currentTarget }) => setQuery({ outcome: currentTarget.value })}>
                    <option value="">All outcomes</option>
                    {OUTCOMES.map((name) => <option key={name} value={name}>{name}</option>)}
                </select>
                <Search label="Key: its id, or operator" placeholder="Key" value={value("key")} onChange={set("key")} />
                <Search label="Request, by its x-request-id" placeholder="Request" value={value("request")} onChange={set("request")} />
                {any && <a class="button" href={link(["audit"])}>Remove the filters</a>}
            </div>
            <SubjectFilters query={query} />
        </div>
    );
}
