// Small charts of the server's figures over the minutes that the console reads them.

import { useEffect, useState } from "preact/hooks";

import type { Api } from "../api";
import { type Chart, chartsOf, figure, type Reading, readingOf, withReading } from "./figures";
import { type Loaded, useLoad } from "./load";
import { Await } from "./parts";
import { api } from "./state";
import { moment } from "./words";

/** The interval of readings of `/metrics`. */
const EVERY_MS = 5000;
const WIDTH = 320;
const HEIGHT = 84;

/** The readings so far. They outlive the page, so that a look at a message does not begin them anew. */
let kept: { api: Api | null; readings: readonly Reading[] } = { api: null, readings: [] };

function keep(present: Api, reading: Reading): readonly Reading[] {
    if (kept.api !== present) kept = { api: present, readings: [] };
    kept = { api: present, readings: withReading(kept.readings, reading) };
    return kept.readings;
}

/** Reads the figures while a page is visible that shows them, or that leads to them. */
export function useReadings(): Loaded<readonly Reading[]> {
    const present = api();
    return useLoad(async () => keep(present, readingOf(await present.text("metrics"), Date.now())), [], EVERY_MS);
}

export function Charts({ of: readings }: { of: Loaded<readonly Reading[]> }) {
    return (
        <Await of={readings}>
            {(rows) => {
                const first = rows[0];
                return (
                    <>
                        <p class="quiet">
                            {rows.length < 2 || !first
                                ? "The figures are read each five seconds while this page is visible. Rates need two readings."
                                : `Since ${moment(new Date(first.at).toISOString())}, read each five seconds while this page is visible. For longer times, Prometheus reads /metrics.`}
                        </p>
                        <div class="charts">
                            {chartsOf(rows).map((chart) => <Figure key={chart.title} chart={chart} times={rows.map(({ at }) => at)} />)}
                        </div>
                    </>
                );
            }}
        </Await>
    );
}

function Figure({ chart, times }: { chart: Chart; times: readonly number[] }) {
    const [pointed, setPointed] = useState<number | null>(null);
    useEffect(() => setPointed(null), [times.length]);
    if (chart.absent !== null) {
        return (
            <figure class="chart">
                <figcaption>{chart.title}</figcaption>
                <p class="quiet">{chart.absent}</p>
            </figure>
        );
    }
    const first = times[0] ?? 0;
    const length = Math.max(1, (times.at(-1) ?? 1) - first);
    const values = chart.series.flatMap(({ values }) => values).filter((value) => value !== null);
    const top = Math.max(...values, chart.unit === "" ? 1 : 0);
    const xOf = (time: number) => ((time - first) / length) * WIDTH;
    const yOf = (value: number) => HEIGHT - 3 - (top > 0 ? value / top : 0) * (HEIGHT - 8);
    const at = pointed ?? times.length - 1;
    const onMove = (event: PointerEvent) => {
        const box = (event.currentTarget as Element).getBoundingClientRect();
        const time = first + ((event.clientX - box.left) / box.width) * length;
        const nearest = times.reduce((best, each, index) => (Math.abs(each - time) < Math.abs((times[best] ?? 0) - time) ? index : best), 0);
        setPointed(nearest);
    };
    const summary = chart.series.map(({ name, values }) => `${name} ${figure(values.at(-1) ?? null, chart.unit)}`).join(", ");
    return (
        <figure class="chart">
            <figcaption>
                <span>{chart.title}</span>
                <span class="quiet number">{pointed === null ? top > 0 && `to ${figure(top, chart.unit)}` : moment(new Date(times[pointed] ?? 0).toISOString())}</span>
            </figcaption>
            <svg
                class="chart-lines"
                role="img"
                aria-label={`${chart.title}: ${summary}`}
                viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
                preserveAspectRatio="none"
                onPointerMove={onMove}
                onPointerLeave={() => setPointed(null)}
            >
                <line class="chart-ground" x1={0} x2={WIDTH} y1={HEIGHT - 3} y2={HEIGHT - 3} />
                {pointed !== null && <line class="chart-cross" x1={xOf(times[pointed] ?? 0)} x2={xOf(times[pointed] ?? 0)} y1={0} y2={HEIGHT} />}
                {chart.series.map(({ name, values }, index) => (
                    <path key={name} class="chart-line" data-series={index} d={pathOf(values, times, xOf, yOf)} />
                ))}
            </svg>
            <ul class="chart-legend" aria-hidden="true">
                {chart.series.map(({ name, values }, index) => (
                    <li key={name}><i class="stroke" data-series={index} />{name} <b class="number">{figure(values[at] ?? null, chart.unit)}</b></li>
                ))}
            </ul>
        </figure>
    );
}

/** A line through the values, with a dot where a value stands alone. */
function pathOf(values: readonly (number | null)[], times: readonly number[], xOf: (time: number) => number, yOf: (value: number) => number): string {
    let path = "";
    values.forEach((value, index) => {
        if (value === null) return;
        const joined = index > 0 && values[index - 1] !== null;
        const place = `${xOf(times[index] ?? 0).toFixed(1)} ${yOf(value).toFixed(1)}`;
        path += joined ? `L${place}` : `M${place}h0.01`;
    });
    return path;
}
