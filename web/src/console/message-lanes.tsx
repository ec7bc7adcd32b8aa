// Swim lanes of messages: a lane for each actor, an interval for each message, and lines from causes to consequences.
// The table below has the same messages.

import { useEffect, useRef, useState } from "preact/hooks";

import { shortId } from "../text";
import {
    evenScale, isCrowded, type LaneItem, type Lanes, lanesOf, shortenedScale, type Span, ticksOf, tickText, within, zoomed,
} from "./lanes";
import { kindText, MessageTable, sentence } from "./message-table";
import { link } from "./router";
import { api } from "./state";
import type { ActorMessage } from "./types";
import { micros, moment } from "./words";

/** The sizes of the drawing, in pixels. */
const AXIS = 26;
const TITLE = 18;
const ROW = 13;
const BAR = 9;
const GAP = 8;
/** An interval is as wide as this at least, so that it can be seen and hit. */
const LEAST = 4;
/** The part of the axis below which an interval cannot be seen. */
const NARROW = 0.004;
/** A shorter move of the pointer is no choice of a range. */
const DRAG = 6;

export function MessageLanes({ messages }: { messages: readonly ActorMessage[] }) {
    const lanes = lanesOf(messages, api().now());
    const [chosen, setChosen] = useState<Span | null>(null);
    const span = chosen ?? lanes.span;
    const items = within(lanes.items, span);
    const zoom = (factor: number, shift = 0) => setChosen(zoomed(span, lanes.span, factor, shift));
    const isWhole = chosen === null;
    const [shortens, setShortens] = useState<boolean | null>(null);
    const isShortened = shortens ?? isCrowded(items, span, NARROW);
    const table = items.map(({ message }) => message).reverse();
    return (
        <section class="lanes" aria-label="Swim lanes">
            <div class="row-actions lanes-tools" role="group" aria-label="Range of time">
                <button class="button button-small" type="button" onClick={() => zoom(0.5)}>Zoom in</button>
                <button class="button button-small" type="button" disabled={isWhole} onClick={() => zoom(2)}>Zoom out</button>
                <button class="button button-small" type="button" disabled={isWhole} onClick={() => zoom(1, -0.5)}>Earlier</button>
                <button class="button button-small" type="button" disabled={isWhole} onClick={() => zoom(1, 0.5)}>Later</button>
                <button class="button button-small" type="button" disabled={isWhole} onClick={() => setChosen(null)}>Whole</button>
                <button class="button button-small" type="button" aria-pressed={isShortened} onClick={() => setShortens(!isShortened)}>Shorten pauses</button>
                <span class="quiet number" role="status">
                    {momentOf(span.from, span)} to {momentOf(span.to, span)}, {micros(Math.round((span.to - span.from) * 1000))}: {items.length} of {messages.length} messages
                </span>
            </div>
            <Drawing lanes={lanes} items={items} span={span} isShortened={isShortened} choose={setChosen} />
            <p class="lanes-legend" aria-hidden="true">
                {["done", "refused", "failed", "unanswered", "pending"].map((outcome) => (
                    <span key={outcome}><i class="swatch" data-outcome={outcome} />{outcome}</span>
                ))}
                <span><i class="swatch swatch-wait" />waited, then handled</span>
            </p>
            <MessageTable label="Messages of the range" messages={table} />
        </section>
    );
}

