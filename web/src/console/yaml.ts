// Workflows as YAML text. The server answers with JSON, and accepts both.

import type { Workflow } from "./types";

/** Fields that the server adds to parameters and blocks. */
const ADDED = /(_at|_parameter_id|^workflow_id|^output_parameter)$|^parameters$/;
/** Defaults of settings and of blocks, by the field. A field with its default value is left out. */
const DEFAULTS: Readonly<Record<string, unknown>> = {
    run_with: "agent", ai_fallback: true, cache_key: "default",
    persist_browser_session: false, reuse_browser_session: false, pin_saved_session_ip: false, is_saved_task: false,
    adaptive_caching: false, generate_script_on_terminal: false, run_sequentially: false, sanitize_on_finish: false,
    continue_on_failure: false, disable_cache: false, ignore_workflow_system_prompt: false, next_loop_on_failure: false,
    complete_if_empty: false,
};
/** Fields of a workflow that are no settings. */
const NOT_SETTINGS = new Set([
    "workflow_definition", "title", "description", "workflow_id", "workflow_permanent_id", "agent_id", "organization_id",
    "version", "is_template", "import_error", "created_by", "edited_by", "copilot_authored", "created_at", "modified_at",
    "deleted_at", "status", "folder_id",
]);

/** The part of a workflow that a person writes, without what the server adds. */
export function sourceOf(workflow: Workflow): Record<string, unknown> {
    const settings = Object.entries(workflow).filter(
        ([name, value]) => !NOT_SETTINGS.has(name) && !isLeftOut(name, value),
    );
    const { parameters, blocks, ...rest } = workflow.workflow_definition;
    const further = Object.entries(rest).filter(([name, value]) => name !== "version" && !isLeftOut(name, value));
    return {
        title: workflow.title,
        ...(workflow.description ? { description: workflow.description } : {}),
        ...Object.fromEntries(settings),
        workflow_definition: {
            parameters: parameters.filter(({ parameter_type }) => parameter_type !== "output").map(pruned),
            blocks: blocks.map(pruned),
            ...Object.fromEntries(further),
        },
    };
}

function isLeftOut(name: string, value: unknown): boolean {
    const blank = value === null || value === undefined || (Array.isArray(value) && value.length === 0);
    return blank || (name in DEFAULTS && DEFAULTS[name] === value);
}

/** A parameter or block without its identifiers, times and defaults. */
function pruned(item: object): unknown {
    const isBlock = "block_type" in item;
    const kept = Object.entries(item).flatMap(([name, value]): [string, unknown][] => {
        if (name === "parameters" && isBlock && Array.isArray(value) && value.length > 0) {
            return [["parameter_keys", value.map((used: { key?: unknown } | string) => (typeof used === "string" ? used : used.key))]];
        }
        if (ADDED.test(name) || isLeftOut(name, value)) return [];
        // The server returns the parameter itself, and is given its key.
        if (name === "loop_over") return [["loop_over_parameter_key", (value as { key: unknown }).key]];
        if (name === "loop_blocks" && Array.isArray(value)) return [[name, value.map((inner: object) => pruned(inner))]];
        return [[name, value]];
    });
    return Object.fromEntries(kept);
}

/** A value as YAML, in block style. */
export function toYaml(value: unknown, indent = ""): string {
    if (Array.isArray(value)) {
        if (value.length === 0) return "[]";
        return value
            .map((item) => {
                const text = toYaml(item, `${indent}  `);
                return isNested(item) ? `${indent}- ${text.trimStart()}` : `${indent}- ${text}`;
            })
            .join("\n");
    }
    if (typeof value === "object" && value !== null) {
        const entries = Object.entries(value).filter(([, inner]) => inner !== undefined);
        if (entries.length === 0) return "{}";
        return entries
            .map(([name, inner]) => {
                const text = toYaml(inner, `${indent}  `);
                return isNested(inner) ? `${indent}${scalar(name)}:\n${text}` : `${indent}${scalar(name)}: ${text}`;
            })
            .join("\n");
    }
    if (typeof value === "string") {
        return value.includes("\n") && /^\S/.test(value) && !/[^\x20-\x7e\n\u00a0-\ud7ff\ue000-\ufffd]/.test(value)
            ? literal(value, indent)
            : scalar(value);
    }
    return JSON.stringify(value) ?? "null";
}

function isNested(value: unknown): boolean {
    return typeof value === "object" && value !== null && Object.keys(value).length > 0;
}

/** Text of several lines, as a literal block. */
function literal(text: string, indent: string): string {
    const inner = indent === "" ? "  " : indent;
    const trailing = text.length - text.replace(/\n+$/, "").length;
    const sign = trailing === 0 ? "-" : trailing === 1 ? "" : "+";
    const body = trailing === 0 ? text : text.slice(0, -1);
    return `|${sign}\n${body.split("\n").map((line) => (line === "" ? "" : `${inner}${line}`)).join("\n")}`;
}

/** Text on one line, plain where YAML reads it as the same text. */
function scalar(text: string): string {
    const plain = /^[A-Za-z_/.](?:[A-Za-z0-9_ ./()+@,;=?'%-]|:(?=\S))*$/.test(text) && !/\s$/.test(text);
    const meaning = /^(true|false|null|yes|no|on|off|y|n|~|\.nan|[-+]?\.inf)$/i.test(text) || /^[.\d]/.test(text);
    return plain && !meaning ? text : JSON.stringify(text);
}
