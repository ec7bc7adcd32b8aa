// A viewer that reads RFB without showing it: over TCP, or over a WebSocket like noVNC.

import { createCipheriv } from "node:crypto";
import { createRequire } from "node:module";
import { connect } from "node:net";

// A development dependency of the pages.
export const WebSocket = createRequire(new URL("../web/", import.meta.url))("ws");

/** Raw, or Tight with JPEG as requested by noVNC. */
export const RAW = [0];
export const TIGHT = [7, -26, -254];

export class Viewer {
    #chunks = [];
    #length = 0;
    #wake = null;
    #closed = null;
    /** The number of received bytes. */
    received = 0;

    constructor(target) {
        if (typeof target === "number") {
            this.socket = connect(target, "127.0.0.1").setNoDelay();
            this.send = (bytes) => this.socket.write(bytes);
            this.socket.on("data", (bytes) => this.#take(bytes));
            this.socket.on("error", (cause) => this.#end(cause));
            this.socket.on("close", () => this.#end(new Error("closed")));
        } else {
            this.socket = new WebSocket(target, ["binary"], { perMessageDeflate: false });
            this.send = (bytes) => this.socket.send(bytes);
            this.socket.on("message", (bytes) => this.#take(bytes));
            this.socket.on("error", (cause) => this.#end(cause));
            this.socket.on("close", (code, reason) => this.#end(new Error(`closed: ${code} ${reason}`)));
        }
    }

    #take(bytes) {
        this.received += bytes.length;
        this.#chunks.push(bytes);
        this.#length += bytes.length;
        this.#wake?.();
    }

    #end(cause) {
        this.#closed ??= cause;
        this.#wake?.();
    }

    async #some(count) {
        while (this.#length < count) {
            if (this.#closed) throw this.#closed;
            await new Promise((wake) => (this.#wake = wake));
        }
        this.#wake = null;
    }

    async read(count) {
        await this.#some(count);
        const taken = [];
        let missing = count;
        while (missing > 0) {
            const first = this.#chunks[0];
            if (first.length <= missing) {
                taken.push(this.#chunks.shift());
                missing -= first.length;
            } else {
                taken.push(first.subarray(0, missing));
                this.#chunks[0] = first.subarray(missing);
                missing = 0;
            }
        }
        this.#length -= count;
        return taken.length === 1 ? taken[0] : Buffer.concat(taken);
    }

    /** Continues to read, and discards the data. */
    async skip(count) {
        let missing = count;
        while (missing > 0) {
            await this.#some(1);
            const part = Math.min(missing, this.#length);
            await this.read(part);
            missing -= part;
        }
    }

    /** Completes the handshake of RFB 3.8. */
    async greet({ password = "", encodings = TIGHT } = {}) {
        await this.read(12);
        this.send(Buffer.from("RFB 003.008\n"));
        const types = await this.read((await this.read(1))[0]);
        const type = types.includes(1) ? 1 : 2;
        this.send(Buffer.from([type]));
        if (type === 2) this.send(proof(await this.read(16), password));
        if ((await this.read(4)).readUInt32BE(0) !== 0) throw new Error("the password is wrong");
        this.send(Buffer.from([1]));
        const init = await this.read(24);
        [this.width, this.height] = [init.readUInt16BE(0), init.readUInt16BE(2)];
        await this.read(init.readUInt32BE(20));
        const format = [32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0];
        const list = Buffer.alloc(4 + 4 * encodings.length);
        list.writeUInt8(2, 0);
        list.writeUInt16BE(encodings.length, 2);
        encodings.forEach((encoding, index) => list.writeInt32BE(encoding, 4 + 4 * index));
        this.send(Buffer.concat([Buffer.from([0, 0, 0, 0, ...format]), list]));
        return this;
    }

    ask(incremental) {
        const request = Buffer.from([3, incremental ? 1 : 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        request.writeUInt16BE(this.width, 6);
        request.writeUInt16BE(this.height, 8);
        this.send(request);
    }

    pointer(buttons, x, y) {
        const event = Buffer.from([5, buttons, 0, 0, 0, 0]);
        event.writeUInt16BE(x, 2);
        event.writeUInt16BE(y, 4);
        this.send(event);
    }

    /** The rectangles of the next requested picture. */
    async update() {
        for (;;) {
            const [kind] = await this.read(1);
            if (kind === 0) break;
            if (kind === 3) await this.skip((await this.read(7)).readUInt32BE(3));
            else if (kind !== 2) throw new Error(`a message of type ${kind}`);
        }
        const rectangles = [];
        const count = (await this.read(3)).readUInt16BE(1);
        for (let index = 0; index < count; index += 1) {
            const head = await this.read(12);
            const [x, y, w, h] = [0, 2, 4, 6].map((at) => head.readUInt16BE(at));
            const encoding = head.readInt32BE(8);
            if (encoding === 0) await this.skip(w * h * 4);
            else if (encoding === 7) await this.#tight(w, h);
            else throw new Error(`encoding ${encoding}`);
            rectangles.push({ x, y, w, h });
        }
        return rectangles;
    }

    async #tight(w, h) {
        const kind = (await this.read(1))[0] >> 4;
        if (kind === 8) return void (await this.skip(3));
        if (kind === 9) return void (await this.skip(await this.#compact()));
        let size = w * h * 3;
        if (kind & 4 && (await this.read(1))[0] === 1) {
            const colours = (await this.read(1))[0] + 1;
            await this.skip(colours * 3);
            size = colours <= 2 ? Math.ceil(w / 8) * h : w * h;
        }
        await this.skip(size < 12 ? size : await this.#compact());
    }

    async #compact() {
        let length = 0;
        for (let shift = 0; ; shift += 7) {
            const [byte] = await this.read(1);
            length |= (byte & (shift < 14 ? 0x7f : 0xff)) << shift;
            if (shift === 14 || byte < 0x80) return length;
        }
    }

    close() {
        if (this.socket instanceof WebSocket) this.socket.terminate();
        else this.socket.destroy();
    }
}

/** VNC Authentication: DES, as triple DES with three equal keys, because OpenSSL has no single DES. */
function proof(challenge, password) {
    const key = Buffer.alloc(8);
    Buffer.from(password).copy(key);
    for (let index = 0; index < 8; index += 1) {
        let reversed = 0;
        for (let bit = 0; bit < 8; bit += 1) if (key[index] & (1 << bit)) reversed |= 0x80 >> bit;
        key[index] = reversed;
    }
    const cipher = createCipheriv("des-ede3", Buffer.concat([key, key, key]), null).setAutoPadding(false);
    return Buffer.concat([cipher.update(challenge), cipher.final()]);
}

/** The percentile `part` of sorted numbers. */
export function percentile(numbers, part) {
    const sorted = [...numbers].sort((one, other) => one - other);
    return sorted[Math.min(sorted.length - 1, Math.floor((sorted.length * part) / 100))];
}
