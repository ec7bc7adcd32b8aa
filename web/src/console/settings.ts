// The settings in force as rows of a table.

import type { Json, ServerConfig } from "./types";

export interface SettingRow {
    readonly name: string;
    readonly value: string;
    /** `default`, a file, a variable or a flag. */
    readonly source: string;
}

/** The settings in the order of the server, each with its source. */
export function settingRows({ settings, origins }: ServerConfig): SettingRow[] {
    return Object.entries(origins).map(([name, source]) => {
        let value: Json | undefined = settings;
        for (const part of name.split(".")) value = isObject(value) ? value[part] : undefined;
        return { name, value: valueText(value), source };
    });
}

function isObject(value: Json | undefined): value is { readonly [key: string]: Json } {
    return typeof value === "object" && value !== null && !Array.isArray(value);
}

function valueText(value: Json | undefined): string {
    if (value === null || value === undefined) return "–";
    return typeof value === "string" ? value : JSON.stringify(value);
}

/** The rows with a text in their name, value or source. */
export function matching(rows: readonly SettingRow[], text: string, changed: boolean): SettingRow[] {
    const wanted = text.toLowerCase();
    return rows.filter(
        (row) =>
            (!changed || row.source !== "default") &&
            [row.name, row.value, row.source].some((each) => each.toLowerCase().includes(wanted)),
    );
}
