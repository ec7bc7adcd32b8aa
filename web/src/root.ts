// The address below which everything of the server stands.

/**
 * The root of the server, by the address of one of its pages: `…/view/<id>` or `…/wall`. A proxy may
 * have put it below a path of its own.
 */
export function root(page: string): URL {
    return new URL(new URL(page).pathname.endsWith("/wall") ? "." : "..", page);
}
