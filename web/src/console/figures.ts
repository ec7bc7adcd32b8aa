// The figures of the server that the charts show: readings of `/metrics`, and the points between two of them.

import { buckets, parseMetrics, quantile, sum, sumsBy } from "./prometheus";

/** The figures of one reading that are kept. The text itself has thousands of lines. */
export interface Reading {
    /** The time of the reading, in milliseconds since 1970. */
    readonly at: number;
    readonly sessions: Readonly<Record<string, number>>;
    readonly held: number | null;
    readonly viewers: number | null;
    readonly messages: Readonly<Record<string, number>>;
    readonly waits: readonly (readonly [number, number])[];
    readonly waitSum: number;
    readonly waitCount: number;
    readonly requests: Readonly<Record<string, number>>;
    readonly connections: number | null;
    readonly waitingQueries: number | null;
    readonly writerQueue: number | null;
    readonly commitSum: number | null;
    readonly commitCount: number | null;
    /** Null if the machine does not count it. */
    readonly memory: number | null;
}

export function readingOf(text: string, at: number): Reading {
    const samples = parseMetrics(text);
    return {
        at,
        sessions: sumsBy(samples, "greenroom_sessions", "status"),
        held: sum(samples, "greenroom_sessions_held"),
        viewers: sum(samples, "greenroom_viewers"),
        messages: sumsBy(samples, "greenroom_messages_total", "outcome"),
        waits: buckets(samples, "greenroom_message_wait_seconds"),
        waitSum: sum(samples, "greenroom_message_wait_seconds_sum") ?? 0,
        waitCount: sum(samples, "greenroom_message_wait_seconds_count") ?? 0,
        requests: sumsBy(samples, "greenroom_http_requests_total", "class"),
        connections: sum(samples, "greenroom_database_connections", { state: "in_use" }),
        waitingQueries: sum(samples, "greenroom_database_waiting_queries"),
        writerQueue: sum(samples, "greenroom_database_writer_queue"),
        commitSum: sum(samples, "greenroom_database_commit_seconds_sum"),
        commitCount: sum(samples, "greenroom_database_commit_seconds_count"),
        memory: sum(samples, "greenroom_sessions_memory_bytes"),
    };
}

/** A line of a chart: its name, and a value at the time of each reading; null where there is none. */
export interface Series {
    readonly name: string;
    readonly values: readonly (number | null)[];
}

export interface Chart {
    readonly title: string;
    readonly unit: "" | "/s" | "s" | "B";
    readonly series: readonly Series[];
    /** The reason why there are no values. */
    readonly absent: string | null;
}

/** The readings that are kept: 30 minutes, one each five seconds. */
export const MOST_READINGS = 360;

export function withReading(readings: readonly Reading[], next: Reading): Reading[] {
    return [...readings, next].slice(-MOST_READINGS);
}

/** The charts of the readings, the oldest first. */
export function chartsOf(readings: readonly Reading[]): Chart[] {
    const each = (value: (reading: Reading) => number | null | undefined) => readings.map((reading) => value(reading) ?? null);
    /** A value of two readings in a row. Counters of a server that has started anew begin at zero. */
    const between = (value: (before: Reading, after: Reading, seconds: number) => number | null) =>
        readings.map((after, index) => {
            const before = readings[index - 1];
            if (!before || after.at <= before.at) return null;
            return value(before, after, (after.at - before.at) / 1000);
        });
    const rate = (counter: (reading: Reading) => number) =>
        between((before, after, seconds) => {
            const grown = counter(after) - counter(before);
            return grown < 0 ? null : grown / seconds;
        });
    const total = (counts: Readonly<Record<string, number>>) => Object.values(counts).reduce((sum, count) => sum + count, 0);
    const statuses = [...new Set(readings.flatMap(({ sessions }) => Object.keys(sessions)))].sort();
    // Statuses that no session had are not drawn, except that of a session in use.
    const drawn = statuses.filter((status) => status === "running" || readings.some(({ sessions }) => (sessions[status] ?? 0) > 0));
    const classes = [...new Set(readings.flatMap(({ requests }) => Object.keys(requests)))].sort();
    const hasMemory = readings.some(({ memory }) => memory !== null);
    const hasWriter = readings.some(({ writerQueue }) => writerQueue !== null);
    const hasCommits = readings.some(({ commitCount }) => commitCount !== null);
    return [
        {
            title: "Sessions by status",
            unit: "",
            series: [
                ...drawn.map((status) => ({ name: status, values: each(({ sessions }) => sessions[status]) })),
                { name: "held", values: each(({ held }) => held) },
            ],
            absent: null,
        },
        {
            title: "Messages between actors",
            unit: "/s",
            series: [
                { name: "all", values: rate(({ messages }) => total(messages)) },
                { name: "not done", values: rate(({ messages }) => total(messages) - (messages["done"] ?? 0)) },
            ],
            absent: null,
        },
        {
            title: "Wait in mailboxes",
            unit: "s",
            series: [
                {
                    name: "mean",
                    values: between((before, after) => {
                        const count = after.waitCount - before.waitCount;
                        return count > 0 ? (after.waitSum - before.waitSum) / count : null;
                    }),
                },
                {
                    name: "95 % below",
                    values: between((before, after) => (after.waitCount < before.waitCount ? null : quantile(0.95, before.waits, after.waits))),
                },
            ],
            absent: null,
        },
        {
            title: "HTTP requests",
            unit: "/s",
            series: classes.map((name) => ({ name, values: rate(({ requests }) => requests[name] ?? 0) })),
            absent: null,
        },
        {
            title: "Database",
            unit: "",
            series: [
                { name: "connections in use", values: each(({ connections }) => connections) },
                { name: "waiting queries", values: each(({ waitingQueries }) => waitingQueries) },
                ...(hasWriter ? [{ name: "waiting changes", values: each(({ writerQueue }) => writerQueue) }] : []),
            ],
            absent: null,
        },
        {
            title: "Database commits",
            unit: "s",
            series: [
                {
                    name: "mean",
                    values: between((before, after) => {
                        const count = (after.commitCount ?? 0) - (before.commitCount ?? 0);
                        return count > 0 ? ((after.commitSum ?? 0) - (before.commitSum ?? 0)) / count : null;
                    }),
                },
            ],
            absent: hasCommits ? null : "Only the writer of SQLite counts them.",
        },
        {
            title: "Memory of all sessions",
            unit: "B",
            series: [{ name: "memory", values: each(({ memory }) => memory) }],
            absent: hasMemory ? null : "The machine does not count the memory of sessions (control groups).",
        },
    ];
}

/** A value of a chart as text. */
export function figure(value: number | null, unit: Chart["unit"]): string {
    if (value === null) return "–";
    switch (unit) {
        case "s":
            if (value < 0.001) return `${Math.round(value * 1e6)} µs`;
            return value < 1 ? `${(value * 1000).toFixed(value < 0.01 ? 1 : 0)} ms` : `${value.toFixed(1)} s`;
        case "B": {
            const mib = value / 1024 ** 2;
            return mib < 1024 ? `${mib.toFixed(0)} MiB` : `${(mib / 1024).toFixed(1)} GiB`;
        }
        case "/s":
            return `${value === 0 || value >= 10 ? value.toFixed(0) : value.toFixed(value < 1 ? 2 : 1)}/s`;
        case "":
            return String(Math.round(value * 10) / 10);
    }
}
