// Tests of the view page with the fake server: the picture, input, control, reconnects, the end.

import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";

import { KEY, session, startFake, testPicture, TICKET } from "./fake-server.mjs";
import { colourAt, eventually, holder, launch, leave, link, near, open } from "./support.mjs";

const ID = "pbs_0193af2c7e1b77ab8d10e1";
const RED = [210, 60, 60];
const GREEN = [60, 170, 90];
const BLUE = [60, 90, 210];

let browser;
let fake;

before(async () => {
    browser = await launch();
});

after(async () => {
    await browser.close();
});

beforeEach(async () => {
    fake = await startFake();
    fake.sessions.set(ID, session(ID));
});

afterEach(() => fake.stop());

const address = (credentials = `#apikey=${KEY}`) => `${fake.base}/view/${ID}${credentials}`;

async function watching(credentials, options) {
    const page = await open(browser, options);
    await page.goto(address(credentials));
    await link(page, "live");
    await eventually(async () => near(await colourAt(page, 1 / 6, 0.5), RED));
    return page;
}

async function clickPicture(page, x, y) {
    const box = await page.locator("#frame").boundingBox();
    await page.mouse.click(box.x + box.width * x, box.y + box.height * y);
}

const pointers = () => fake.seen.filter(({ kind, mask }) => kind === "pointer" && mask === 1);

test("it draws what the server shows, and leaves no key in the address", async () => {
    const page = await watching();
    near(await colourAt(page, 0.5, 0.5), GREEN);
    near(await colourAt(page, 5 / 6, 0.5), BLUE);
    assert.equal(page.url(), `${fake.base}/view/${ID}`);
    const [vnc] = [...fake.sockets].filter(({ kind }) => kind === "vnc");
    const [messages] = [...fake.sockets].filter(({ kind }) => kind === "messages");
    assert.match(vnc.protocols, /^binary,\s?greenroom\.(apikey|ticket)\.[\w-]+$/);
    assert.equal(vnc.protocol, "binary");
    assert.doesNotMatch(vnc.address, /apikey|ticket/);
    const uuid = "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}";
    assert.match(vnc.client, new RegExp(`^${uuid}\\.${uuid}$`));
    assert.equal(vnc.client, messages.client);

    // Another tab of the same browser is a separate page of the same person.
    const other = await page.context().newPage();
    await other.goto(address());
    await link(other, "live");
    const names = [...fake.sockets].filter(({ kind }) => kind === "vnc").map(({ client }) => client.split("."));
    assert.equal(names.length, 2);
    assert.equal(names[0][0], names[1][0]);
    assert.notEqual(names[0][1], names[1][1]);
    await other.close();
    await leave(page);
});

test("a ticket opens it as well, from the fragment or the query", async () => {
    for (const credentials of [`#ticket=${TICKET}`, `?ticket=${TICKET}`]) {
        const page = await watching(credentials);
        assert.equal(page.url(), `${fake.base}/view/${ID}`);
        await page.reload();
        await link(page, "live");
        await leave(page);
    }
});

test("without a key it asks for one, and again when that is wrong", async () => {
    const page = await open(browser);
    await page.goto(address(""));
    await page.fill("#gate-key", "wrong");
    await page.keyboard.press("Enter");
    await page.waitForSelector("#gate-complaint:not([hidden])");
    assert.equal(await page.textContent("#gate-complaint"), "This API key is not known.");
    await page.fill("#gate-key", KEY);
    await page.keyboard.press("Enter");
    await link(page, "live");
    await eventually(async () => near(await colourAt(page, 1 / 6, 0.5), RED));
    await leave(page);
});

test("control is taken, used, and handed back", async () => {
    const page = await watching();
    await holder(page, "agent");
    await eventually(async () =>
        assert.equal(await page.textContent("#control-word"), "No agent is driving"),
    );
    await clickPicture(page, 0.5, 0.5);
    assert.equal(pointers().length, 0, "a click went out without control");

    await page.click("#take");
    await holder(page, "you");
    assert.equal(await page.textContent("#control-word"), "You have control");
    await clickPicture(page, 0.5, 0.5);
    await eventually(async () => near(await colourAt(page, 0.5, 0.5), [255, 255, 255]));
    const { x, y } = pointers().at(-1);
    assert.ok(Math.abs(x - 400) <= 1 && Math.abs(y - 250) <= 1, `clicked at ${x}, ${y}`);
    await page.keyboard.press("a");
    await eventually(() => assert.ok(fake.seen.some(({ keysym }) => keysym === 0x61)));

    // The picture captures all keys but this shortcut, which leaves it.
    await page.keyboard.press("Shift+F6");
    assert.equal(await page.evaluate(() => document.activeElement.id), "take");
    await page.keyboard.press("Enter");
    await holder(page, "agent");
    const kinds = fake.said.map(({ kind }) => kind).filter((kind) => kind.endsWith("control"));
    assert.deepEqual(kinds, ["take-control", "cede-control"]);
    await leave(page);
});

