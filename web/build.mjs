// Bundles the pages into dist/: `console.html`, `view.html`, `wall.html`, `docs.html`,
// `assets/<name>-<hash>.{js,css}` and the licences of the libraries that they contain. The names of assets contain their hash, so browsers
// may cache them for ever; the HTML files must be revalidated.

import { build } from "esbuild";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));
const dist = join(here, "dist");
/** The pages, with the relative path from each to the root of the server. */
const roots = { view: "../", wall: "", docs: "", console: "" };
/** The script of each page. */
const scripts = { view: "view.ts", wall: "wall.ts", docs: "docs.ts", console: "console.tsx" };
const pages = Object.keys(roots);

await rm(dist, { recursive: true, force: true });
await mkdir(join(dist, "licenses"), { recursive: true });

const { metafile } = await build({
    absWorkingDir: here,
    entryPoints: pages.flatMap((page) => [`src/${scripts[page]}`, `src/styles/${page}.css`]),
    outdir: "dist/assets",
    entryNames: "[name]-[hash]",
    bundle: true,
    minify: true,
    format: "esm",
    target: "es2022",
    jsx: "automatic",
    jsxImportSource: "preact",
    legalComments: "none",
    metafile: true,
    logLevel: "warning",
});

/** The built file of each entry point, by the name in the HTML. */
const built = new Map(
    Object.entries(metafile.outputs)
        .filter(([, output]) => output.entryPoint)
        .map(([file, output]) => [basename(output.entryPoint), `assets/${basename(file)}`]),
);

const icons = await readFile(join(here, "src/icons.svg"), "utf8");
for (const page of pages) {
    const source = await readFile(join(here, `src/${page}.html`), "utf8");
    const html = source
        .replace("<!-- icons -->", () => icons.trim())
        .replace(/\{\{ (\S+) \}\}/g, (_, name) => {
            const file = built.get(name);
            if (!file) throw new Error(`${page}.html asks for ${name}, which was not built`);
            // Relative, so that the pages work below any path of a proxy.
            return `${roots[page]}${file}`;
        });
    await writeFile(join(dist, `${page}.html`), html);
}

const novnc = join(here, "node_modules/@novnc/novnc");
const { version } = JSON.parse(await readFile(join(novnc, "package.json"), "utf8"));
const parts = [
    `The view page contains noVNC ${version}, whose source is published as the npm package\n` +
        `@novnc/novnc, version ${version}. It in turn contains pako. Their licences follow.\n`,
    ...(await Promise.all(
        ["LICENSE.txt", "docs/LICENSE.MPL-2.0", "vendor/pako/LICENSE"].map((file) =>
            readFile(join(novnc, file), "utf8"),
        ),
    )),
];
await writeFile(join(dist, "licenses/novnc.txt"), parts.join(`\n${"-".repeat(78)}\n\n`));

const preact = await Promise.all(
    ["preact", "@preact/signals", "@preact/signals-core"].map(async (name) => {
        const folder = join(here, "node_modules", name);
        const { version } = JSON.parse(await readFile(join(folder, "package.json"), "utf8"));
        const licence = await readFile(join(folder, "LICENSE"), "utf8");
        return `The console contains ${name} ${version}. Its licence follows.\n\n${licence}`;
    }),
);
await writeFile(join(dist, "licenses/preact.txt"), preact.join(`\n${"-".repeat(78)}\n\n`));

for (const [file, { bytes }] of Object.entries(metafile.outputs)) {
    console.log(`${file}  ${(bytes / 1024).toFixed(1)} kB`);
}
