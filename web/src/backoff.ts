// The exponential back-off of reconnects, with jitter, and the close codes after which a viewer must not
// reconnect.

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

    /** Counts a failure, and returns the delay before the next try, in milliseconds. */
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
* Close reasons of a failed connection, with the same codes as a rejected viewer. A machine that slept
 * receives them when it wakes, and a slow network may exceed the handshake timeout.
 */
const PASSING: readonly string[] = ["viewer-silent", "rfb-error", "websocket-error"];

/**
* True if the server rejected this viewer and would do so again: for its credentials or its missing
 * name (1002), or because it was disconnected or its ticket has ended (1008).
 */
export function shutsOut({ code, reason }: { readonly code: number; readonly reason: string }): boolean {
    return (code === 1002 || code === 1008) && !PASSING.includes(reason);
}
