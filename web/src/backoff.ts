// When to try again: soon at first, then ever later, and not all viewers at the same moment. And when
// not to.

export interface BackoffOptions {
    readonly first: number;
    readonly most: number;
    readonly random?: () => number;
}

export class Backoff {
    #tries = 0;
    readonly #first: number;
    readonly #most: number;
    readonly #random: () => number;

    constructor({ first, most, random = Math.random }: BackoffOptions) {
        this.#first = first;
        this.#most = most;
        this.#random = random;
    }

    /** Failures since the last success. */
    get tries(): number {
        return this.#tries;
    }

    /** How long to wait, in milliseconds, after one more failure. */
    next(): number {
        const full = Math.min(this.#most, this.#first * 2 ** this.#tries);
        this.#tries += 1;
        return Math.round(full * (0.8 + 0.4 * this.#random()));
    }

    reset(): void {
        this.#tries = 0;
    }
}

/**
 * What befell one connection and says nothing against its viewer, although the code is the same: a
 * machine that slept reads it when it wakes, and a slow network may be late to shake hands.
 */
const PASSING: readonly string[] = ["viewer-silent", "rfb-error", "websocket-error"];

/**
 * Whether the server shut this viewer out, and would do so again: for its credentials or its missing
 * name (1002), or because it was put out or its ticket is over (1008).
 */
export function shutsOut({ code, reason }: { readonly code: number; readonly reason: string }): boolean {
    return (code === 1002 || code === 1008) && !PASSING.includes(reason);
}
