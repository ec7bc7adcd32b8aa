// The line about a request that the session's egress policy refused: pages of `https` cannot show it.

import type { Incoming } from "./channel";

/** Long enough to read it and to copy the setting. */
const SHOWN_MS = 20_000;

let timer: number | undefined;

/** Shows the latest refusal for a while. */
export function renderRefused(message: Incoming): void {
    const line = sentence(message["message"], message["count"]);
    if (line === null) return;
    const banner = document.getElementById("refused") ?? document.body.appendChild(document.createElement("p"));
    banner.id = "refused";
    banner.className = "refused";
    banner.setAttribute("role", "status");
    banner.textContent = line;
    window.clearTimeout(timer);
    timer = window.setTimeout(() => banner.remove(), SHOWN_MS);
}

/** One sentence with the way out; nothing for a message that says none. */
export function sentence(message: unknown, count: unknown): string | null {
    if (typeof message !== "string" || message === "") return null;
    const times = typeof count === "number" && count > 1 ? ` (${count} times)` : "";
    return `Refused${times}: ${message}`;
}