function Drawing({ lanes, items, span, isShortened, choose }: {
    lanes: Lanes;
    items: readonly LaneItem[];
    span: Span;
    isShortened: boolean;
    choose: (span: Span) => void;
}) {
    const place = useRef<HTMLDivElement>(null);
    const svg = useRef<SVGSVGElement>(null);
    const width = useWidth(place);
    const [active, setActive] = useState<number | null>(null);
    const [pointed, setPointed] = useState<number | null>(null);
    const [drag, setDrag] = useState<{ from: number; to: number } | null>(null);

    const tops: number[] = [];
    let height = AXIS;
    for (const { rows } of lanes.lanes) {
        tops.push(height);
        height += TITLE + rows * ROW + GAP;
    }
    const scale = isShortened ? shortenedScale(items, span) : evenScale(span);
    const xOf = (time: number) => scale.place(time) * width;
    const count = Math.max(2, Math.floor(width / 120));
    const ticks = isShortened ? Array.from({ length: count }, (_, index) => scale.time(index / count)) : ticksOf(span, count);
    const yOf = ({ lane, row }: LaneItem) => (tops[lane] ?? AXIS) + TITLE + row * ROW + ROW / 2;
    const laneMiddle = (lane: number) => (tops[lane] ?? AXIS) + TITLE + ROW / 2;
    const numbers = new Map(lanes.lanes.map(({ name }, lane) => [name, lane]));
    const byId = new Map(lanes.items.map((item) => [item.message.id, item]));
    const shown = byId.get(pointed ?? active ?? NaN);
    const kin = shown ? kinOf(shown.message, items) : null;
    const tabbable = items.some(({ message }) => message.id === active) ? active : (items[0]?.message.id ?? null);

    const focus = (item: LaneItem | undefined) => {
        if (!item) return;
        setActive(item.message.id);
        svg.current?.querySelector<SVGElement>(`[data-id="${item.message.id}"]`)?.focus();
    };
    const onKey = (event: KeyboardEvent) => {
        const at = items.findIndex(({ message }) => message.id === active);
        const present = items[at];
        if (!present) return;
        const nearest = (lane: number) =>
            items
                .filter((item) => item.lane === lane)
                .reduce<LaneItem | undefined>((best, item) => (best && Math.abs(best.sent - present.sent) <= Math.abs(item.sent - present.sent) ? best : item), undefined);
        const beside = (step: number) => {
            for (let lane = present.lane + step; lane >= 0 && lane < lanes.lanes.length; lane += step) {
                const found = nearest(lane);
                if (found) return found;
            }
            return undefined;
        };
        switch (event.key) {
            case "ArrowRight": focus(items[at + 1]); break;
            case "ArrowLeft": focus(items[at - 1]); break;
            case "ArrowDown": focus(beside(1)); break;
            case "ArrowUp": focus(beside(-1)); break;
            case "Home": focus(items[0]); break;
            case "End": focus(items.at(-1)); break;
            default: return;
        }
        event.preventDefault();
    };

    const timeAt = (event: PointerEvent) => {
        const box = svg.current?.getBoundingClientRect();
        const part = box && box.width > 0 ? (event.clientX - box.left) / box.width : 0;
        return scale.time(Math.min(1, Math.max(0, part)));
    };
    const onDown = (event: PointerEvent) => {
        if (event.button !== 0 || (event.target as Element).closest("a")) return;
        svg.current?.setPointerCapture(event.pointerId);
        const at = timeAt(event);
        setDrag({ from: at, to: at });
    };
    const onMove = (event: PointerEvent) => {
        if (drag) setDrag({ from: drag.from, to: timeAt(event) });
    };
    const onUp = () => {
        if (!drag) return;
        setDrag(null);
        const from = Math.min(drag.from, drag.to);
        const to = Math.max(drag.from, drag.to);
        if (xOf(to) - xOf(from) >= DRAG) choose(zoomed({ from, to }, lanes.span, 1));
    };

    return (
        <>
            <p class="lanes-note">
                {shown ? (
                    <>
                        <b>{kindText(shown.message.kind)}</b> {shortId(shown.message.sender)} → {shortId(shown.message.receiver)},
                        waited {micros(shown.message.wait_us)}, handled {micros(shown.message.handling_us)}, {shown.message.outcome ?? "pending"}
                        {shown.message.note && `: ${shown.message.note}`}
                    </>
                ) : (
                    <span class="quiet">Point at a message, or move with the arrow keys; Enter opens it. Drag over the chart to choose a range.</span>
                )}
            </p>
            <div ref={place} class="lanes-place">
                <svg
                    ref={svg}
                    class="lanes-chart"
                    role="group"
                    aria-label={`${items.length} messages in the lanes of ${lanes.lanes.length} actors. The table below has the same messages.`}
                    width={width}
                    height={height}
                    viewBox={`0 0 ${width} ${height}`}
                    onKeyDown={onKey}
                    onPointerDown={onDown}
                    onPointerMove={onMove}
                    onPointerUp={onUp}
                    onPointerCancel={() => setDrag(null)}
                    onPointerLeave={() => setPointed(null)}
                >
                    <g aria-hidden="true">
                        {lanes.lanes.map(({ name, rows }, lane) => (
                            <rect key={name} class="lane-ground" data-odd={lane % 2 === 1} x={0} y={tops[lane]} width={width} height={TITLE + rows * ROW + GAP} />
                        ))}
                        {ticks.map((tick, index) => (
                            <g key={tick}>
                                <line class="lane-tick" x1={xOf(tick)} x2={xOf(tick)} y1={AXIS - 6} y2={height} />
                                <text class="lane-time" x={Math.min(xOf(tick) + 3, width - 70)} y={AXIS - 10}>{tickText(tick, isShortened ? around(ticks, index, span) : span)}</text>
                            </g>
                        ))}
                        {items.map((item) => (
                            <Line
                                key={item.message.id}
                                x={xOf(item.sent)}
                                from={lineStart(item, byId, yOf, laneMiddle, numbers)}
                                to={yOf(item)}
                                caused={byId.has(item.message.cause ?? NaN)}
                                kin={kin === null ? null : kin.has(item.message.id)}
                            />
                        ))}
                        {lanes.lanes.map(({ name }, lane) => (
                            <text key={name} class="lane-title" data-odd={lane % 2 === 1} x={8} y={(tops[lane] ?? 0) + 13}>{name}</text>
                        ))}
                    </g>
                    {items.map((item) => {
                        const { message, sent, started, ended } = item;
                        const x = Math.max(xOf(sent), -LEAST);
                        const end = Math.min(xOf(ended), width + LEAST);
                        const middle = Math.min(Math.max(xOf(started), x), end);
                        const y = yOf(item) - BAR / 2;
                        const whole = Math.max(end - x, LEAST);
                        const left = Math.min(x, width - LEAST);
                        return (
                            <a
                                key={message.id}
                                class="lane-item"
                                href={link(["messages", String(message.id)])}
                                aria-label={sentence(message)}
                                data-id={message.id}
                                data-outcome={message.outcome ?? "pending"}
                                data-far={kin !== null && !kin.has(message.id)}
                                tabindex={message.id === tabbable ? 0 : -1}
                                onFocus={() => setActive(message.id)}
                                onBlur={() => setActive(null)}
                                onPointerEnter={() => setPointed(message.id)}
                                onPointerLeave={() => setPointed(null)}
                            >
                                <rect class="lane-wait" x={left} y={y} width={whole} height={BAR} rx={2} />
                                <rect class="lane-work" x={Math.min(middle, left + whole - 2)} y={y} width={Math.max(left + whole - middle, 2)} height={BAR} rx={2} />
                            </a>
                        );
                    })}
                    {drag && <rect class="lane-drag" x={xOf(Math.min(drag.from, drag.to))} y={0} width={Math.abs(xOf(drag.to) - xOf(drag.from))} height={height} />}
                </svg>
            </div>
        </>
    );
}

