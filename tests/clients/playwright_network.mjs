// The network access of a session's browser, without the rules of the DevTools proxy: each address in a
// separate page, in contexts with their own proxies, and over WebRTC.

import { createRequire } from "node:module";

const require = createRequire(new URL("../../web/package.json", import.meta.url));
const { chromium } = require("playwright-core");

const [address, key, mode, ...addresses] = process.argv.slice(2);
const browser = await chromium.connectOverCDP(address, { headers: { "x-api-key": key } });
const result = {};

async function show(context, address) {
  const page = await context.newPage();
  try {
    const response = await page.goto(address);
    const headers = response.headers();
    return headers["x-greenroom-refused"] ?? headers["x-greenroom-failed"] ?? `${response.status()}`;
  } catch (cause) {
    return /net::\w+/.exec(cause.message)?.[0] ?? cause.message;
  } finally {
    await page.close();
  }
}

const [context] = browser.contexts();
for (const address of addresses) {
  result[address] = await show(context, address);
}
if (mode === "contexts") {
  const cdp = await browser.newBrowserCDPSession();
  for (const proxyServer of ["direct://", "http://127.0.0.1:9222", "http://203.0.113.9:3128"]) {
    const { browserContextId } = await cdp.send("Target.createBrowserContext", { proxyServer });
    // Playwright accepts only contexts that it has created itself.
    const { targetId } = await cdp.send("Target.createTarget", { url: "about:blank", browserContextId });
    const { sessionId } = await cdp.send("Target.attachToTarget", { targetId, flatten: false });
    const answered = new Promise((resolve) => {
      cdp.on("Target.receivedMessageFromTarget", ({ message }) => {
        const answer = JSON.parse(message);
        if (answer.id === 1) resolve(answer.result ?? answer.error);
      });
    });
    const params = { url: addresses[0] };
    const message = JSON.stringify({ id: 1, method: "Page.navigate", params });
    await cdp.send("Target.sendMessageToTarget", { sessionId, message });
    const { errorText } = await answered;
    result[proxyServer] = errorText ?? "reached";
    await cdp.send("Target.disposeBrowserContext", { browserContextId });
  }
}
const page = await context.newPage();
result.candidates = await page.evaluate(async () => {
  const connection = new RTCPeerConnection({ iceServers: [{ urls: "stun:203.0.113.9:3478" }] });
  connection.createDataChannel("x");
  const gathered = new Promise((resolve) => {
    connection.onicegatheringstatechange = () =>
      connection.iceGatheringState === "complete" && resolve();
    // If nothing can be sent, some versions never report the end.
    setTimeout(resolve, 3000);
  });
  await connection.setLocalDescription();
  await gathered;
  return connection.localDescription.sdp.split("\n").filter((line) => line.includes("candidate:"));
});
await page.close();
await browser.close();
console.log(JSON.stringify(result));
