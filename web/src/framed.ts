// The view within the console: both are pages of this server.

import type { Incoming } from "./channel";

/** True if a page of this server frames the view. Pages of other origins see and receive nothing of it. */
function isInConsole(): boolean {
    try {
        return window.parent !== window && window.parent.location.origin === location.origin;
    } catch {
        return false;
    }
}

/** True if a page of another origin frames the view. */
export function isFramedElsewhere(): boolean {
    return window.parent !== window && !isInConsole();
}

/** Marks the view as framed by the console, which has the brand and the facts of the session already. */
export function markFramed(): void {
    if (isInConsole()) document.body.dataset["framed"] = "true";
}

/** Passes a message about the browser's tabs on to the console. */
export function reportToConsole(message: Incoming): void {
    if (isInConsole()) window.parent.postMessage(message, location.origin);
}