test("a server that says nothing of control gives it as asked", async () => {
    fake.announces = false;
    const page = await watching();
    await page.click("#take");
    await holder(page, "you");
    await clickPicture(page, 0.5, 0.5);
    await eventually(async () => near(await colourAt(page, 0.5, 0.5), [255, 255, 255]));
    await leave(page);
});

test("while another person has control, it is refused by name", async () => {
    fake.held = "somebody";
    const page = await watching();
    await holder(page, "other");
    assert.equal(await page.textContent("#control-word"), "Ann has control");
    await page.click("#take");
    await page.waitForFunction(() => document.querySelector("#take-word").textContent === "Take control");
    await holder(page, "other");
    fake.held = null;
    fake.announce();
    await holder(page, "agent");
    await leave(page);
});

test("a watcher is offered no control", async () => {
    fake.role = "watch";
    const page = await watching();
    await page.waitForSelector("#role:not([hidden])");
    assert.equal(await page.isVisible("#take"), false);
    await clickPicture(page, 0.5, 0.5);
    await page.mouse.move(10, 10);
    assert.equal(fake.seen.filter(({ kind }) => kind === "pointer").length, 0);
    await leave(page);
});

test("where there is no message channel, everybody's input goes through", async () => {
    fake.messages = "refused";
    const page = await watching();
    await holder(page, "everyone");
    assert.equal(await page.isVisible("#take"), false);
    await clickPicture(page, 0.5, 0.5);
    await eventually(async () => near(await colourAt(page, 0.5, 0.5), [255, 255, 255]));
    await page.click("#clipboard-button");
    await page.fill("#clipboard-text", "one-time code 483 920");
    await page.click("#clipboard-paste");
    await eventually(() =>
        assert.ok(fake.seen.some(({ text }) => text === "one-time code 483 920")),
    );
    await leave(page);
});

test("after the sockets dropped it is back, with the control it had", async () => {
    const page = await watching();
    await page.click("#take");
    await holder(page, "you");

    fake.vnc = "refused";
    fake.cut("vnc");
    await page.waitForSelector("#veil:not([hidden])");
    // The last frame stays, dimmed.
    const [red, green] = await colourAt(page, 1 / 6, 0.2);
    assert.ok(red > green && red < RED[0], `the last frame is gone: ${red}, ${green}`);

    // The server loses its state, as after a restart.
    fake.held = null;
    fake.cut("messages");
    fake.vnc = "on";
    await link(page, "live");
    await holder(page, "you");
    await eventually(async () => near(await colourAt(page, 1 / 6, 0.2), RED));
    await eventually(() => assert.notEqual(fake.held, null));
    await leave(page);
});

test("control that the server takes away is not asked for again", async () => {
    const page = await watching();
    await page.click("#take");
    await holder(page, "you");
    fake.held = null;
    fake.announce();
    await holder(page, "agent");
    fake.cut("messages");
    await eventually(() => assert.ok([...fake.sockets].some(({ kind }) => kind === "messages")));
    await holder(page, "agent");
    assert.equal(fake.said.filter(({ kind }) => kind === "take-control").length, 1);
    await leave(page);
});

test("a message channel that comes late ends everybody's input", async () => {
    fake.messages = "refused";
    const page = await watching();
    await holder(page, "everyone");
    fake.messages = "on";
    await holder(page, "agent");
    assert.equal(await page.isEnabled("#take"), true);
    await clickPicture(page, 0.5, 0.5);
    assert.equal(pointers().length, 0, "a click went out without control");
    await leave(page);
});

test("a server that is not ready yet has a message channel all the same", async () => {
    fake.messages = [1013, "not ready"];
    const page = await watching();
    await eventually(() => assert.ok(fake.dials.messages >= 5), 12_000);
    await holder(page, "agent");
    fake.messages = "on";
    await page.evaluate(() => window.dispatchEvent(new Event("online")));
    await eventually(() => assert.ok([...fake.sockets].some(({ kind }) => kind === "messages")));
    await page.waitForSelector("#take:enabled");
    await leave(page);
});

test("who was put out does not come back, and who was only silent does", async () => {
    const page = await watching();
    await page.click("#take");
    await holder(page, "you");
    fake.close("messages", 1008, "viewer-silent");
    await eventually(() => assert.equal(fake.dials.messages, 2));
    await holder(page, "you");
    fake.held = null;
    fake.close("messages", 1008, "put-out");
    await page.waitForSelector("#take:disabled");
    await page.evaluate(() => window.dispatchEvent(new Event("online")));
    await page.waitForTimeout(2_000);
    assert.equal(fake.dials.messages, 2);
    assert.equal(fake.held, null);
    await holder(page, "agent");
    await leave(page);
});

/** Opens a page that has control, with a clock that the test sets. Also returns the sockets that it opens. */
async function underControl() {
    const page = await open(browser);
    const dialled = [];
    page.on("websocket", (socket) => dialled.push(socket.url()));
    await page.clock.install();
    await page.goto(address());
    await link(page, "live");
    await page.waitForSelector("#take:enabled");
    await page.click("#take");
    await holder(page, "you");
    return { page, dialled };
}

