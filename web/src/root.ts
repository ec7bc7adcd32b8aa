// The base address of the server.

/**
 * The base address of the server, from the address of one of its pages: `…/view/<id>`, `…/wall`, `…/docs`,
 * `…/console` or `…/`. A proxy may add a path prefix.
 */
export function root(page: string): URL {
    return new URL(/\/(wall|docs|console)?$/.test(new URL(page).pathname) ? "." : "..", page);
}
