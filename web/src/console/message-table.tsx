// Messages between actors as a table, and the links to their actors and subjects.

import { shortId } from "../text";
import { Status, Table } from "./parts";
import { link } from "./router";
import type { ActorMessage } from "./types";
import { micros, moment } from "./words";

/** A wait in a mailbox, and a handling, that stand out. */
const SLOW_WAIT_US = 100_000;
const SLOW_HANDLING_US = 1_000_000;

/** An actor, as a link to its messages. Requests come from `http`, which is none. */
export function ActorLink({ name }: { name: string }) {
    if (name === "http") return <>http</>;
    return <a href={link(["messages"], { actor: name })} title={`The messages of ${name}`}>{shortId(name)}</a>;
}

export function MessageLink({ id }: { id: number | null }) {
    return id === null ? <>–</> : <a href={link(["messages", String(id)])}>{id}</a>;
}

export function kindText(kind: string): string {
    return kind.replaceAll("_", " ");
}

/** A message in one sentence, for the names of what shows it. */
export function sentence(message: ActorMessage): string {
    const { id, kind, sender, receiver, wait_us, handling_us, outcome } = message;
    return `Message ${id}, ${kindText(kind)} from ${shortId(sender)} to ${shortId(receiver)}, waited ${micros(wait_us)}, handled in ${micros(handling_us)}, ${outcome ?? "pending"}`;
}

export function Waited({ of }: { of: ActorMessage }) {
    return <td class="number" data-slow={(of.wait_us ?? 0) > SLOW_WAIT_US}>{micros(of.wait_us)}</td>;
}

export function Handled({ of }: { of: ActorMessage }) {
    return <td class="number" data-slow={(of.handling_us ?? 0) > SLOW_HANDLING_US}>{micros(of.handling_us)}</td>;
}

export function MessageTable({ messages, label }: { messages: readonly ActorMessage[]; label: string }) {
    return (
        <Table label={label} columns={["#", "At", "Kind", "From", "To", "Waited", "Handled", "Outcome", "Caused by"]}>
            {messages.map((message) => (
                <tr key={message.id}>
                    <td class="number">{message.id}</td>
                    <td class="number">{moment(message.enqueued_at)}</td>
                    <td>
                        <a class="cell-main" href={link(["messages", String(message.id)])}>{kindText(message.kind)}</a>
                        {message.note && <span class="cell-note">{message.note}</span>}
                    </td>
                    <td><ActorLink name={message.sender} /></td>
                    <td><ActorLink name={message.receiver} /></td>
                    <Waited of={message} />
                    <Handled of={message} />
                    <td><Status of={message.outcome} /></td>
                    <td class="number"><MessageLink id={message.cause} /></td>
                </tr>
            ))}
        </Table>
    );
}