/** An end of the range: with its date if that is another day. */
function momentOf(time: number, span: Span): string {
    return span.to - span.from < 5_000 ? tickText(time, span) : moment(new Date(time).toISOString());
}

/** The interval about a tick: on a shortened axis, each place has a time of its own exactness. */
function around(ticks: readonly number[], index: number, span: Span): Span {
    const tick = ticks[index] ?? span.from;
    const next = ticks[index + 1] ?? span.to;
    const last = ticks[index - 1] ?? next;
    return { from: tick, to: tick + Math.min(Math.abs(next - tick), Math.abs(tick - last)) * 4 };
}

/** The height at which a message leaves its sender: the bar of its cause, or the lane of its sender. */
function lineStart(
    item: LaneItem,
    byId: ReadonlyMap<number, LaneItem>,
    yOf: (item: LaneItem) => number,
    laneMiddle: (lane: number) => number,
    numbers: ReadonlyMap<string, number>,
): number {
    const cause = byId.get(item.message.cause ?? NaN);
    if (cause) return yOf(cause);
    const lane = numbers.get(item.message.sender);
    return lane === undefined ? yOf(item) : laneMiddle(lane);
}

function Line({ x, from, to, caused, kin }: { x: number; from: number; to: number; caused: boolean; kin: boolean | null }) {
    if (Math.abs(to - from) <= BAR) return null;
    const down = to > from ? 1 : -1;
    const tip = to - (down * BAR) / 2;
    return (
        <g class="lane-line" data-caused={caused} data-kin={kin}>
            <path d={`M${x} ${from}V${tip}`} />
            <path class="lane-arrow" d={`M${x} ${tip}l-3 ${-5 * down}h6z`} />
        </g>
    );
}

/** The messages that led to one, those that it led to, and itself. */
function kinOf(message: ActorMessage, items: readonly LaneItem[]): ReadonlySet<number> {
    const causes = new Map(items.map(({ message }) => [message.id, message.cause]));
    const kin = new Set<number>([message.id]);
    for (let cause = message.cause; cause !== null && !kin.has(cause); cause = causes.get(cause) ?? null) kin.add(cause);
    const below = new Set<number>([message.id]);
    // A consequence has a higher number than its cause, and comes later.
    for (const { message } of items) {
        if (message.cause !== null && below.has(message.cause)) below.add(message.id);
    }
    for (const id of below) kin.add(id);
    return kin;
}

/** The width of an element in pixels, as it changes. */
function useWidth(place: { readonly current: HTMLElement | null }): number {
    const [width, setWidth] = useState(800);
    useEffect(() => {
        const element = place.current;
        if (!element) return;
        const measure = () => setWidth(Math.max(200, Math.floor(element.clientWidth)));
        const observer = new ResizeObserver(measure);
        observer.observe(element);
        measure();
        return () => observer.disconnect();
    }, []);
    return width;
}
