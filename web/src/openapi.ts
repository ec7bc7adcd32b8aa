// The members of an OpenAPI 3.1 document that the reference shows, and examples made from its schemas.

export interface Schema {
    $ref?: string;
    type?: string | string[];
    format?: string;
    description?: string;
    properties?: Record<string, Schema>;
    required?: string[];
    items?: Schema;
    additionalProperties?: Schema | boolean;
    enum?: unknown[];
    const?: unknown;
    default?: unknown;
    example?: unknown;
    examples?: unknown[];
    oneOf?: Schema[];
    anyOf?: Schema[];
    allOf?: Schema[];
    minimum?: number;
    maximum?: number;
    minLength?: number;
    maxLength?: number;
    maxItems?: number;
}

export interface Parameter {
    name: string;
    in: string;
    description?: string;
    required?: boolean;
    schema?: Schema;
}

export interface Operation {
    tags?: string[];
    summary?: string;
    description?: string;
    operationId?: string;
    parameters?: Parameter[];
    requestBody?: { content?: Record<string, { schema?: Schema }> };
    responses?: Record<string, { description?: string; content?: Record<string, { schema?: Schema }> }>;
    security?: unknown[];
}

export interface Document {
    info: { title: string; version: string; description?: string };
    tags?: { name: string; description?: string }[];
    paths: Record<string, Record<string, Operation>>;
    components?: { schemas?: Record<string, Schema> };
}

export const METHODS = ["get", "post", "put", "patch", "delete"] as const;

/** The most levels of a schema that are shown or exampled: some schemas contain themselves. */
const DEEPEST = 6;

/** The schema that a reference names, and its name. */
export function resolved(document: Document, schema: Schema): { schema: Schema; name: string | null } {
    let name: string | null = null;
    let found = schema;
    while (found.$ref !== undefined) {
        name = found.$ref.split("/").at(-1) ?? "";
        found = document.components?.schemas?.[name] ?? {};
    }
    return { schema: found, name };
}

function isNull(schema: Schema): boolean {
    return schema.type === "null";
}

/** The alternatives of a schema, without the one for null. */
export function choices(schema: Schema): Schema[] {
    return (schema.oneOf ?? schema.anyOf ?? []).filter((one) => !isNull(one));
}

/** A schema whose only alternative to null is another one, in place of it. */
export function plain(document: Document, given: Schema): { schema: Schema; name: string | null } {
    const found = resolved(document, given);
    const [only, ...others] = choices(found.schema);
    if (!only || others.length > 0) return found;
    const within = plain(document, only);
    // The text of the place says more than that of the type.
    const { description } = found.schema;
    return { schema: description ? { ...within.schema, description } : within.schema, name: within.name };
}

/** The type in words, such as `integer, 1 to 64`, `list of Viewer` or `"a" or "b"`. */
export function typeName(document: Document, given: Schema): string {
    const { schema, name } = plain(document, given);
    const several = choices(schema);
    if (schema.enum) return schema.enum.filter((one) => one !== null).map((one) => JSON.stringify(one)).join(" or ");
    if (several.length > 0) return [...new Set(several.map((one) => typeName(document, one)))].join(" or ");
    const types = [schema.type ?? []].flat().filter((type) => type !== "null");
    if (types.includes("array")) return `list of ${typeName(document, schema.items ?? {})}`;
    if (name !== null && (schema.properties || schema.allOf)) return name;
    const bounds =
        schema.minimum !== undefined && schema.maximum !== undefined
            ? `, ${schema.minimum} to ${schema.maximum}`
            : schema.minimum !== undefined
              ? `, from ${schema.minimum}`
              : schema.maximum !== undefined
                ? `, to ${schema.maximum}`
                : "";
    const format = schema.format && !/^u?int|^float|^double/.test(schema.format) ? ` (${schema.format})` : "";
    return `${types.join(" or ") || "any value"}${format}${bounds}`;
}

/** The members of an object, those of all its parts together. */
export function members(document: Document, given: Schema): { properties: Record<string, Schema>; required: Set<string> } {
    const { schema } = plain(document, given);
    const parts = [schema, ...(schema.allOf ?? []).map((part) => members(document, part))];
    const properties: Record<string, Schema> = {};
    const required = new Set<string>();
    for (const part of parts) {
        Object.assign(properties, part.properties ?? {});
        for (const name of part.required ?? []) required.add(name);
    }
    return { properties, required };
}

/** A value of a schema: its example or default, and otherwise one made of its type. Of a request, the required members. */
export function example(document: Document, given: Schema, whole: boolean, depth = 0): unknown {
    const { schema } = plain(document, given);
    if (schema.example !== undefined) return schema.example;
    if (schema.examples?.length) return schema.examples[0];
    if (schema.const !== undefined) return schema.const;
    if (schema.enum) return schema.enum[0];
    if (schema.default !== undefined && schema.default !== null) return schema.default;
    const [choice] = choices(schema);
    if (choice) return example(document, choice, whole, depth + 1);
    const { properties, required } = members(document, schema);
    const types = [schema.type ?? (Object.keys(properties).length ? "object" : [])].flat();
    if (depth > DEEPEST) return null;
    switch (types[0]) {
        case "object":
            return Object.fromEntries(
                Object.entries(properties)
                    .filter(([name]) => whole || required.has(name))
                    .map(([name, member]) => [name, example(document, member, whole, depth + 1)]),
            );
        case "array":
            return [example(document, schema.items ?? {}, whole, depth + 1)];
        case "integer":
        case "number":
            return schema.minimum ?? 1;
        case "boolean":
            return true;
        case "string":
            return schema.format === "date-time" ? "2026-01-01T12:00:00Z" : schema.format === "uri" ? "https://example.com" : "…";
        default:
            return null;
    }
}
