// Helpers for the document.

/** The element with this id; the HTML and the script are built together. */
export function element<T extends HTMLElement = HTMLElement>(id: string): T {
    const found = document.getElementById(id);
    if (!found) throw new Error(`the page has no #${id}`);
    return found as T;
}

/** Writes a text only if it has changed: a screen reader speaks each write to a live region. */
export function setText(target: HTMLElement, text: string): void {
    if (target.textContent !== text) target.textContent = text;
}

export function show(target: HTMLElement, visible: boolean): void {
    target.hidden = !visible;
}

export function icon(name: string): SVGSVGElement {
    const namespace = "http://www.w3.org/2000/svg";
    const svg = document.createElementNS(namespace, "svg");
    svg.setAttribute("class", "icon");
    svg.setAttribute("aria-hidden", "true");
    const use = document.createElementNS(namespace, "use");
    use.setAttribute("href", `#i-${name}`);
    svg.append(use);
    return svg;
}
