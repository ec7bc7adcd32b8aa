// The warning that the server rejects new work and is about to stop.

import type { Incoming } from "./channel";

/** Shows, updates or removes the warning. */
export function renderDraining(message: Incoming): void {
    if (message["draining"] !== true) {
        clearDraining();
        return;
    }
    const banner = document.getElementById("draining") ?? document.body.appendChild(document.createElement("p"));
    banner.id = "draining";
    banner.className = "draining";
    banner.setAttribute("role", "status");
    banner.textContent = warning(message["stopping"] === true, message["deadline"]);
}

/** Removes the warning of a former connection: a server that drains reports it to each new one at once. */
export function clearDraining(): void {
    document.getElementById("draining")?.remove();
}

/**
 * The text of the warning, with the deadline in the reader's time zone. The message does not say if the sessions
 * are kept for a next server, so the text holds for both.
 */
export function warning(stopping: boolean, deadline: unknown): string {
    const what = stopping ? "The server is restarting or stopping" : "The server is about to restart or stop";
    const at = typeof deadline === "string" ? new Date(deadline) : null;
    if (at === null || Number.isNaN(at.getTime())) return `${what}. This page reconnects by itself.`;
    const time = at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
    return `${what}. Work under way can finish until ${time}. This page reconnects by itself.`;
}