/** Advances a page's clock by a minute, and makes the page visible again. */
async function tempt(page) {
    await page.clock.fastForward(60_000);
    await page.evaluate(() => {
        window.dispatchEvent(new Event("online"));
        document.dispatchEvent(new Event("visibilitychange"));
    });
    await page.clock.fastForward(60_000);
}

test("who is put out by either socket is told so, and is back only by asking", async () => {
    for (const kind of ["vnc", "messages"]) {
        const { page, dialled } = await underControl();
        fake.held = null;
        fake.close(kind, 1008, "put-out");
        await link(page, "refused");
        await eventually(() => assert.equal(fake.sockets.size, 0));
        await page.waitForSelector("#veil:not([hidden])");
        assert.equal(await page.textContent("#veil-title"), "The server disconnected you");
        assert.equal(await page.textContent("#control-word"), "Disconnected");
        assert.equal(await page.isVisible("#veil-spinner"), false);
        assert.equal(await page.isEnabled("#take"), false);
        const before = dialled.length;
        await tempt(page);
        assert.equal(dialled.length, before, `it dialled ${dialled.slice(before)}`);
        assert.equal(await page.isVisible("#still-note"), false);

        fake.said.length = 0;
        await page.click('button:text("Connect again")');
        await link(page, "live");
        await page.waitForSelector("#take:enabled");
        // A request for control would precede these messages.
        const expected = [{ kind: "handle-file-choosers" }, { kind: "get-browser-url" }];
        await eventually(() => assert.deepEqual(fake.said, expected));
        await holder(page, "agent");
        await leave(page);
    }
});

test("who is turned away at the door gets no other picture, and is let in by asking", async () => {
    fake.vnc = [1002, "Invalid credentials"];
    fake.cast = "on";
    const page = await open(browser);
    await page.clock.install();
    await page.goto(address());
    await link(page, "refused");
    await tempt(page);
    fake.vnc = "on";
    await page.click('button:text("Connect again")');
    await link(page, "live");
    assert.deepEqual([fake.dials.vnc, fake.dials.cast, fake.shots], [2, undefined, 0]);
    await page.waitForSelector("#take:enabled");
    await leave(page);
});

test("after a long absence control is not asked for again", async () => {
    const page = await open(browser);
    await page.clock.install();
    await page.goto(address());
    await link(page, "live");
    await page.click("#take");
    await holder(page, "you");
    fake.messages = "refused";
    fake.held = null;
    fake.cut("messages");
    await page.waitForSelector("#take:disabled");
    await page.clock.fastForward(31_000);
    fake.messages = "on";
    await page.waitForSelector("#take:enabled", { timeout: 20_000 });
    await page.waitForTimeout(300);
    await holder(page, "agent");
    assert.equal(fake.said.filter(({ kind }) => kind === "take-control").length, 1);
    await leave(page);
});

test("sockets that died without a word are dialled again", async () => {
    const page = await open(browser);
    await page.clock.install();
    await page.goto(address());
    await link(page, "live");
    const asked = () => fake.said.filter(({ kind }) => kind === "ping").length;
    for (const [target, kind] of [["window", "online"], ["document", "visibilitychange"]]) {
        const before = asked();
        await page.evaluate(([target, kind]) => window[target].dispatchEvent(new Event(kind)), [target, kind]);
        await eventually(() => assert.equal(asked(), before + 1));
    }
    await page.clock.fastForward(20_000);
    await eventually(() => assert.equal(asked(), 3));
    await page.clock.fastForward(11_000);
    await page.waitForTimeout(300);
    assert.deepEqual([fake.dials.messages, fake.dials.vnc], [1, 1], "it left a socket that lives");

    fake.silence();
    await page.clock.fastForward(20_000);
    await page.clock.fastForward(10_000);
    await eventually(() => assert.deepEqual([fake.dials.messages, fake.dials.vnc], [2, 2]));
    await link(page, "live");
    await page.waitForSelector("#take:enabled");
    await leave(page);
});

test("it falls back to screenshots, and returns to the live picture", async () => {
    fake.vnc = "refused";
    const page = await open(browser);
    await page.goto(address());
    await page.waitForSelector('body[data-stills="true"]');
    near(await colourAt(page, 1 / 6, 0.5), RED);
    assert.equal(await page.isVisible("#still-note"), true);
    const before = fake.shots;
    fake.picture.rgb.fill(255);
    await eventually(async () => near(await colourAt(page, 1 / 6, 0.5), [255, 255, 255]));
    assert.ok(fake.shots > before);

    fake.vnc = "on";
    await link(page, "live");
    assert.equal(await page.isVisible("#still-note"), false);
    // The request in progress may still finish, but no other starts.
    const counted = fake.shots;
    await page.waitForTimeout(3_500);
    assert.ok(fake.shots <= counted + 1, `${fake.shots - counted} screenshots beside the live picture`);
    await leave(page);
});

