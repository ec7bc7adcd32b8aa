// Shared helpers of the page tests: a Chromium for each file, a page with its complaints, pixels.

import assert from "node:assert/strict";
import { chromium } from "playwright-core";

export const CHROMIUM = process.env.GREENROOM_CHROMIUM ?? "/usr/bin/chromium";

export function launch() {
    // Chromium's sandbox refuses to run as root.
    const args = process.getuid?.() === 0 ? ["--no-sandbox"] : [];
    return chromium.launch({ executablePath: CHROMIUM, args });
}

/** Network failures, which some tests cause. Every other complaint of a page is a failure. */
const EXPECTED = /WebSocket|Failed to load resource|Failed when connecting/;

/** Opens a tab. `complaints` has its exceptions, its errors and violations of its content policy. */
export async function open(browser, options = {}) {
    const context = await browser.newContext({
        viewport: { width: 1280, height: 800 },
        ...options,
    });
    const page = await context.newPage();
    page.complaints = [];
    page.on("pageerror", (cause) => page.complaints.push(String(cause)));
    page.on("console", (message) => {
        if (message.type() === "error" && !EXPECTED.test(message.text())) {
            page.complaints.push(message.text());
        }
    });
    page.setDefaultTimeout(10_000);
    return page;
}

export async function leave(page) {
    assert.deepEqual(page.complaints, []);
    await page.context().close();
}

/** Resolves when the page reports this state of its connection. */
export function link(page, state) {
    return page.waitForSelector(`body[data-link="${state}"]`);
}

export function holder(page, who) {
    return page.waitForSelector(`body[data-holder="${who}"]`);
}

/**
* Returns the visible colour of the picture at a point, from 0 to 1 in both directions. It is read from a
 * screenshot of the page, not from a canvas.
 */
export async function colourAt(page, x, y, selector = "#frame") {
    const box = await page.locator(selector).boundingBox();
    const clip = {
        x: Math.floor(box.x + box.width * x),
        y: Math.floor(box.y + box.height * y),
        width: 1,
        height: 1,
    };
    const png = await page.screenshot({ clip });
    return page.evaluate(async (bytes) => {
        const picture = await createImageBitmap(new Blob([Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0))]));
        const canvas = new OffscreenCanvas(1, 1);
        const context = canvas.getContext("2d");
        context.drawImage(picture, 0, 0);
        return [...context.getImageData(0, 0, 1, 1).data.slice(0, 3)];
    }, png.toString("base64"));
}

/** Repeats a check until it passes, or fails with its last failure. */
export async function eventually(check, patience = 8_000) {
    const deadline = Date.now() + patience;
    for (;;) {
        try {
            return await check();
        } catch (cause) {
            if (Date.now() >= deadline) throw cause;
            await new Promise((resolve) => setTimeout(resolve, 50));
        }
    }
}

export function near(actual, expected, tolerance = 6) {
    const far = actual.some((value, index) => Math.abs(value - expected[index]) > tolerance);
    assert.ok(!far, `expected about ${expected}, not ${actual}`);
}
