// Swim lanes: messages as intervals of time in the lane of the actor that handles them.

import type { ActorMessage } from "./types";

/** An interval of time, in milliseconds since 1970, with microseconds as fractions. */
export interface Span {
    readonly from: number;
    readonly to: number;
}

export interface LaneItem {
    readonly message: ActorMessage;
    /** The number of its lane, and its row within the lane. */
    readonly lane: number;
    readonly row: number;
    readonly sent: number;
    /** The end of the wait in the mailbox. */
    readonly started: number;
    readonly ended: number;
}

export interface Lane {
    readonly name: string;
    readonly rows: number;
}

export interface Lanes {
    readonly lanes: readonly Lane[];
    /** The messages in the order in which they were sent. */
    readonly items: readonly LaneItem[];
    readonly span: Span;
}

/** Rows of a lane, at most. Further messages at the same time share the last row. */
const MOST_ROWS = 8;

/** A time of the API in milliseconds. `Date` drops what is below a millisecond. */
export function instant(text: string): number {
    const [, head = text, fraction = "0", zone = ""] = /^([^.]*)\.(\d+)(.*)$/.exec(text) ?? [];
    return Date.parse(`${head}${zone}`) + Number(`0.${fraction}`) * 1000;
}

/** The time at which a message was sent, taken up and answered; until now while it is under way. */
export function timesOf(message: ActorMessage, now: number): { sent: number; started: number; ended: number } {
    const sent = instant(message.enqueued_at);
    // A message that was never taken up has an end as well, but neither wait nor handling.
    const over = message.outcome === null ? null : message.ended_at;
    const until = Math.max(sent, over ? instant(over) : now);
    const started = message.wait_us === null ? until : sent + message.wait_us / 1000;
    const ended = message.handling_us === null ? Math.max(started, until) : started + message.handling_us / 1000;
    return { sent, started, ended };
}

/** Puts messages into lanes: one for each actor that sent or received one, in the order of their first message. */
export function lanesOf(messages: readonly ActorMessage[], now: number): Lanes {
    const ordered = messages
        .map((message) => ({ message, ...timesOf(message, now) }))
        .sort((one, other) => one.sent - other.sent || one.message.id - other.message.id);
    const numbers = new Map<string, number>();
    const ends: number[][] = [];
    const laneOf = (name: string): number => {
        const known = numbers.get(name);
        if (known !== undefined) return known;
        numbers.set(name, ends.length);
        ends.push([]);
        return ends.length - 1;
    };
    const items = ordered.map(({ message, sent, started, ended }) => {
        laneOf(message.sender);
        const lane = laneOf(message.receiver);
        const rows = ends[lane] ?? [];
        const free = rows.findIndex((end) => end <= sent);
        const row = free >= 0 ? free : Math.min(rows.length, MOST_ROWS - 1);
        rows[row] = Math.max(rows[row] ?? 0, ended);
        return { message, lane, row, sent, started, ended };
    });
    const from = Math.min(...items.map(({ sent }) => sent));
    const to = Math.max(...items.map(({ ended }) => ended));
    return {
        lanes: [...numbers].map(([name, lane]) => ({ name, rows: Math.max(1, ends[lane]?.length ?? 0) })),
        items,
        span: items.length === 0 ? { from: now, to: now + 1 } : { from, to: Math.max(to, from + 0.001) },
    };
}

/** The items that are seen in an interval of time. */
export function within(items: readonly LaneItem[], { from, to }: Span): LaneItem[] {
    return items.filter(({ sent, ended }) => ended >= from && sent <= to);
}

/** The shortest interval that can be shown, in milliseconds. */
const SHORTEST = 0.05;

/** An interval scaled about its middle, or moved by a part of its length; never outside of the whole. */
export function zoomed(span: Span, whole: Span, factor: number, shift = 0): Span {
    const length = Math.min(Math.max((span.to - span.from) * factor, SHORTEST), whole.to - whole.from);
    const middle = (span.from + span.to) / 2 + shift * (span.to - span.from);
    const from = Math.min(Math.max(middle - length / 2, whole.from), whole.to - length);
    return { from, to: from + length };
}

