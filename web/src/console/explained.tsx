// The server's explanation of a session or run, shown while something is wrong or waits.

import { shortId } from "../text";
import { useLoad } from "./load";
import { Prose } from "./parts";
import { link } from "./router";
import { api, isWhole } from "./state";
import type { Explanation } from "./types";

/** A cause such as a stopped program changes no version of the session, so it is asked for again. */
const EVERY_MS = 10_000;

export function Explained({ path, version, over }: { path: string; version: number; over: boolean }) {
    return isWhole() ? <Loaded path={path} version={version} over={over} /> : null;
}

function Loaded({ path, version, over }: { path: string; version: number; over: boolean }) {
    const { data } = useLoad(() => api().call<Explanation>("GET", `${path}/explain`), [path, version], over ? 0 : EVERY_MS);
    if (!data || data.well) return null;
    return (
        <section class="explained hint-box" aria-label="Explanation" data-cause={data.cause}>
            <p><Linked of={data.summary} /></p>
            {data.details.length > 0 && (
                <details class="further">
                    <summary>More</summary>
                    <ul class="plain">
                        {data.details.map((line) => <li key={line}><Linked of={line} /></li>)}
                    </ul>
                </details>
            )}
        </section>
    );
}

/** A sentence whose sessions and runs are links to their pages. */
function Linked({ of }: { of: string }) {
    return (
        <>
            {of.split(/\b((?:pbs|wr)_\d+)\b/).map((part, index) => {
                if (index % 2 === 0) return <Prose key={index} of={part} />;
                const page = part.startsWith("wr_") ? "runs" : "sessions";
                return <a key={index} href={link([page, part])}>{shortId(part)}</a>;
            })}
        </>
    );
}
