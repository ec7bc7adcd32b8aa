// The API reference: every request of the server's own `openapi.json`, by subject. It asks for no key and sends
// nothing but the request for that document.

import { element, setText, show } from "./dom";
import { example, members, METHODS, plain, typeName, type Document, type Operation, type Schema } from "./openapi";
import { root } from "./root";

/** The levels of members that are shown within one another. */
const LEVELS = 3;

interface Entry {
    readonly row: HTMLDetailsElement;
    readonly text: string;
}

function make<K extends keyof HTMLElementTagNameMap>(
    tag: K,
    className = "",
    ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
    const made = document.createElement(tag);
    if (className) made.className = className;
    made.append(...children);
    return made;
}

/** A text whose parts between backquotes are code. */
function prose(text: string): DocumentFragment {
    const fragment = document.createDocumentFragment();
    text.split("`").forEach((part, index) => {
        fragment.append(index % 2 === 1 ? make("code", "", part) : part);
    });
    return fragment;
}

function anchor(text: string): string {
    return text.toLowerCase().replace(/[^a-z0-9]+/g, "-");
}

/** The members of an object, as a list in which each may contain another. */
function memberList(api: Document, schema: Schema, level: number): HTMLElement | null {
    const { properties, required } = members(api, schema);
    const names = Object.keys(properties);
    if (names.length === 0) return null;
    const list = make("ul", "members");
    for (const name of names) {
        const member = properties[name] ?? {};
        const item = make("li", "", make("code", "name", name), " ", make("span", "type", typeName(api, member)));
        if (required.has(name)) item.append(" ", make("span", "required", "required"));
        const described = plain(api, member).schema.description;
        if (described) item.append(make("p", "", prose(described)));
        const inner = plain(api, member).schema;
        const nested = level < LEVELS ? memberList(api, inner.items ?? inner, level + 1) : null;
        if (nested) item.append(make("details", "nested", make("summary", "", "members"), nested));
        list.append(item);
    }
    return list;
}

function json(value: unknown): HTMLElement {
    return make("pre", "", JSON.stringify(value, null, 2));
}

/** A command that sends the request, with the required members of its body. */
function command(api: Document, method: string, path: string, body: Schema | undefined): string {
    const words = [`curl -H "x-api-key: $KEY"`];
    if (method !== "get") words.push(`-X ${method.toUpperCase()}`);
    if (body) words.push(`-d '${JSON.stringify(example(api, body, false) ?? {})}'`);
    const address = new URL(path.slice(1), root(location.href)).href.replace(/%7B/gi, "{").replace(/%7D/gi, "}");
    words.push(`"${address}"`);
    return words.join(" ");
}

function parameterTable(api: Document, operation: Operation): HTMLElement | null {
    if (!operation.parameters?.length) return null;
    const list = make("ul", "members");
    for (const parameter of operation.parameters) {
        const item = make(
            "li", "", make("code", "name", parameter.name), " ",
            make("span", "type", `${parameter.in}, ${typeName(api, parameter.schema ?? {})}`),
        );
        if (parameter.required) item.append(" ", make("span", "required", "required"));
        if (parameter.description) item.append(make("p", "", prose(parameter.description)));
        list.append(item);
    }
    return list;
}

function fill(api: Document, row: HTMLElement, method: string, path: string, operation: Operation): void {
    const section = (title: string, ...content: (Node | null)[]) => {
        row.append(make("h3", "", title), ...content.filter((node) => node !== null));
    };
    if (operation.description) row.append(make("p", "", prose(operation.description)));
    const parameters = parameterTable(api, operation);
    if (parameters) section("Parameters", parameters);
    const [media, body] = Object.entries(operation.requestBody?.content ?? {})[0] ?? [];
    const isJson = media?.includes("json") ?? false;
    if (media) section(`Body, ${media}`, body?.schema ? memberList(api, body.schema, 1) : null);
    section("Example", make("pre", "", command(api, method, path, isJson ? body?.schema : undefined)));
    const answers = make("ul", "answers");
    for (const [status, answer] of Object.entries(operation.responses ?? {})) {
        const item = make("li", "", make("code", `status status-${status.slice(0, 1)}`, status), " ", prose(answer.description ?? ""));
        const schema = Object.values(answer.content ?? {})[0]?.schema;
        if (schema && status.startsWith("2")) {
            const shown = make("details", "nested", make("summary", "", typeName(api, schema)));
            const inner = plain(api, schema).schema;
            const list = memberList(api, inner.items ?? inner, 1);
            shown.append(json(example(api, schema, true)), ...(list ? [list] : []));
            item.append(shown);
        } else if (schema) {
            item.append(" ", make("span", "type", typeName(api, schema)));
        }
        answers.append(item);
    }
    section("Answers", answers);
}

function entryOf(api: Document, method: string, path: string, operation: Operation): Entry {
    const row = make("details", "operation");
    row.id = operation.operationId ?? anchor(`${method}-${path}`);
    row.append(
        make(
            "summary", "", make("code", `method method-${method}`, method.toUpperCase()), make("code", "path", path),
            make("span", "summary", prose(operation.summary ?? "")),
        ),
    );
    // Many are never opened: each is filled when it is.
    row.addEventListener("toggle", () => {
        if (row.open && row.childElementCount === 1) fill(api, row, method, path, operation);
    });
    return { row, text: `${method} ${path} ${operation.summary ?? ""} ${operation.tags?.join(" ") ?? ""}`.toLowerCase() };
}

function render(api: Document): void {
    setText(element("version"), `API ${api.info.version}`);
    element("about").append(prose(api.info.description ?? ""));
    const subjects = new Map<string, Entry[]>();
    for (const [path, item] of Object.entries(api.paths)) {
        for (const method of METHODS) {
            const operation = item[method];
            if (!operation) continue;
            const subject = operation.tags?.[0] ?? "Other";
            const entries = subjects.get(subject) ?? [];
            entries.push(entryOf(api, method, path, operation));
            subjects.set(subject, entries);
        }
    }
    const filter = element<HTMLInputElement>("filter");
    const sections = [...subjects].sort(([one], [other]) => one.localeCompare(other)).map(([subject, entries]) => {
        const described = api.tags?.find((tag) => tag.name === subject)?.description;
        const section = make("section", "subject", make("h2", "", subject));
        if (described) section.append(make("p", "about", prose(described)));
        section.append(...entries.map((entry) => entry.row));
        section.id = anchor(subject);
        const link = make("a", "", subject);
        link.href = `#${section.id}`;
        element("tags").append(link);
        element("subjects").append(section);
        return { section, link, entries };
    });
    const choose = () => {
        const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
        let any = false;
        for (const { section, link, entries } of sections) {
            let visible = false;
            for (const entry of entries) {
                const matches = words.every((word) => entry.text.includes(word));
                show(entry.row, matches);
                visible ||= matches;
            }
            show(section, visible);
            show(link, visible);
            any ||= visible;
        }
        show(element("none"), !any);
    };
    filter.addEventListener("input", choose);
    const open = () => {
        const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
        if (target instanceof HTMLDetailsElement) target.open = true;
        target?.scrollIntoView();
    };
    window.addEventListener("hashchange", open);
    open();
}

try {
    const answer = await fetch(new URL("openapi.json", root(location.href)));
    if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
    render((await answer.json()) as Document);
} catch (cause) {
    setText(element("failure"), `The description could not be loaded: ${cause instanceof Error ? cause.message : String(cause)}. Reload the page.`);
    show(element("failure"), true);
}