/** The place of times on an axis, as parts of its length from 0 to 1. */
export interface Scale {
    readonly place: (time: number) => number;
    readonly time: (place: number) => number;
}

export function evenScale({ from, to }: Span): Scale {
    return { place: (time) => (time - from) / (to - from), time: (place) => from + place * (to - from) };
}

/** A pause of this length, in milliseconds, is about as long on a shortened axis as it should be. */
const SHORT_PAUSE = 0.2;

/**
 * A scale on which the pauses between the beginnings and ends of messages are shortened, the longer the more: actors work
 * for microseconds and wait for seconds.
 */
export function shortenedScale(items: readonly LaneItem[], span: Span): Scale {
    const inside = items.flatMap(({ sent, started, ended }) => [sent, started, ended]).filter((time) => time > span.from && time < span.to);
    const times = [span.from, ...new Set(inside.sort((one, other) => one - other)), span.to];
    const places = [0];
    for (let index = 1; index < times.length; index += 1) {
        const pause = (times[index] ?? 0) - (times[index - 1] ?? 0);
        places.push((places[index - 1] ?? 0) + Math.log1p(pause / SHORT_PAUSE));
    }
    const whole = places.at(-1) || 1;
    const known = places.map((place) => place / whole);
    return { place: (time) => between(times, known, time), time: (place) => between(known, times, place) };
}

/** A value between the known ones, which rise; beyond the ends it goes on evenly. */
function between(from: readonly number[], to: readonly number[], value: number): number {
    let low = 0;
    let high = from.length - 1;
    while (high - low > 1) {
        const middle = (low + high) >> 1;
        if ((from[middle] ?? 0) <= value) low = middle;
        else high = middle;
    }
    const [begin = 0, end = 1, first = 0, last = 1] = [from[low], from[high], to[low], to[high]];
    return end === begin ? first : first + ((value - begin) / (end - begin)) * (last - first);
}

/** True if most intervals would be narrower than `least` on an even axis. */
export function isCrowded(items: readonly LaneItem[], { from, to }: Span, least: number): boolean {
    const narrow = items.filter(({ sent, ended }) => (ended - sent) / (to - from) < least);
    return narrow.length * 2 > items.length;
}

/** Round times within an interval, about `count` of them. */
export function ticksOf({ from, to }: Span, count: number): number[] {
    const least = (to - from) / Math.max(1, count);
    const step = STEPS.find((each) => each >= least) ?? Math.ceil(least / 86_400_000) * 86_400_000;
    const ticks: number[] = [];
    for (let tick = Math.ceil(from / step) * step; tick <= to && ticks.length <= count + 1; tick += step) ticks.push(tick);
    return ticks;
}

const STEPS = [
    ...[0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500],
    ...[1, 2, 5, 10, 15, 30].map((seconds) => seconds * 1000),
    ...[1, 2, 5, 10, 15, 30].map((minutes) => minutes * 60_000),
    ...[1, 2, 3, 6, 12, 24].map((hours) => hours * 3_600_000),
];

/** A time on the axis, as exact as the interval needs. */
export function tickText(tick: number, { from, to }: Span): string {
    const date = new Date(tick);
    const two = (number: number) => String(number).padStart(2, "0");
    const minutes = `${two(date.getHours())}:${two(date.getMinutes())}`;
    const length = to - from;
    if (length >= 3_600_000) return minutes;
    const seconds = `${minutes}:${two(date.getSeconds())}`;
    if (length >= 5_000) return seconds;
    const part = ((tick % 1000) + 1000) % 1000;
    // Milliseconds, or hundredths of them.
    return length >= 50
        ? `${seconds}.${String(Math.min(999, Math.round(part))).padStart(3, "0")}`
        : `${seconds}.${String(Math.min(99_999, Math.round(part * 100))).padStart(5, "0")}`;
}
