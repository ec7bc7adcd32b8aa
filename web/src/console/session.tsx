// The page of one session: the live view, its state and queue, events, files, films, and what can be done with it.

import { useEffect, useState } from "preact/hooks";

import { ending, isFinal, shortId, standing } from "../text";
import { Explained } from "./explained";
import { useFollow } from "./load";
import { Action, Await, Copy, Dialog, Facts, Field, Head, Icon, Pill, TabPanel, Tabs } from "./parts";
import { ConnectPanel } from "./session-connect";
import { FilesPanel } from "./session-files";
import { FilmsPanel } from "./session-films";
import { HandOff } from "./session-handoff";
import { EventsPanel, type BrowserTab, NowPanel, RunsPanel } from "./session-now";
import { SettingsPanel } from "./session-settings";
import { Remaining, TagList } from "./sessions";
import { link, route, setQuery } from "./router";
import { access, api, isOperator, isWhole, notify, signedIn } from "./state";
import type { Profile, Session } from "./types";
import { moment } from "./words";

/** The server stores a profile, clears or closes a session within two minutes. */
const LONG_MS = 150_000;

export function SessionPage({ id }: { id: string }) {
    const path = `v1/browser_sessions/${encodeURIComponent(id)}`;
    const session = useFollow<Session>(path, isFinal);
    if (session.failure?.status === 404) {
        return <Head title="There is no such session" back={{ href: link(["sessions"]), text: "Sessions" }} lead={`The server knows no session ${id}, or your key does not see it.`} />;
    }
    return <Await of={session}>{(data) => <Shown session={data} path={path} reload={session.reload} />}</Await>;
}

const TABS: readonly (readonly [string, string])[] = [
    ["now", "Now"],
    ["connect", "Connect"],
    ["events", "Events"],
    ["files", "Files"],
    ["films", "Recordings"],
    ["runs", "Runs"],
    ["access", "Hand off"],
    ["settings", "Settings"],
];

/** The panels that a session has until its end. */
const LIVE_TABS = new Set(["now", "connect", "access", "settings"]);

function Shown({ session, path, reload }: { session: Session; path: string; reload: () => void }) {
    const id = session.browser_session_id;
    const whole = isWhole();
    const over = isFinal(session);
    const { tone, word } = standing(session);
    const [tabs, setTabs] = useState<readonly BrowserTab[]>([]);
    const [saving, setSaving] = useState(false);
    useEffect(() => {
        const onMessage = (event: MessageEvent) => {
            if (event.origin !== location.origin) return;
            const data = event.data as { kind?: unknown; tabs?: unknown } | null;
            if (data?.kind === "browser-tabs" && Array.isArray(data.tabs)) setTabs(data.tabs as BrowserTab[]);
        };
        window.addEventListener("message", onMessage);
        return () => window.removeEventListener("message", onMessage);
    }, []);
    const permitted = TABS.filter(([tab]) => (over ? whole && !LIVE_TABS.has(tab) : whole || tab === "now"));
    const first = permitted[0]?.[0] ?? "now";
    const asked = route.value.query.get("tab") ?? first;
    const tab = permitted.some(([name]) => name === asked) ? asked : first;

    return (
        <>
            <Head
                title={session.name ?? `Session ${shortId(id)}`}
                {...(access().kind === "ticket" ? {} : { back: { href: link(["sessions"]), text: "Sessions" } })}
                lead={
                    <span class="head-facts">
                        <Pill tone={tone}>{session.closing && !over ? "Closing" : word}</Pill>
                        <Copy text={id} label="Copy the id of the session" />
                        <Remaining session={session} />
                        <TagList of={session.tags ?? []} />
                    </span>
                }
            >
                {isOperator() && <a class="button" href={link(["messages"], { session: id, view: "lanes" })}>Messages</a>}
                {whole && !over && (
                    <>
                        <Action run={async () => { await api().call("POST", `${path}/renew`, {}); reload(); }} done="The session lives longer.">Renew</Action>
                        <button class="button" type="button" onClick={() => setSaving(true)}>Save profile</button>
                        <Action
                            run={() => api().call("POST", `${path}/close`, undefined, LONG_MS)}
                            done="The session is closed."
                            confirm="The browser ends, and its holder and viewers are disconnected. Downloads and recordings stay."
                        >
                            Close
                        </Action>
                    </>
                )}
            </Head>
            {session.warning && <p class="hint-box">{session.warning}</p>}
            <Explained path={path} version={session.version} over={over} />
            <div class="session" data-over={over}>
                {over ? <Ended session={session} /> : <Stage id={id} />}
                {permitted.length > 0 && <section class="session-side" aria-label="Details">
                    <Tabs label="Details" tabs={permitted} chosen={tab} choose={(next) => setQuery({ tab: next === first ? "" : next })} />
                    <TabPanel id={tab}>
                        {tab === "now" && <NowPanel session={session} path={path} tabs={tabs} />}
                        {tab === "connect" && <ConnectPanel key={id} session={session} path={path} />}
                        {tab === "events" && <EventsPanel path={`${path}/events`} />}
                        {tab === "files" && <FilesPanel path={path} over={over} />}
                        {tab === "films" && <FilmsPanel path={path} over={over} />}
                        {tab === "runs" && <RunsPanel path={path} id={id} over={over} />}
                        {tab === "access" && <HandOff path={path} session={session} />}
                        {tab === "settings" && <SettingsPanel session={session} path={path} reload={reload} />}
                    </TabPanel>
                </section>}
            </div>
            {saving && <SaveProfile session={session} path={path} onClose={() => setSaving(false)} />}
        </>
    );
}