test("the screencast comes before screenshots, and these only when it fails", async () => {
    fake.vnc = "refused";
    fake.cast = "on";
    const page = await open(browser);
    await page.goto(address());
    await page.waitForSelector('body[data-stills="true"]');
    near(await colourAt(page, 1 / 6, 0.5), RED);
    assert.equal(fake.shots, 0);

    fake.cast = "refused";
    fake.cut("cast");
    await eventually(async () => assert.ok(fake.shots > 0));
    assert.equal(await page.isVisible("#still-note"), true);

    fake.vnc = "on";
    await link(page, "live");
    assert.equal([...fake.sockets].some(({ kind }) => kind === "cast"), false);
    await leave(page);
});

test("whoever has control drives the page by its screencast while the display cannot be had", async () => {
    fake.vnc = "refused";
    fake.cast = "on";
    const page = await open(browser);
    await page.goto(address());
    await page.waitForSelector('body[data-stills="true"]');
    const box = await page.locator("#still").boundingBox();
    const [x, y] = [box.x + box.width / 4, box.y + box.height / 2];
    await page.mouse.click(x, y);
    await page.keyboard.press("a");
    assert.equal(fake.dials.cdp_input, undefined, "it dialled without control");

    await page.click("#take");
    await page.waitForSelector('body[data-driven="true"]');
    await eventually(() => assert.ok([...fake.sockets].some(({ kind }) => kind === "cdp_input")));
    await page.mouse.click(x, y);
    await page.keyboard.press("Shift+A");
    await page.keyboard.press("Enter");
    await page.mouse.wheel(0, 120);
    await eventually(() => assert.ok(fake.driven.some(({ type }) => type === "wheelEvent")));
    const { width, height } = fake.picture;
    const press = fake.driven.find(({ eventType }) => eventType === "mousePressed");
    assert.deepEqual([press.button, press.clickCount, press.modifiers], ["left", 1, 0]);
    // The page has twice the size of its picture.
    assert.ok(Math.abs(press.x - width / 2) < 2 && Math.abs(press.y - height) < 2, JSON.stringify(press));
    assert.ok(fake.driven.some(({ eventType }) => eventType === "mouseReleased"));
    assert.ok(fake.driven.every(({ held }) => held), "input was sent without control");
    const keys = fake.driven.filter(({ eventType }) => eventType === "keyDown");
    assert.deepEqual(keys.map(({ key, text, modifiers }) => [key, text, modifiers]), [["A", "A", 8], ["Enter", "\r", 0]]);
    assert.equal(fake.driven.find(({ type }) => type === "wheelEvent").deltaY, 120);

    // The shortcut leaves the picture here too.
    await page.keyboard.press("Shift+F6");
    assert.equal(await page.evaluate(() => document.activeElement.id), "take");
    fake.vnc = "on";
    await link(page, "live");
    await eventually(() => assert.ok(![...fake.sockets].some(({ kind }) => kind === "cdp_input")));
    assert.equal(await page.getAttribute("#still", "aria-hidden"), "true");
    await leave(page);
});

/** Opens a page with a screencast, which the viewer controls. `at` returns a point of the picture. */
async function driving(options, prepare) {
    fake.vnc = "refused";
    fake.cast = "on";
    const page = await open(browser, options);
    await prepare?.(page);
    await page.goto(address());
    await page.waitForSelector('body[data-stills="true"]');
    await page.click("#take");
    await page.waitForSelector('body[data-driven="true"]');
    const box = await page.locator("#still").boundingBox();
    const at = (x, y) => [box.x + box.width * x, box.y + box.height * y];
    return { page, at };
}

const keys = () =>
    fake.driven.filter(({ type }) => type === "keyEvent").map(({ eventType, key }) => `${eventType} ${key}`);

test("no key stays down in a page that is driven", async () => {
    const { page, at } = await driving();
    await page.mouse.click(...at(0.5, 0.5));
    await page.keyboard.down("Shift");
    await page.evaluate(() => document.activeElement.blur());
    await eventually(() => assert.deepEqual(keys(), ["rawKeyDown Shift", "keyUp Shift"]));
    await page.keyboard.up("Shift");

    await page.mouse.click(...at(0.5, 0.5));
    await page.keyboard.down("b");
    await page.evaluate(() => window.dispatchEvent(new Event("blur")));
    await page.keyboard.up("b");
    await eventually(() => assert.deepEqual(keys().slice(2), ["keyDown b", "keyUp b"]));

    fake.driven.length = 0;
    await page.keyboard.down("Meta");
    await page.keyboard.down("c");
    await eventually(() => assert.deepEqual(keys(), ["rawKeyDown Meta", "rawKeyDown c", "keyUp c"]));
    await page.keyboard.up("c");
    await page.keyboard.up("Meta");
    await eventually(() => assert.deepEqual(keys().slice(3), ["keyUp Meta"]));
    await leave(page);
});

const onMac = (page) =>
    page.addInitScript(() => Object.defineProperty(navigator, "platform", { value: "MacIntel" }));

