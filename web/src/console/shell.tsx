// The frame of the console: the brand, the navigation, the theme, notices, and the page of the present route.

import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

import { AuditPage } from "./audit";
import { DebugPage } from "./debug";
import { EventsPage } from "./events-page";
import { HealthPage } from "./health";
import { KeysPage } from "./keys";
import { MessagePage } from "./message";
import { MessagesPage } from "./messages";
import { OrganizationPage, OrganizationsPage } from "./organizations";
import { Empty, Head, Icon } from "./parts";
import { ProfilePage, ProfilesPage } from "./profiles";
import { link, route } from "./router";
import { RunPage } from "./run";
import { RunsPage } from "./runs";
import { SessionPage } from "./session";
import { SessionsPage } from "./sessions";
import { Checking, SignIn } from "./sign-in";
import { type Access, access, notice, setTheme, signedIn, signOut, theme } from "./state";
import { WebhookPage, WebhooksPage } from "./webhooks";
import { NewWorkflowPage, WorkflowPage, WorkflowsPage } from "./workflows";

interface Entry {
    readonly path: string;
    readonly text: string;
    readonly icon: string;
}

const SESSIONS: Entry = { path: "sessions", text: "Sessions", icon: "grid" };
const ORGANIZATION: readonly Entry[] = [
    SESSIONS,
    { path: "runs", text: "Runs", icon: "run" },
    { path: "workflows", text: "Workflows", icon: "flow" },
    { path: "profiles", text: "Profiles", icon: "person" },
    { path: "events", text: "Events", icon: "list" },
    { path: "webhooks", text: "Webhooks", icon: "bell" },
    { path: "keys", text: "Keys and quotas", icon: "key" },
];
const OPERATOR: readonly Entry[] = [
    { path: "health", text: "Health", icon: "pulse" },
    { path: "messages", text: "Messages", icon: "lanes" },
    { path: "audit", text: "Audit", icon: "record" },
    { path: "organizations", text: "Organizations", icon: "house" },
];

function entries(access: Access): { main: readonly Entry[]; operator: readonly Entry[] } {
    switch (access.kind) {
        case "organization":
            return { main: ORGANIZATION, operator: access.admin ? OPERATOR : [] };
        case "operator":
            return { main: [], operator: OPERATOR };
        case "ticket":
            return { main: [], operator: [] };
        default:
            return { main: [SESSIONS], operator: [] };
    }
}

export function App() {
    const chosen = theme.value;
    useEffect(() => {
        if (chosen === "system") delete document.documentElement.dataset["theme"];
        else document.documentElement.dataset["theme"] = chosen;
    }, [chosen]);
    const present = signedIn.value;
    if (present === undefined) return <Checking />;
    return (
        <>
            {present === null ? <SignIn /> : <Frame />}
            <Notice />
        </>
    );
}

/** The report of the last action. It is a popover, so that it is above a modal dialog too. */
function Notice() {
    const place = useRef<HTMLDivElement>(null);
    const shown = notice.value;
    useEffect(() => {
        const popover = place.current;
        if (!popover) return;
        if (popover.matches(":popover-open")) popover.hidePopover();
        // Shown again, it is above a dialog that was opened meanwhile.
        if (shown) popover.showPopover();
    }, [shown]);
    return (
        <div ref={place} class="notice-place" popover="manual" role="status" aria-live="polite">
            {shown && <p class="notice-text" data-bad={shown.bad}>{shown.text}</p>}
        </div>
    );
}

