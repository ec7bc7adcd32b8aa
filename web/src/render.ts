// The rendering of the view page.

import type { Run, Session, SessionStatus } from "./api";
import type { Incoming } from "./channel";
import { type Control, isAsking, mayAsk } from "./control";
import { element, setText, show } from "./dom";
import type { Link } from "./screen";
import { type Ending, ending, endOf, occupant, remaining, standing } from "./text";

/** The remaining time below which the time is shown in amber. */
const SHORT_MS = 5 * 60_000;

export function renderSession(session: Session, run: Run | null): void {
    const { tone, word } = standing(session);
    element("status").dataset["tone"] = tone;
    setText(element("status-word"), word);

    const chip = element("occupant");
    const block = run?.blocks?.find(({ status }) => status === "running");
    const title = run?.title ?? run?.run_request?.title ?? occupant(session);
    const label = block?.label ?? block?.block_type;
    setText(chip, [title, label].filter(Boolean).join(" · "));
    chip.title = session.occupancy?.runnable_id ?? "";
    show(chip, occupant(session) !== null);
}

export function renderTime(session: Session, now: number): void {
    const end = endOf(session);
    const time = element("time");
    show(time, end !== null);
    if (end === null) return;
    const left = end - now;
    time.dataset["short"] = String(left < SHORT_MS);
    setText(element("time-left"), remaining(left));
}

/** `pictures` replace the live picture; `driven` is true if they accept this viewer's input. */
export function renderLink(
    link: Link,
    pictures: "none" | "cast" | "stills",
    driven: boolean,
    status: SessionStatus | null,
): void {
    const stillShown = pictures !== "none";
    document.body.dataset["link"] = link.state;
    document.body.dataset["stills"] = String(stillShown);
    document.body.dataset["driven"] = String(driven);
    const live = link.state === "live";
    show(element("veil"), !live && !stillShown);
    show(element("still-note"), !live && stillShown);
    const what = pictures === "cast" ? "The page only, without its window." : "Pictures only.";
    setText(element("still-word"), `${what} The live stream is being retried.`);
    if (live) return;

    const refused = link.state === "refused";
    const waiting = link.state === "waiting";
    const first = link.state === "connecting" && link.tries === 0;
    let title = "The live picture was interrupted";
    let text = "Reconnecting";
    if (refused) {
        title = "The server disconnected you";
        text = "Another person disconnected you, or your access has ended. You can connect again.";
    } else if (status === "created") {
        title = "The browser is starting";
        text = "The picture appears when the browser runs.";
    } else if (status === "retry") {
        title = "The browser is recovering";
        text = "A part of it crashed. The session stays the same.";
    } else if (first) {
        title = "Connecting";
        text = "";
    } else if (waiting) {
        const seconds = Math.max(1, Math.ceil((link.until - Date.now()) / 1000));
        text = `Trying again in ${seconds} s`;
    }
    setText(element("veil-title"), title);
    setText(element("veil-text"), text);
    show(element("veil-spinner"), !refused);
    setText(element("veil-retry"), refused ? "Connect again" : "Try now");
    show(element("veil-retry"), refused || (waiting && link.until - Date.now() > 1500));
}

/** `driven` is true if a run or a client holds the session; null if that is not known yet. */
export function renderControl(control: Control, driven: boolean | null): void {
    const asking = isAsking(control);
    const everybody = control.channel === "absent" && control.role !== "watch";
    const holder = everybody ? "everyone" : control.holder;
    document.body.dataset["holder"] = holder;
    const badge = element("control");
    badge.dataset["holder"] = holder;

    let word = driven ? "The agent is driving" : "No agent is driving";
    if (everybody) word = "Every viewer can type";
    else if (control.holder === "you") word = "You have control";
    else if (control.holder === "other") word = `${control.name ?? "Another person"} has control`;
    else if (control.channel === "unknown" || driven === null) word = "Watching";
    else if (control.channel === "shut") word = "Disconnected";
    if (asking) word = "Requesting control";
    else if (control.refused) word = control.refused;
    setText(element("control-word"), word);

    const role = element("role");
    show(role, control.role === "watch");
    setText(role, "Watch only");

    const take = element<HTMLButtonElement>("take");
    const yours = control.holder === "you" || asking;
    show(take, mayAsk(control));
    take.disabled = control.channel !== "open";
    take.classList.toggle("button-main", !yours);
    take.classList.toggle("button-warm", yours);
    setText(element("take-word"), yours ? (asking ? "Cancel" : "Release control") : "Take control");
}

interface Tab {
    readonly title: string;
    readonly url: string;
    readonly active: boolean;
}

/** Shows the active page, and the list of tabs if there are several. */
export function renderPage(message: Incoming): void {
    if (message.kind === "browser-url") {
        if (typeof message["url"] === "string") showPage(null, message["url"]);
        return;
    }
    const tabs = Array.isArray(message["tabs"]) ? message["tabs"].map(tabFrom) : [];
    const front = tabs.find(({ active }) => active) ?? tabs[0];
    if (front) showPage(front.title, front.url);
    show(element("tabs"), tabs.length > 1);
    element("tab-list").replaceChildren(
        ...tabs.map((tab) => {
            const item = document.createElement("li");
            item.textContent = tab.title || tab.url || "New tab";
            item.title = tab.url;
            if (tab.active) item.setAttribute("aria-current", "page");
            return item;
        }),
    );
}

function tabFrom(tab: unknown): Tab {
    const fields = (typeof tab === "object" && tab !== null ? tab : {}) as Record<string, unknown>;
    const text = (value: unknown) => (typeof value === "string" ? value : "");
    return {
        title: text(fields["title"]),
        url: text(fields["url"]),
        active: fields["active"] === true,
    };
}

function showPage(title: string | null, url: string): void {
    if (title !== null) {
        setText(element("page-title"), title);
        document.title = title ? `${title} · Greenroom` : "Greenroom";
    }
    setText(element("page-url"), url.replace(/^https?:\/\//, ""));
    element("page").title = url;
    show(element("page"), true);
}

export function renderEnd(id: string, known: Ending | null, session: Session | null): void {
    const words = known ?? ending(session ?? { browser_session_id: id });
    document.body.dataset["link"] = "ended";
    document.body.dataset["ending"] = session?.status ?? "unknown";
    for (const part of ["frame", "dock", "tabs", "page", "occupant", "time", "clipboard", "profile"]) {
        show(element(part), false);
    }
    const status = session ? standing(session) : { tone: "over", word: "Not found" };
    element("status").dataset["tone"] = status.tone;
    setText(element("status-word"), status.word);

    setText(element("end-title"), words.title);
    setText(element("end-text"), words.text);
    setText(element("end-hint"), words.hint ?? "");
    show(element("end-hint"), Boolean(words.hint));
    setText(element("end-log-text"), words.log.join("\n"));
    show(element("end-log"), words.log.length > 0);
    setText(element("end-id"), id);
    const end = element("end");
    show(end, true);
    end.focus({ preventScroll: true });
    document.title = `${words.title} · Greenroom`;
}
