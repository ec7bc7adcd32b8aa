// The text format of Prometheus, as far as `/metrics` uses it.

export interface Sample {
    readonly name: string;
    readonly labels: Readonly<Record<string, string>>;
    readonly value: number;
}

const LINE = /^([A-Za-z_:][\w:]*)(?:\{((?:[^"}]|"(?:[^"\\]|\\.)*")*)\})?\s+(\S+)/;
const LABEL = /([A-Za-z_]\w*)\s*=\s*"((?:[^"\\]|\\.)*)"/g;

/** The samples of a text. Comments, and lines that cannot be read, are left out. */
export function parseMetrics(text: string): Sample[] {
    return text.split("\n").flatMap((line) => {
        const found = LINE.exec(line);
        if (!found) return [];
        const [, name = "", labels = "", number = ""] = found;
        const value = numberOf(number);
        if (value === null) return [];
        return [{ name, labels: Object.fromEntries([...labels.matchAll(LABEL)].map(([, key = "", raw = ""]) => [key, unescaped(raw)])), value }];
    });
}

function numberOf(text: string): number | null {
    if (/^[+]?Inf$/i.test(text)) return Infinity;
    if (/^-Inf$/i.test(text)) return -Infinity;
    const value = Number(text);
    return Number.isNaN(value) ? null : value;
}

function unescaped(text: string): string {
    return text.replace(/\\(.)/g, (_, mark: string) => (mark === "n" ? "\n" : mark));
}

/** The sum of the samples with this name, and with these labels; null without any. */
export function sum(samples: readonly Sample[], name: string, labels: Readonly<Record<string, string>> = {}): number | null {
    let total: number | null = null;
    for (const sample of samples) {
        if (sample.name !== name) continue;
        if (Object.entries(labels).some(([key, value]) => sample.labels[key] !== value)) continue;
        total = (total ?? 0) + sample.value;
    }
    return total;
}

/** The sums of the samples with this name, by the value of a label. */
export function sumsBy(samples: readonly Sample[], name: string, label: string): Record<string, number> {
    const sums: Record<string, number> = {};
    for (const sample of samples) {
        if (sample.name !== name) continue;
        const key = sample.labels[label] ?? "";
        sums[key] = (sums[key] ?? 0) + sample.value;
    }
    return sums;
}

/** A histogram over all of its labels: the counts up to each bound, by the rising bound. */
export function buckets(samples: readonly Sample[], name: string): readonly (readonly [bound: number, count: number])[] {
    const counts = Object.entries(sumsBy(samples, `${name}_bucket`, "le"));
    return counts
        .map(([bound, count]) => [numberOf(bound) ?? NaN, count] as const)
        .filter(([bound]) => !Number.isNaN(bound))
        .sort(([one], [other]) => one - other);
}

/**
 * The bound below which a part of the observations between two readings of a histogram lies, as `histogram_quantile`
 * estimates it; null without observations.
 */
export function quantile(
    part: number,
    before: readonly (readonly [number, number])[],
    after: readonly (readonly [number, number])[],
): number | null {
    const former = new Map(before);
    const counts = after.map(([bound, count]) => [bound, count - (former.get(bound) ?? 0)] as const);
    const all = counts.at(-1)?.[1] ?? 0;
    if (all <= 0) return null;
    const rank = part * all;
    let below = 0;
    let floor = 0;
    for (const [bound, count] of counts) {
        if (count >= rank) {
            if (!Number.isFinite(bound)) return floor;
            return floor + (bound - floor) * (count === below ? 1 : (rank - below) / (count - below));
        }
        below = count;
        floor = bound;
    }
    return floor;
}
