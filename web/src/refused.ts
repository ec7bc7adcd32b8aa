// The notice of a request that the session's egress policy refused. Pages of `https` cannot show it.

import type { Incoming } from "./channel";

/** The time for which a notice is shown: long enough to copy the setting. */
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

/** The text of the notice; null for a message without a text. */
export function sentence(message: unknown, count: unknown): string | null {
    if (typeof message !== "string" || message === "") return null;
    const times = typeof count === "number" && count > 1 ? ` (${count} times)` : "";
    return `Refused${times}: ${message}`;
}
