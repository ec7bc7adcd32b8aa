// A fake of the server, for developing and testing the pages: the pages' files, the routes that they use,
// an RFB 3.8 server that shows a picture and records its input, and the message channel. The pages are
// served with the strictest content policy that they permit.

import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { connect } from "node:net";
import { crc32, deflateSync } from "./png.mjs";
import { WebSocketServer } from "ws";
import { fileURLToPath } from "node:url";

const dist = fileURLToPath(new URL("../dist/", import.meta.url));
const MEDIA = { html: "text/html; charset=utf-8", js: "text/javascript", css: "text/css" };
const POLICY = [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' blob: data:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
].join("; ");
/** The console also frames the view, and plays recordings. */
const CONSOLE_POLICY = `${POLICY}; frame-src 'self'; media-src 'self'`;
const PAGES = { "/": "console.html", "/console": "console.html", "/wall": "wall.html", "/docs": "docs.html" };

export const KEY = "key-of-the-tests";
export const TICKET = "ticket-of-the-tests";

/** A picture with three areas of colour. A click leaves a white square. */
export function testPicture(width = 800, height = 500) {
    const rgb = new Uint8Array(width * height * 3);
    const colours = [
        [210, 60, 60],
        [60, 170, 90],
        [60, 90, 210],
    ];
    for (let y = 0; y < height; y += 1) {
        for (let x = 0; x < width; x += 1) {
            rgb.set(colours[Math.floor((x * 3) / width)], (y * width + x) * 3);
        }
    }
    return { width, height, rgb };
}

function png({ width, height, rgb }) {
    const rows = Buffer.alloc(height * (width * 3 + 1));
    for (let y = 0; y < height; y += 1) {
        Buffer.from(rgb.buffer, rgb.byteOffset + y * width * 3, width * 3).copy(
            rows,
            y * (width * 3 + 1) + 1,
        );
    }
    const chunk = (kind, data) => {
        const body = Buffer.concat([Buffer.from(kind, "latin1"), data]);
        const out = Buffer.alloc(body.length + 8);
        out.writeUInt32BE(data.length, 0);
        body.copy(out, 4);
        out.writeUInt32BE(crc32(body), body.length + 4);
        return out;
    };
    const head = Buffer.alloc(13);
    head.writeUInt32BE(width, 0);
    head.writeUInt32BE(height, 4);
    head.set([8, 2, 0, 0, 0], 8);
    return Buffer.concat([
        Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]),
        chunk("IHDR", head),
        chunk("IDAT", deflateSync(rows)),
        chunk("IEND", Buffer.alloc(0)),
    ]);
}

/** The server's side of an RFB connection. The client's messages are recorded in `seen`. */
class Rfb {
    #buffer = Buffer.alloc(0);
    #stage = "version";
    #asked = false;
    #dirty = true;