/** Presses and releases Command with two keys pressed, as on a system without other key releases meanwhile. */
async function command(page) {
    for (const key of ["Shift", "b", "Meta"]) await page.keyboard.down(key);
    await page.keyboard.up("Meta");
}

test("no key stays down that went up while Command was down", async () => {
    const page = await open(browser);
    await onMac(page);
    await page.goto(address());
    await link(page, "live");
    await page.click("#take");
    await holder(page, "you");
    await page.click("#screen canvas");
    // noVNC maps Command to Alt.
    const [SHIFT, B, ALT] = [0xffe1, 0x62, 0xffe9];
    const sent = () => fake.seen.filter(({ kind }) => kind === "key").map(({ down, keysym }) => [down, keysym]);
    await command(page);
    const expected = [[true, SHIFT], [true, B], [true, ALT], [false, B], [false, ALT]];
    await eventually(() => assert.deepEqual(sent(), expected));
    // macOS reports this release; a released key is not released again.
    await page.keyboard.up("b");
    await page.keyboard.up("Shift");
    await eventually(() => assert.deepEqual(sent(), [...expected, [false, SHIFT]]));
    await leave(page);
});

test("no key stays down when the focus leaves the picture", async () => {
    const page = await open(browser);
    await page.goto(address());
    await link(page, "live");
    await page.click("#take");
    await holder(page, "you");
    await page.click("#screen canvas");
    const [SHIFT, B] = [0xffe1, 0x62];
    const sent = () => fake.seen.filter(({ kind }) => kind === "key").map(({ down, keysym }) => [down, keysym]);
    for (const key of ["Shift", "b"]) await page.keyboard.down(key);
    await page.focus("#clipboard-button");
    await eventually(() => assert.deepEqual(sent(), [[true, SHIFT], [true, B], [false, SHIFT], [false, B]]));
    await leave(page);
});

test("no key stays down in a page that is driven, that went up while Command was down", async () => {
    const ups = [
        // Other systems report each release.
        [undefined, ["keyUp Meta", "keyUp b", "keyUp Shift"]],
        [onMac, ["keyUp b", "keyUp Meta", "keyUp Shift"]],
    ];
    let page;
    for (const [prepare, expected] of ups) {
        if (page) await leave(page);
        fake.held = null;
        fake.driven.length = 0;
        const driven = await driving({}, prepare);
        page = driven.page;
        await page.mouse.click(...driven.at(0.5, 0.5));
        await command(page);
        await page.keyboard.up("b");
        await page.keyboard.up("Shift");
        const downs = ["rawKeyDown Shift", "keyDown b", "rawKeyDown Meta"];
        await eventually(() => assert.deepEqual(keys(), [...downs, ...expected]));
    }

    // A key that repeats under Command is released once.
    fake.driven.length = 0;
    for (const key of ["b", "Meta", "b"]) await page.keyboard.down(key);
    await page.keyboard.up("Meta");
    await eventually(() =>
        assert.deepEqual(keys(), ["keyDown b", "rawKeyDown Meta", "rawKeyDown b", "keyUp b", "keyUp Meta"]),
    );
    await leave(page);
});

test("a drag goes on beside the picture, and only what began in it is let go there", async () => {
    const { page, at } = await driving();
    await page.mouse.move(...at(0.5, 0.5));
    await page.mouse.down();
    await page.mouse.move(...at(0.5, 1.05));
    await page.waitForTimeout(100);
    await page.mouse.up();
    const mouse = (what) => fake.driven.filter(({ eventType }) => eventType === what);
    await eventually(() => assert.equal(mouse("mouseReleased").length, 1));
    const { y, button } = mouse("mouseMoved").at(-1);
    assert.ok(y > fake.picture.height * 2 && button === "left", `moved to ${y} with ${button}`);

    await page.mouse.down();
    await page.mouse.move(...at(0.5, 0.5));
    await page.mouse.up();
    await page.keyboard.press("Shift+F6");
    await page.waitForTimeout(200);
    assert.deepEqual([mouse("mousePressed").length, mouse("mouseReleased").length], [1, 1]);
    await leave(page);
});

test("Option writes characters on a Mac", async () => {
    const { page, at } = await driving({}, onMac);
    await page.mouse.click(...at(0.5, 0.5));
    await page.evaluate(() => {
        const init = { key: "@", code: "KeyL", altKey: true, cancelable: true };
        document.activeElement.dispatchEvent(new KeyboardEvent("keydown", init));
    });
    await eventually(() => {
        const { text, modifiers } = fake.driven.find(({ key }) => key === "@");
        assert.deepEqual([text, modifiers], ["@", 0]);
    });
    await leave(page);
});

test("the page that is driven takes no focus from who writes elsewhere, and keeps none", async () => {
    const { page } = await driving();
    const focus = () => page.evaluate(() => document.activeElement.id);
    assert.equal(await focus(), "still", "who has taken control may type at once");
    fake.cut("cast");
    await page.waitForSelector('body[data-driven="false"]');
    assert.equal(await focus(), "");
    await page.click("#clipboard-button");
    await page.waitForSelector('body[data-driven="true"]');
    assert.equal(await focus(), "clipboard-text");
    await leave(page);
});

