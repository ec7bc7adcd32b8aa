// Hooks that load data: once, again every few seconds, when a version changes, or part by part.

import { useCallback, useEffect, useRef, useState } from "preact/hooks";

import { ApiError, type Part } from "../api";
import { api, notify, signOut } from "./state";

export interface Loaded<T> {
    readonly data: T | null;
    readonly failure: ApiError | null;
    readonly reload: () => void;
}

/** An error as an `ApiError`. A key that was revoked meanwhile leads back to the sign-in form. */
export function failureOf(cause: unknown): ApiError {
    if (!(cause instanceof ApiError)) return new ApiError(0, null, String(cause));
    if (cause.status === 401 || cause.code === "credentials_invalid") {
        signOut("The server does not accept this key any more.");
    }
    return cause;
}

/** Loads now, after each change of `deps`, and every `every` milliseconds while the page is visible. */
export function useLoad<T>(load: () => Promise<T>, deps: readonly unknown[], every = 0): Loaded<T> {
    const [state, setState] = useState<{ data: T | null; failure: ApiError | null }>({ data: null, failure: null });
    const [turn, setTurn] = useState(0);
    const key = JSON.stringify(deps);
    const shown = useRef(key);
    /** The turn and key of the last answer. Another interval alone is no reason to ask at once. */
    const answered = useRef<string | null>(null);

    useEffect(() => {
        let current = true;
        let timer: number | undefined;
        if (shown.current !== key) {
            shown.current = key;
            setState({ data: null, failure: null });
        }
        const again = async () => {
            window.clearTimeout(timer);
            if (!document.hidden) {
                try {
                    const data = await load();
                    if (current) setState({ data, failure: null });
                } catch (cause) {
                    const failure = failureOf(cause);
                    if (current) setState(({ data }) => ({ data, failure }));
                }
            }
            if (!current) return;
            if (!document.hidden) answered.current = `${turn} ${key}`;
            wait();
        };
        const wait = () => {
            if (every > 0) timer = window.setTimeout(() => void again(), every);
        };
        const onVisible = () => {
            if (!document.hidden) void again();
        };
        if (every > 0) document.addEventListener("visibilitychange", onVisible);
        if (answered.current === `${turn} ${key}`) wait();
        else void again();
        return () => {
            current = false;
            window.clearTimeout(timer);
            document.removeEventListener("visibilitychange", onVisible);
        };
    }, [key, turn, every]);

    const reload = useCallback(() => setTurn((value) => value + 1), []);
    return { ...state, reload };
}

/** The delay after a failed request of `useFollow`. */
const RETRY_MS = 3_000;
/** The timeout of a request that waits for a change; the server answers within 25 s. */
const FOLLOW_MS = 40_000;

/** Loads a resource with a version, and then each change of it. */
export function useFollow<T extends { readonly version: number }>(
    path: string,
    isFinal: (value: T) => boolean,
): Loaded<T> {
    const [state, setState] = useState<{ data: T | null; failure: ApiError | null }>({ data: null, failure: null });
    const [turn, setTurn] = useState(0);
    useEffect(() => {
        let current = true;
        let timer: number | undefined;
        setState(({ data }) => ({ data: turn === 0 ? null : data, failure: null }));
        const follow = async (after: number | null) => {
            let next = after;
            try {
                const query = after === null ? "" : `?after=${after}`;
                const data = await api().call<T>("GET", `${path}${query}`, undefined, FOLLOW_MS);
                if (!current) return;
                setState({ data, failure: null });
                if (isFinal(data)) return;
                next = data.version;
            } catch (cause) {
                if (!current) return;
                const failure = failureOf(cause);
                if (failure.status !== 0) next = null;
                setState(({ data }) => ({ data, failure }));
                if (failure.status === 404 || failure.refused) return;
                timer = window.setTimeout(() => void follow(next), RETRY_MS);
                return;
            }
            void follow(next);
        };
        void follow(null);
        return () => {
            current = false;
            window.clearTimeout(timer);
        };
    }, [path, turn]);
    const reload = useCallback(() => setTurn((value) => value + 1), []);
    return { ...state, reload };
}

export interface Listed<T> extends Loaded<T[]> {
    /** Loads the next part; null after the last. */
    readonly more: (() => void) | null;
}

/**
 * Loads a list part by part. The first part is loaded again every `every` milliseconds, until there are more. `load`
 * is for a list that does not have its cursor in the header of the answer.
 */
export function useList<T>(path: string, every = 0, load: (path: string) => Promise<Part<T>> = (path) => api().list<T>(path)): Listed<T> {
    const [further, setFurther] = useState<{ path: string; rows: T[]; next: string | null } | null>(null);
    const mine = further?.path === path ? further : null;
    const first = useLoad(() => load(path), [path], mine ? 0 : every);
    const next = mine ? mine.next : (first.data?.next ?? null);
    const more = useCallback(async () => {
        if (next === null) return;
        const separator = path.includes("?") ? "&" : "?";
        try {
            const part = await load(`${path}${separator}cursor=${encodeURIComponent(next)}`);
            setFurther((before) => ({
                path,
                rows: [...(before?.path === path ? before.rows : []), ...part.rows],
                next: part.next,
            }));
        } catch (cause) {
            notify(failureOf(cause).message, true);
        }
    }, [path, next]);
    const reload = useCallback(() => {
        setFurther(null);
        first.reload();
    }, [first.reload]);
    return {
        data: first.data ? [...first.data.rows, ...(mine?.rows ?? [])] : null,
        failure: first.failure,
        reload,
        more: next === null ? null : () => void more(),
    };
}