    constructor(socket, picture, seen, mayType) {
        this.socket = socket;
        this.picture = picture;
        this.seen = seen;
        this.mayType = mayType;
        socket.send(Buffer.from("RFB 003.008\n"));
        socket.on("message", (data) => {
            this.#buffer = Buffer.concat([this.#buffer, data]);
            while (this.#step());
        });
    }

    #take(length) {
        if (this.#buffer.length < length) return null;
        const taken = this.#buffer.subarray(0, length);
        this.#buffer = this.#buffer.subarray(length);
        return taken;
    }

    /** Handles a message, if a complete message is there. */
    #step() {
        switch (this.#stage) {
            case "version":
                if (!this.#take(12)) return false;
                this.socket.send(Buffer.from([1, 1]));
                this.#stage = "security";
                return true;
            case "security":
                if (!this.#take(1)) return false;
                this.socket.send(Buffer.alloc(4));
                this.#stage = "init";
                return true;
            case "init":
                if (!this.#take(1)) return false;
                this.socket.send(this.#serverInit());
                this.#stage = "messages";
                return true;
            default:
                return this.#message();
        }
    }

    #serverInit() {
        const name = Buffer.from("fake");
        const out = Buffer.alloc(24 + name.length);
        out.writeUInt16BE(this.picture.width, 0);
        out.writeUInt16BE(this.picture.height, 2);
        out.set([32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0], 4);
        out.writeUInt32BE(name.length, 20);
        name.copy(out, 24);
        return out;
    }

    #message() {
        if (this.#buffer.length === 0) return false;
        const b = this.#buffer;
        switch (b[0]) {
            case 0: {
                const m = this.#take(20);
                if (!m) return false;
                this.shifts = [m[14], m[15], m[16]];
                return true;
            }
            case 2: {
                if (b.length < 4) return false;
                return this.#take(4 + 4 * b.readUInt16BE(2)) !== null;
            }
            case 3: {
                if (!this.#take(10)) return false;
                this.#asked = true;
                this.#update();
                return true;
            }
            case 4: {
                const m = this.#take(8);
                if (!m) return false;
                this.seen.push({ kind: "key", down: m[1] === 1, keysym: m.readUInt32BE(4) });
                return true;
            }
            case 5: {
                const m = this.#take(6);
                if (!m) return false;
                const event = {
                    kind: "pointer",
                    mask: m[1],
                    x: m.readUInt16BE(2),
                    y: m.readUInt16BE(4),
                };
                this.seen.push(event);
                if (event.mask === 1 && this.mayType()) this.#paint(event.x, event.y);
                return true;
            }
            case 6: {
                if (b.length < 8) return false;
                const m = this.#take(8 + Math.abs(b.readInt32BE(4)));
                if (!m) return false;
                this.seen.push({ kind: "cut-text", text: m.subarray(8).toString("latin1") });
                return true;
            }
            default:
                this.socket.close(1011, `message ${b[0]}`);
                return false;
        }
    }

    #paint(x, y) {
        const { width, height, rgb } = this.picture;
        for (let py = Math.max(0, y - 20); py < Math.min(height, y + 20); py += 1) {
            for (let px = Math.max(0, x - 20); px < Math.min(width, x + 20); px += 1) {
                rgb.fill(255, (py * width + px) * 3, (py * width + px) * 3 + 3);
            }
        }
        this.#dirty = true;
        this.#update();
    }

    /** Sends the whole picture, raw, after a change and a request of the client. */
    #update() {
        if (!this.#asked || !this.#dirty) return;
        this.#asked = false;
        this.#dirty = false;
        const { width, height, rgb } = this.picture;
        const [red, green, blue] = this.shifts ?? [16, 8, 0];
        const out = Buffer.alloc(16 + width * height * 4);
        out.writeUInt16BE(1, 2);
        out.writeUInt16BE(width, 8);
        out.writeUInt16BE(height, 10);
        for (let from = 0, to = 16; from < rgb.length; from += 3, to += 4) {
            const pixel = (rgb[from] << red) | (rgb[from + 1] << green) | (rgb[from + 2] << blue);
            out.writeUInt32LE(pixel >>> 0, to);
        }
        this.socket.send(out);
    }
}

/** The credential that a page offers as a subprotocol, as the server reads it. */
function offered(request, kind) {
    const offers = (request.headers["sec-websocket-protocol"] ?? "").split(",").map((offer) => offer.trim());
    const offer = offers.find((one) => one.startsWith(`greenroom.${kind}.`));
    return offer && Buffer.from(offer.split(".")[2], "base64url").toString();
}

/**
* Starts a fake server on a free loopback port. Writing to the result changes its behaviour:
 * `sessions`, `vnc` and `messages` (`"on"` or `"refused"`), `announces`, `held`. Every kind of socket
 * may also be a close, such as `[1013, "not ready"]`, which is sent after the handshake.
 */
export async function startFake({ picture = testPicture() } = {}) {
    const fake = {
        picture,
        vnc: "on",
        /** A real VNC server without a password, on loopback, to show instead of the picture. */
        vncPort: null,
        messages: "on",
        /** The screencast: off while the display is available. */
        cast: "refused",
        /** The input for the screencast; and the input that was received, with the sender's control. */
        cdp_input: "on",
        driven: [],
        /** True if the server reports the holder of control. */
        announces: true,
        /** The holder of control: null is the agent, otherwise the `client_id` of a viewer. */
        held: null,
        role: "control",
        tabs: [
            { id: "1", title: "Footlights", url: "http://127.0.0.1:9000/products.html", active: true },
        ],
        sessions: new Map(),
        seen: [],
        said: [],
        /** The requests to save a profile, and a function that answers them with a status and a body. */
        saves: [],
        onSave: ({ name }) => [200, profile({ name: name ?? "Rehearsal", version: name ? 1 : 4 })],
        shots: 0,
        /** Uploads: their names and contents; and `"on"`, `"silent"`, or a refusal as status and problem. */
        uploaded: [],
        uploads: "on",
        /** The number of requests for each kind of socket. */
        dials: {},
        runs: new Map(),
        /**
         * The answers of further routes, by method and path, such as `GET /v1/quotas`: a body, or a function of
         * the URL and the request's body that returns a status and a body. A body that is text is sent as it is.
         */
        routes: new Map(),
        /** The open streams of server-sent events, each with the URL that was asked for, by the path. */
        feeds: new Map(),
        sockets: new Set(),
        base: "",
    };
    const server = createServer((request, response) => {
        answer(fake, request, response).catch((cause) => {
            response.writeHead(500).end(String(cause));
        });
    });
    const upgrades = new WebSocketServer({ noServer: true });
    server.on("upgrade", (request, socket, head) => {
        const url = new URL(request.url, "http://fake");
        const [, one] = /^\/v1\/stream\/(vnc|messages|cdp_input)\/browser_session\/[^/]+$/.exec(url.pathname) ?? [];
        const casts = /^\/v1\/stream\/browser_sessions\/[^/]+$/.test(url.pathname);
        const kind = casts && url.searchParams.get("force_cdp") === "true" ? "cast" : one;
        const allowed =
            offered(request, "apikey") === KEY || offered(request, "ticket") === TICKET;
        fake.dials[kind] = (fake.dials[kind] ?? 0) + 1;
        if (!kind || fake[kind] === "refused") {
            socket.end("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
            return;
        }
        upgrades.handleUpgrade(request, socket, head, (ws) => {
            if (!allowed) return void ws.close(1002, "Invalid credentials");
            if (Array.isArray(fake[kind])) return void ws.close(...fake[kind]);
            ws.kind = kind;
            ws.client = url.searchParams.get("client_id");
            ws.protocols = request.headers["sec-websocket-protocol"] ?? "";
            ws.address = request.url;
            fake.sockets.add(ws);
            ws.on("close", () => fake.sockets.delete(ws));
            if (fake[kind] === "silent") {
                // Accepted, without any message.
            } else if (kind === "cast") {
                ws.send(JSON.stringify({ status: "running" }));
                const screenshot = png(fake.picture).toString("base64");
                const { width, height } = fake.picture;
                // The picture has half of the page's size.
                const page = { viewport_width: width * 2, viewport_height: height * 2 };
                ws.send(JSON.stringify({ status: "running", screenshot, format: "png", ...page }));
            } else if (kind === "cdp_input") {
                ws.send(JSON.stringify({ kind: "ready" }));
                ws.on("message", (text) => {
                    fake.driven.push({ held: fake.held === ws.client, ...JSON.parse(text) });
                });
            } else if (kind === "vnc" && fake.vncPort) {
                bridge(ws, fake.vncPort);
            } else if (kind === "vnc") {
                new Rfb(ws, fake.picture, fake.seen, () => fake.messages !== "on" || fake.held === ws.client);
            } else {
                openMessages(fake, ws);
            }
        });
    });
    await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
    fake.base = `http://127.0.0.1:${server.address().port}`;
    /** Cuts the connections of a kind, like a broken network. */
    fake.cut = (kind) => {
        for (const ws of fake.sockets) if (ws.kind === kind) ws.terminate();
    };
    /** Closes the connections, as the server does. */
    fake.close = (kind, ...close) => {
        for (const ws of fake.sockets) if (ws.kind === kind) ws.close(...close);
    };
    /** Leaves the connections open but dead, as after a loss of network state. */
    fake.silence = () => {
        for (const ws of fake.sockets) ws.dead = true;
    };
    /** Sends a message on all message channels. */
    fake.say = (message) => {
        for (const ws of fake.sockets) if (ws.kind === "messages") ws.send(JSON.stringify(message));
    };
    fake.announce = () => {
        for (const ws of fake.sockets) if (ws.kind === "messages") tell(fake, ws);
    };
    /** Sends an event, or a comment without data, on the open streams of a path. */
    fake.feed = (path, kind, data) => {
        const text = data === undefined ? `: ${kind}\n\n` : `event: ${kind}\ndata: ${JSON.stringify(data)}\n\n`;
        for (const { response } of fake.feeds.get(path)) response.write(text);
    };
    /** Breaks the open streams of a path, like a broken network. */
    fake.breakFeeds = (path) => {
        for (const { response } of fake.feeds.get(path)) response.destroy();
    };
    fake.stop = async () => {
        for (const ws of fake.sockets) ws.terminate();
        server.closeAllConnections();
        await new Promise((closed) => server.close(closed));
    };
    return fake;
}

function bridge(ws, port) {
    const tcp = connect(port, "127.0.0.1").setNoDelay();
    tcp.on("data", (bytes) => ws.send(bytes));
    tcp.on("close", () => ws.close(1000, "vnc-closed"));
    tcp.on("error", () => ws.close(1011));
    ws.on("message", (bytes) => tcp.write(bytes));
    ws.on("close", () => tcp.destroy());
}

/** A session, as the API returns it. */
export function session(id, fields = {}) {
    const now = Date.now();
    const at = (minutes) => new Date(now + minutes * 60_000).toISOString();
    return {
        browser_session_id: id,
        organization_id: "o_1",
        status: "running",
        created_at: at(-3),
        started_at: at(-3),
        modified_at: at(0),
        completed_at: null,
        expires_at: at(57),
        idle_expires_at: null,
        occupancy: { state: "vacant", generation: 0 },
        failure: null,
        ...fields,
    };
}

/** A profile, as the API returns it. */
export function profile(fields = {}) {
    return { browser_profile_id: "bp_0193af2c7e1b77ab8d10e2", name: "127.0.0.1", version: 1, ...fields };
}


async function answer(fake, request, response) {
    const url = new URL(request.url, "http://fake");
    const path = url.pathname;
    const page = /^\/view\/[^/]+$/.test(path) ? "view.html" : (PAGES[path] ?? null);
    const file = page ?? (/^\/assets\/[\w.-]+$/.test(path) ? path.slice(1) : null);
    if (file) {
        const media = MEDIA[file.split(".").at(-1)];
        const body = await readFile(dist + file).catch(() => null);
        if (!body) return void response.writeHead(404).end();
        const policy = file === "console.html" ? CONSOLE_POLICY : POLICY;
        response.writeHead(200, { "content-type": media, "content-security-policy": policy });
        return void response.end(body);
    }
    const json = (status, body) => {
        const isText = typeof body === "string";
        response.writeHead(status, { "content-type": isText ? "text/plain" : "application/json" });
        response.end(isText ? body : JSON.stringify(body));
    };
    if (path === "/openapi.json") return json(fake.openapi ? 200 : 503, fake.openapi ?? {});
    const { headers } = request;
    if (headers["x-api-key"] !== KEY && headers["x-greenroom-ticket"] !== TICKET) {
        return json(403, { detail: "This API key is not known.", code: "credentials_invalid" });
    }
    const feed = fake.feeds.get(path);
    if (feed) {
        const open = { url, response };
        feed.add(open);
        response.on("close", () => feed.delete(open));
        response.writeHead(200, { "content-type": "text/event-stream" });
        return void response.write(": messages\nretry: 2000\n\n");
    }
    const route = fake.routes.get(`${request.method} ${path}`);
    if (route !== undefined) {
        if (typeof route !== "function") return json(200, route);
        const pieces = [];
        for await (const piece of request) pieces.push(piece);
        const text = Buffer.concat(pieces).toString();
        return json(...route(url, text === "" ? null : JSON.parse(text)));
    }
    if (path === "/v1/browser_sessions") return json(200, [...fake.sessions.values()]);
    const [, saving] = /^\/v1\/browser_sessions\/([^/]+)\/profile$/.exec(path) ?? [];
    if (saving && request.method === "POST") {
        if (headers["x-api-key"] !== KEY) return json(403, { detail: "A key is needed.", code: "forbidden" });
        const pieces = [];
        for await (const piece of request) pieces.push(piece);
        const save = JSON.parse(Buffer.concat(pieces));
        fake.saves.push(save);
        return json(...(await fake.onSave(save)));
    }
    const [, run] = /^\/v1\/runs\/([^/]+)$/.exec(path) ?? [];
    if (run) {
        const found = fake.runs.get(run);
        return found ? json(200, found) : json(404, { detail: "No such run.", code: "run_unknown" });
    }
    const [, into] = /^\/v1\/browser_sessions\/([^/]+)\/files$/.exec(path) ?? [];
    if (into && request.method === "POST") {
        if (Array.isArray(fake.uploads)) return json(...fake.uploads);
        if (fake.uploads === "silent") return;
        const pieces = [];
        for await (const piece of request) pieces.push(piece);
        const name = url.searchParams.get("name");
        fake.uploaded.push({ name, content: Buffer.concat(pieces).toString() });
        return json(200, { name, folder: "uploads" });
    }
    const [, id, rest] = /^\/v1\/browser_sessions\/([^/]+)(\/screenshot|\/renew)?$/.exec(path) ?? [];
    const found = id && fake.sessions.get(id);
    if (!found) return json(404, { detail: "There is no such session.", code: "session_unknown" });
    if (!rest) return json(200, found);
    if (rest === "/renew") {
        if (request.method !== "POST") return json(405, { detail: "POST", code: "method" });
        found.expires_at = new Date(Date.now() + 60 * 60_000).toISOString();
        return json(200, found);
    }
    fake.shots += 1;
    // Always a PNG: Node has no JPEG encoder, and browsers detect the format.
    response.writeHead(200, { "content-type": "image/png" });
    response.end(png(fake.pictures?.get(id) ?? fake.picture));
}

function tell(fake, ws) {
    if (!fake.announces || ws.readyState !== ws.OPEN) return;
    ws.send(
        JSON.stringify({
            kind: "control",
            by: fake.held === null ? "agent" : "user",
            you: fake.held === ws.client,
            label: fake.held === null ? null : "Ann",
            role: fake.role,
        }),
    );
}

function openMessages(fake, ws) {
    tell(fake, ws);
    ws.send(JSON.stringify({ kind: "browser-tabs", tabs: fake.tabs }));
    ws.on("message", (data) => {
        if (ws.dead) return;
        const message = JSON.parse(String(data));
        fake.said.push(message);
        if (message.kind === "ping") ws.send(JSON.stringify({ kind: "pong" }));
        if (message.kind === "get-browser-url") {
            ws.send(JSON.stringify({ kind: "browser-url", url: fake.tabs[0].url }));
        }
        if (message.kind === "give-files") {
            const given = { kind: "files-given", to: "input", names: message.names };
            const refused = { kind: "error", failed_kind: "give-files", message: "the page takes no files there" };
            ws.send(JSON.stringify(fake.takesFiles === false ? refused : given));
        }
        if (message.kind === "take-control") {
            if (fake.held !== null && fake.held !== ws.client) {
                ws.send(
                    JSON.stringify({
                        kind: "error",
                        failed_kind: "take-control",
                        message: "Ann has control.",
                    }),
                );
                return;
            }
            fake.held = ws.client;
            fake.announce();
        } else if (message.kind === "cede-control" && fake.held === ws.client) {
            fake.held = null;
            fake.announce();
        }
    });
}
