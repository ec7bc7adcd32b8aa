// The base address of the server.

/**
* The base address of the server, from the address of one of its pages: `…/view/<id>` or `…/wall`. A proxy
 * may add a path prefix.
 */
export function root(page: string): URL {
    return new URL(new URL(page).pathname.endsWith("/wall") ? "." : "..", page);
}
