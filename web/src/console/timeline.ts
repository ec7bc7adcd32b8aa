// The blocks of a run on a scale of time.

import type { Block, TimelineItem } from "./types";

export interface Bar {
    readonly block: Block;
    /** The depth within loops and conditions. */
    readonly depth: number;
    /** The begin and the length, as parts of the whole from 0 to 1. */
    readonly from: number;
    readonly length: number;
}

/** The bars of all blocks, in the order of their beginnings; children follow their parent. */
export function barsOf(items: readonly TimelineItem[], now: number): Bar[] {
    const flat: { block: Block; depth: number; start: number; end: number }[] = [];
    const add = (list: readonly TimelineItem[], depth: number) => {
        const ordered = [...list].sort((one, other) => Date.parse(one.block.created_at) - Date.parse(other.block.created_at));
        for (const { block, children } of ordered) {
            const start = Date.parse(block.created_at);
            const running = block.status === "running" || block.status === "paused";
            const end = running ? now : block.duration === null ? Date.parse(block.modified_at) : start + block.duration * 1000;
            flat.push({ block, depth, start, end: Math.max(start, end) });
            add(children, depth + 1);
        }
    };
    add(items, 0);
    const first = Math.min(...flat.map(({ start }) => start));
    const whole = Math.max(1, Math.max(...flat.map(({ end }) => end)) - first);
    return flat.map(({ block, depth, start, end }) => ({
        block,
        depth,
        from: (start - first) / whole,
        length: (end - start) / whole,
    }));
}