test("input that the server turns away is not offered again, and takes nothing from the browser", async () => {
    fake.cdp_input = [4404, "it has ended"];
    fake.vnc = "refused";
    fake.cast = "on";
    const page = await open(browser);
    await page.goto(address());
    await page.waitForSelector('body[data-stills="true"]');
    await page.click("#take");
    await eventually(() => assert.equal(fake.dials.cdp_input, 1));
    await page.waitForTimeout(2_000);
    assert.equal(fake.dials.cdp_input, 1);
    await page.focus("#still");
    const kept = await page.evaluate(() => {
        const event = new KeyboardEvent("keydown", { key: "a", cancelable: true });
        return document.activeElement.id === "still" && document.activeElement.dispatchEvent(event);
    });
    assert.ok(kept, "a key was lost");
    await leave(page);
});

test("a finger scrolls the page that is driven, and a tap clicks", async () => {
    const viewport = { width: 360, height: 740 };
    const { page, at } = await driving({ viewport, hasTouch: true, isMobile: true });
    assert.equal(await page.evaluate(() => getComputedStyle(document.querySelector("#still")).touchAction), "none");
    await page.touchscreen.tap(...at(0.5, 0.5));
    await eventually(() => assert.ok(fake.driven.some(({ eventType }) => eventType === "mouseReleased")));
    assert.ok(!fake.driven.some(({ type }) => type === "wheelEvent"));

    fake.driven.length = 0;
    const devtools = await page.context().newCDPSession(page);
    const touch = (type, ...points) =>
        devtools.send("Input.dispatchTouchEvent", { type, touchPoints: points.map(([x, y]) => ({ x, y })) });
    await touch("touchStart", at(0.5, 0.8));
    for (const y of [0.7, 0.6, 0.5]) await touch("touchMove", at(0.5, y));
    await touch("touchEnd");
    const scrolled = () => fake.driven.reduce((sum, { deltaY }) => sum + (deltaY ?? 0), 0);
    const whole = fake.picture.height * 2;
    await eventually(() => assert.ok(Math.abs(scrolled() - whole * 0.3) < whole * 0.05, `${scrolled()}`));
    assert.ok(!fake.driven.some(({ eventType }) => eventType === "mousePressed"));
    await leave(page);
});

test("a connection that does not come to life has the screencast in its place", async () => {
    fake.vnc = "silent";
    fake.cast = "on";
    const page = await open(browser);
    await page.goto(address());
    await page.waitForSelector('body[data-stills="true"]', { timeout: 8_000 });
    assert.equal(fake.dials.vnc, 1);
    fake.vnc = "on";
    fake.cut("vnc");
    await link(page, "live");
    await eventually(() => assert.ok(![...fake.sockets].some(({ kind }) => kind === "cast")));
    await leave(page);
});

test("who has only a ticket is told of the run, and everybody of the end that comes near", async () => {
    const soon = new Date(Date.now() + 4 * 60_000).toISOString();
    const occupancy = { state: "held", runnable_type: "workflow_run", runnable_id: "wr_0123456789abcdef" };
    fake.sessions.set(ID, session(ID, { occupancy, expires_at: soon }));
    const page = await watching(`#ticket=${TICKET}`);
    const run = { run_id: "wr_0123456789abcdef", title: "Lamps", status: "running", block: { label: "search", block_type: "click" } };
    for (const ws of fake.sockets) {
        if (ws.kind === "messages") ws.send(JSON.stringify({ kind: "run", run }));
    }
    await eventually(async () => assert.equal(await page.textContent("#occupant"), "Lamps · search"));
    await page.waitForSelector('#time[data-short="true"]');
    assert.equal(await page.textContent("#said"), "This session ends in five minutes or less.");
    await leave(page);
});

test("the end says why, and asks for nothing more", async () => {
    const page = await watching();
    fake.sessions.set(
        ID,
        session(ID, {
            status: "failed",
            completed_at: new Date().toISOString(),
            failure: {
                code: "chromium_died",
                message: "Chromium ended.",
                exit: "signal 9 (SIGKILL)",
                hint: "The machine may be short of memory.",
                log_tail: ["out of memory"],
            },
        }),
    );
    fake.cut("vnc");
    await page.waitForSelector("#end:not([hidden])");
    assert.equal(await page.textContent("#end-title"), "The session failed");
    assert.equal(await page.textContent("#end-text"), "Chromium ended: signal 9 (SIGKILL).");
    assert.equal(await page.textContent("#end-hint"), "The machine may be short of memory.");
    await page.click("summary");
    assert.equal(await page.textContent("#end-log-text"), "out of memory");
    await eventually(() => assert.equal(fake.sockets.size, 0));
    await page.waitForTimeout(1_500);
    assert.equal(fake.sockets.size, 0, "it dialled a session that has ended");
    await leave(page);
});

