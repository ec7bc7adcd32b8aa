// The warning that the server rejects new work and is about to stop.

import type { Incoming } from "./channel";

/** Shows, updates or removes the warning. */
export function renderDraining(message: Incoming): void {
    const shown = document.getElementById("draining");
    if (message["draining"] !== true) {
        shown?.remove();
        return;
    }
    const banner = shown ?? document.body.appendChild(document.createElement("p"));
    banner.id = "draining";
    banner.className = "draining";
    banner.setAttribute("role", "status");
    banner.textContent = warning(message["stopping"] === true, message["deadline"]);
}

/** The text of the warning, with the deadline in the reader's time zone. */
export function warning(stopping: boolean, deadline: unknown): string {
    const what = stopping ? "The server is stopping" : "The server is about to be stopped";
    const at = typeof deadline === "string" ? new Date(deadline) : null;
    if (at === null || Number.isNaN(at.getTime())) return `${what}.`;
    const time = at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
    return `${what}: sessions and runs can finish until ${time}.`;
}
