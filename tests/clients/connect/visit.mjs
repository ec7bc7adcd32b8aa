// Signs in on the sample site and reads a product, through the server's own tools and the TypeScript SDK.
//
//     visit.mjs SITE KEY http URL
//     visit.mjs SITE KEY stdio COMMAND…
//
// The key is in the environment `GREENROOM_API_KEY` too, where a command reads it. Prints what it read as JSON.

import assert from "node:assert/strict";

import { Agent } from "./agent.mjs";

const [site, key, way, target, ...more] = process.argv.slice(2);
const agent = await (way === "http" ? Agent.byHttp(target, key) : Agent.byStdio(target, more, process.env));

async function visit() {
    await agent.call("navigate", { url: `${site}/login.html` });
    await agent.call("type", { element: await agent.element(/textbox "Name"/), text: "Ann" });
    await agent.call("type", { element: await agent.element(/textbox "Password"/), text: "curtain" });
    await agent.call("click", { element: await agent.element(/button "Sign in"/) });
    const signed = await agent.call("snapshot");
    assert.ok(signed.includes("Signed in as Ann"), signed);
    await agent.call("navigate", { url: `${site}/products.html` });
    await agent.call("type", { element: await agent.element(/searchbox/), text: "ghost" });
    await agent.call("click", { element: await agent.element(/button "Search"/) });
    const seen = await agent.call("snapshot");
    const wanted = { who: "Signed in as Ann", product: "Ghost lamp", price: "€ 64.00" };
    for (const text of Object.values(wanted)) assert.ok(seen.includes(text), seen);
    assert.ok(!seen.includes("Gauze curtain"), seen);
    return { ...wanted, tools: agent.schemas.size, read: "snapshot", picture: true };
}

await agent.create();
try {
    console.log(JSON.stringify(await visit()));
} finally {
    await agent.call("close");
    await agent.close();
}
