// Files from the server: their addresses, and saving them.

import { root } from "../root";

/**
 * The address of an artifact on the server that this page is from. The server names its own base address, which
 * may be another one than that of the browser; the content policy permits only the page's.
 */
export function artifactAddress(signed: string, page = location.href): string {
    const url = new URL(signed, page);
    const at = url.pathname.lastIndexOf("/v1/");
    return new URL(url.pathname.slice(at + 1) + url.search, root(page)).toString();
}

/** Saves a file under a name, as a download of the person's browser. */
export function saveBlob(blob: Blob, name: string): void {
    const address = URL.createObjectURL(blob);
    const anchor = document.createElement("a");
    anchor.href = address;
    anchor.download = name;
    anchor.click();
    // The download reads the address after this task.
    window.setTimeout(() => URL.revokeObjectURL(address), 60_000);
}
