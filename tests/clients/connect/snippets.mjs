// Prints the snippets of the console as JSON, with these values in them.
//
//     snippets.mjs VALUES

import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

const web = new URL("../../../web/", import.meta.url);
const { build } = createRequire(new URL("package.json", web))("esbuild");

const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL("src/console/snippets.ts", web))],
    bundle: true,
    format: "esm",
    write: false,
});
const { SNIPPETS } = await import(`data:text/javascript;base64,${Buffer.from(outputFiles[0].contents).toString("base64")}`);
const values = JSON.parse(process.argv[2]);
const plain = { ...values, ticket: null };
console.log(JSON.stringify(SNIPPETS.map(({ id, takesTicket, text }) => ({
    id,
    plain: text(plain),
    withTicket: takesTicket ? text(values) : null,
}))));