/** The live view, whose own page is framed: it has the picture, the input, the clipboard and the control. */
function Stage({ id }: { id: string }) {
    const { credentials } = signedIn.peek()?.api ?? {};
    // The frame shares the storage of this tab, and so finds the credentials there.
    const stored = hasStorage();
    const secret = credentials?.kind === "key" ? "apikey" : "ticket";
    const fragment = stored || !credentials ? "" : `#${secret}=${encodeURIComponent(credentials.value)}`;
    return (
        <div class="stage-frame">
            <iframe title="Live view of the browser" src={`view/${encodeURIComponent(id)}${fragment}`} allow="clipboard-read; clipboard-write; fullscreen" />
            <p class="stage-links">
                <a href={`view/${encodeURIComponent(id)}`} target="_blank" rel="noopener">
                    <Icon name="expand" /> Open the view in a tab of its own
                </a>
            </p>
        </div>
    );
}

function hasStorage(): boolean {
    try {
        return sessionStorage.length >= 0;
    } catch {
        return false;
    }
}

function Ended({ session }: { session: Session }) {
    const { title, text, hint, log } = ending(session);
    return (
        <div class="card session-ended">
            <svg class="curtain" viewBox="0 0 120 64" aria-hidden="true">
                <path d="M4 6h112M8 6c0 22-1 38-4 54h28c8-16 12-34 12-54M112 6c0 22 1 38 4 54H88C80 44 76 26 76 6M18 6c0 20-1 36-4 54M30 6c0 20-2 36-7 54M102 6c0 20 1 36 4 54M90 6c0 20 2 36 7 54" />
            </svg>
            <h2>{title}</h2>
            <p>{text}</p>
            {hint && <p class="hint-box">{hint}</p>}
            <Facts of={[["Began", moment(session.started_at ?? session.created_at)], ["Ended", moment(session.completed_at)], ["Stage", session.failure?.stage], ["Code", session.failure?.code]]} />
            {log.length > 0 && (
                <details class="further">
                    <summary>The last lines of the log</summary>
                    <pre>{log.join("\n")}</pre>
                </details>
            )}
        </div>
    );
}

function SaveProfile({ session, path, onClose }: { session: Session; path: string; onClose: () => void }) {
    const own = session.browser_profile_id && session.browser_profile_access !== "copy" ? session.browser_profile_id : null;
    const [busy, setBusy] = useState(false);
    const [fault, setFault] = useState<string | null>(null);
    const save = async (name: string | null) => {
        setBusy(true);
        try {
            const saved = await api().call<Profile>("POST", `${path}/profile`, name === null ? {} : { name }, LONG_MS);
            notify(`Saved as “${saved.name}”.`);
            onClose();
        } catch (cause) {
            setFault(cause instanceof Error ? cause.message : String(cause));
            setBusy(false);
        }
    };
    return (
        <Dialog title="Save profile" onClose={onClose}>
            <p>A profile has the cookies, storage and settings of this browser. Later sessions start from it, logged in.</p>
            <form
                class="form"
                onSubmit={(event) => {
                    event.preventDefault();
                    const name = String(new FormData(event.currentTarget as HTMLFormElement).get("name") ?? "").trim();
                    void save(name);
                }}
            >
                <Field label="Name" fault={fault}>
                    {(field) => <input {...field} name="name" required maxLength={100} placeholder="Shop, as Ann" autofocus />}
                </Field>
                <div class="dialog-actions">
                    {own && (
                        <button class="button" type="button" disabled={busy} onClick={() => void save(null)}>
                            Store in its own profile
                        </button>
                    )}
                    <button class="button button-main" type="submit" disabled={busy}>
                        {busy ? "Saving…" : "Save as new profile"}
                    </button>
                </div>
            </form>
        </Dialog>
    );
}