function Frame() {
    const { path } = route.value;
    const [open, setOpen] = useState(false);
    const key = path.join("/");
    useEffect(() => {
        setOpen(false);
        window.scrollTo(0, 0);
    }, [key]);
    const { main, operator } = entries(access());
    return (
        <div class="console-app">
            <a class="skip" href="#main" onClick={(event) => {
                event.preventDefault();
                document.getElementById("main")?.focus();
            }}>
                Skip to the content
            </a>
            <aside class="side" data-open={open}>
                <div class="side-top">
                    <a class="brand" href={link([])}>
                        <svg class="mark" aria-hidden="true"><use href="#i-mark" /></svg>
                        <span class="brand-name">Greenroom</span>
                    </a>
                    <button class="icon-button side-menu" type="button" aria-expanded={open} aria-controls="nav" aria-label="Menu" onClick={() => setOpen(!open)}>
                        <Icon name={open ? "close" : "menu"} />
                    </button>
                </div>
                <nav id="nav" class="nav" aria-label="Pages">
                    <Entries of={main} />
                    {operator.length > 0 && <p class="nav-title" id="nav-operator">Operator</p>}
                    <Entries of={operator} />
                    <div class="side-end">
                        <ThemeChoice />
                        <button class="nav-link" type="button" onClick={() => signOut()}>
                            <Icon name="out" /> Sign out
                        </button>
                    </div>
                </nav>
            </aside>
            <main id="main" class="main" tabIndex={-1}>
                <Page key={key} path={path} />
            </main>
        </div>
    );
}

function Entries({ of }: { of: readonly Entry[] }) {
    if (of.length === 0) return null;
    const here = route.value.path[0] ?? of[0]?.path;
    return (
        <ul>
            {of.map(({ path, text, icon }) => (
                <li key={path}>
                    <a class="nav-link" href={link([path])} aria-current={path === here ? "page" : undefined}>
                        <Icon name={icon} /> {text}
                    </a>
                </li>
            ))}
        </ul>
    );
}

function ThemeChoice() {
    const next = { system: "light", light: "dark", dark: "system" } as const;
    const words = { system: "Theme: system", light: "Theme: light", dark: "Theme: dark" };
    return (
        <button class="nav-link" type="button" onClick={() => setTheme(next[theme.value])}>
            <Icon name="theme" /> {words[theme.value]}
        </button>
    );
}

type PageOf = (rest: readonly string[]) => JSX.Element | null;

const PAGES: Readonly<Record<string, PageOf>> = {
    sessions: ([id]) => (id ? <SessionPage id={id} /> : <SessionsPage />),
    runs: ([id]) => (id ? <RunPage id={id} /> : <RunsPage />),
    workflows: ([id, part]) => {
        if (!id) return <WorkflowsPage />;
        if (id === "new") return <NewWorkflowPage />;
        return part === "debug" ? <DebugPage id={id} /> : <WorkflowPage id={id} />;
    },
    profiles: ([id]) => (id ? <ProfilePage id={id} /> : <ProfilesPage />),
    events: () => <EventsPage />,
    webhooks: ([id]) => (id ? <WebhookPage id={id} /> : <WebhooksPage />),
    keys: () => <KeysPage />,
    health: () => <HealthPage />,
    messages: ([id]) => (id ? <MessagePage id={id} /> : <MessagesPage />),
    audit: () => <AuditPage />,
    organizations: ([id]) => (id ? <OrganizationPage id={id} /> : <OrganizationsPage />),
};

function Page({ path }: { path: readonly string[] }) {
    const present = access();
    const { main, operator } = entries(present);
    if (present.kind === "ticket") return <SessionPage id={present.session} />;
    const first = path[0] ?? (main[0] ?? operator[0])?.path ?? "sessions";
    const permitted = [...main, ...operator].some((entry) => entry.path === first);
    const page = PAGES[first];
    if (page && permitted) return page(path.slice(1));
    return (
        <>
            <Head title={page ? "Not permitted" : "There is no such page"} />
            <Empty title={page ? "Your key does not open this page" : "The address is wrong"}>
                <p>
                    {page
                        ? "Sign in with a key that has the role organization, or operator for the pages of operators."
                        : "Choose a page of the menu."}
                </p>
            </Empty>
        </>
    );
}