test("an unknown session is told as such", async () => {
    const page = await open(browser);
    await page.goto(`${fake.base}/view/pbs_nobody#apikey=${KEY}`);
    await page.waitForSelector("#end:not([hidden])");
    assert.equal(await page.textContent("#end-title"), "No such session");
    await leave(page);
});

test("it shows the page, the tabs, the occupant, the block and the time", async () => {
    const occupancy = { state: "held", runnable_type: "workflow_run", runnable_id: "wr_0123456789abcdef", generation: 1 };
    fake.sessions.set(ID, session(ID, { occupancy }));
    fake.runs.set(occupancy.runnable_id, {
        run_id: occupancy.runnable_id,
        title: "Lamps",
        blocks: [{ label: "open", status: "completed" }, { label: "search", status: "running" }],
    });
    fake.tabs.push({ id: "2", title: "<b>Second</b>", url: "http://127.0.0.1/2", active: false });
    const page = await watching();
    // The run and its blocks come over HTTP, the tabs by messages.
    const shows = (selector, text) =>
        eventually(async () => assert.equal(await page.textContent(selector), text));
    await shows("#occupant", "Lamps · search");
    await shows("#control-word", "The agent is driving");
    await shows("#status-word", "In use");
    await shows("#page-title", "Footlights");
    await shows("#page-url", "127.0.0.1:9000/products.html");
    await eventually(async () =>
        assert.deepEqual(await page.locator("#tab-list li").allTextContents(), ["Footlights", "<b>Second</b>"]),
    );
    await eventually(async () => assert.match(await page.textContent("#time-left"), /^5[67]:\d\d$/));
    await leave(page);
});

test("text goes both ways over the clipboard panel", async () => {
    const page = await watching();
    await page.click("#take");
    await holder(page, "you");
    for (const ws of fake.sockets) {
        if (ws.kind === "messages") ws.send(JSON.stringify({ kind: "copied-text", text: "Grüße, 世界" }));
    }
    await page.waitForSelector('#clipboard-button[data-fresh="true"]');
    await page.click("#clipboard-button");
    assert.equal(await page.inputValue("#clipboard-text"), "Grüße, 世界");
    await page.fill("#clipboard-text", "schön");
    await page.click("#clipboard-paste");
    await eventually(() =>
        assert.ok(fake.said.some(({ kind, text }) => kind === "clipboard-paste" && text === "schön")),
    );
    await page.keyboard.press("Escape");
    assert.equal(await page.isVisible("#clipboard"), false);
    await leave(page);
});

test("on a phone everything is within reach, and a tap clicks", async () => {
    for (const viewport of [{ width: 360, height: 740 }, { width: 740, height: 360 }]) {
        fake.picture.rgb.set(testPicture().rgb);
        fake.held = null;
        const page = await open(browser, { viewport, hasTouch: true, isMobile: true });
        await page.goto(address());
        await link(page, "live");
        const wide = await page.evaluate(() => document.documentElement.scrollWidth);
        assert.ok(wide <= viewport.width, `the page is ${wide} px wide on a screen of ${viewport.width}`);
        for (const part of ["#frame", "#take", "#clipboard-button", "#keyboard-button"]) {
            const box = await page.locator(part).boundingBox();
            const inside = box.x >= 0 && box.y >= 0 && box.x + box.width <= viewport.width + 1 &&
                box.y + box.height <= viewport.height + 1;
            assert.ok(inside, `${part} is cut off at ${JSON.stringify(box)}`);
        }
        await page.tap("#take");
        await holder(page, "you");
        await page.tap("#screen canvas");
        await eventually(async () => near(await colourAt(page, 0.5, 0.5), [255, 255, 255]));
        await page.tap("#keyboard-button");
        fake.seen.length = 0;
        await page.keyboard.type("hé");
        await page.keyboard.press("Backspace");
        const typed = () => fake.seen.filter(({ down }) => down).map(({ keysym }) => keysym);
        await eventually(() => assert.deepEqual(typed(), [0x68, 0xe9, 0xff08]));
        await page.tap('[data-key="escape"]');
        await eventually(() => assert.equal(typed().at(-1), 0xff1b));
        await leave(page);
    }
});

test("a session that is about to end says so, and is kept open by whoever may", async () => {
    const soon = new Date(Date.now() + 40_000).toISOString();
    fake.sessions.set(ID, session(ID, { expires_at: soon }));
    const page = await watching();
    const banner = page.locator("#expiry");
    await banner.waitFor();
    assert.match(await banner.innerText(), /This session ends in 0:\d\d\./);
    assert.equal(await banner.getAttribute("data-urgent"), "true");
    await page.getByRole("button", { name: "Keep it open" }).click();
    await banner.waitFor({ state: "hidden" });
    assert.ok(Date.parse(fake.sessions.get(ID).expires_at) > Date.now() + 50 * 60_000);
    await leave(page);
});

test("who may only watch sees that a session ends, and no button", async () => {
    const soon = new Date(Date.now() + 200_000).toISOString();
    fake.sessions.set(ID, session(ID, { expires_at: soon }));
    fake.announces = true;
    fake.role = "watch";
    const page = await watching(`#ticket=${TICKET}`);
    await page.locator("#expiry").waitFor();
    assert.equal(await page.locator("#expiry").getAttribute("data-urgent"), "false");
    await eventually(async () => !(await page.locator("#expiry-keep").isVisible()));
    await leave(page);
});

/** Drops files on the picture, at a point from 0 to 1 in both directions. */
async function drop(page, files, x = 0.5, y = 0.5) {
    const box = await page.locator("#frame").boundingBox();
    await page.evaluate(
        ([files, clientX, clientY]) => {
            const dataTransfer = new DataTransfer();
            for (const [name, content] of files) dataTransfer.items.add(new File([content], name));
            const target = document.elementFromPoint(clientX, clientY);
            for (const kind of ["dragenter", "dragover", "drop"]) {
                const options = { bubbles: true, cancelable: true, clientX, clientY, dataTransfer };
                const event = new DragEvent(kind, options);
                target.dispatchEvent(event);
                if (!event.defaultPrevented && kind !== "dragenter") throw new Error(`${kind} opens the file`);
            }
        },
        [files, box.x + box.width * x, box.y + box.height * y],
    );
}

const given = () => fake.said.filter(({ kind }) => kind === "give-files");
const note = (page) => page.textContent("#files-note");

test("files that are dropped on the picture are uploaded and given to the page at that place", async () => {
    const page = await watching();
    await drop(page, [["a.txt", "one"]]);
    assert.equal(fake.uploaded.length, 0, "without control nothing is uploaded");
    await page.click("#take");
    await holder(page, "you");
    assert.ok(fake.said.some(({ kind }) => kind === "handle-file-choosers"));
    await drop(page, [["a b.txt", "one"], ["ü.txt", "two"]], 0.25, 0.5);
    await eventually(async () => assert.equal(await note(page), "The page has 2 files."));
    assert.deepEqual(fake.uploaded, [{ name: "a b.txt", content: "one" }, { name: "ü.txt", content: "two" }]);
    const [{ names, x, y, in: within }] = given();
    assert.deepEqual([names, within], [["a b.txt", "ü.txt"], "display"]);
    assert.ok(Math.abs(x - 200) <= 1 && Math.abs(y - 250) <= 1, `dropped at ${x}, ${y}`);
    assert.deepEqual(await page.locator("#files-list li").evaluateAll((rows) => rows.map((row) => row.dataset.state)), ["done", "done"]);

    fake.takesFiles = false;
    await drop(page, [["c.txt", "three"]]);
    await eventually(async () => assert.match(await note(page), /^The page takes no files there\. The files stay/));
    if (process.env.GREENROOM_SHOTS) await page.screenshot({ path: `${process.env.GREENROOM_SHOTS}/files.png` });
    await leave(page);
});

test("an upload is shown, can be canceled, and says why it failed", async () => {
    const page = await watching();
    await page.click("#take");
    await holder(page, "you");
    fake.uploads = "silent";
    await drop(page, [["large.bin", "x".repeat(100_000)]]);
    await page.click("#files-list button");
    await page.waitForSelector('#files-list [data-state="canceled"]');
    fake.uploads = [413, { detail: "the file has more than 1 MiB", code: "file_too_large" }];
    await drop(page, [["large.bin", "x"]]);
    await page.waitForSelector('#files-list [data-state="failed"]');
    assert.match(await page.textContent("#files-list li"), /the file has more than 1 MiB/);
    assert.equal(given().length, 0);
    await leave(page);
});

test("a page that asks for a file gets one that the person chooses", async () => {
    const page = await watching();
    fake.say({ kind: "file-chooser", open: true, multiple: false });
    await page.click("#take");
    await holder(page, "you");
    assert.ok(await page.isHidden("#chooser"), "a chooser is of whom has control");
    fake.say({ kind: "file-chooser", open: true, multiple: false });
    await page.waitForSelector("#chooser:not([hidden])");
    if (process.env.GREENROOM_SHOTS) await page.screenshot({ path: `${process.env.GREENROOM_SHOTS}/chooser.png` });
    await page.click("#chooser-cancel");
    await page.waitForSelector("#chooser", { state: "hidden" });
    await eventually(() => assert.ok(fake.said.some(({ kind }) => kind === "cancel-file-chooser")));
    fake.say({ kind: "file-chooser", open: true, multiple: false });
    const choosing = page.waitForEvent("filechooser");
    await page.click("#chooser-pick");
    const chooser = await choosing;
    assert.ok(!chooser.isMultiple());
    await chooser.setFiles({ name: "pick.txt", mimeType: "text/plain", buffer: Buffer.from("picked") });
    await eventually(() => assert.deepEqual(fake.uploaded, [{ name: "pick.txt", content: "picked" }]));
    await eventually(() => assert.deepEqual(given().map(({ names, x }) => [names, x]), [[["pick.txt"], undefined]]));
    await page.waitForSelector("#chooser", { state: "hidden" });
    await leave(page);
});
