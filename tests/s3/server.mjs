// The S3 server of the tests: s3rver, which lacks the check of signatures of version 4.
//
//   node server.mjs HOST PORT DIRECTORY BUCKET
//
// While there is a file DIRECTORY.stall with a method and the end of a path, such as `PUT .tar.zst`,
// requests of that kind wait, and DIRECTORY.stalled names the last of them. One whose client leaves
// meanwhile has no effect.
//
// It prints `listening on HOST:PORT`. The one key is S3RVER, and its secret the same.
import crypto from "node:crypto";
import fs from "node:fs";
import S3rver from "s3rver";

const [host, port, directory, bucket] = process.argv.slice(2);
const SECRET = "S3RVER";

const sha256 = (data) => crypto.createHash("sha256").update(data).digest("hex");
const hmac = (key, data) => crypto.createHmac("sha256", key).update(data).digest();

/** The signature that a request must have, as Amazon defines it for version 4. */
function signature(request, scope, names) {
    const [path, query = ""] = request.url.split("?");
    const parameters = query.split("&").filter(Boolean);
    const canonical = [
        request.method,
        path,
        parameters.map((it) => (it.includes("=") ? it : `${it}=`)).sort().join("&"),
        ...names.map((name) => `${name}:${request.headers[name].trim()}`),
        "",
        names.join(";"),
        request.headers["x-amz-content-sha256"],
    ].join("\n");
    const signed = ["AWS4-HMAC-SHA256", request.headers["x-amz-date"], scope.join("/"), sha256(canonical)];
    const key = scope.reduce(hmac, `AWS4${SECRET}`);
    return hmac(key, signed.join("\n")).toString("hex");
}

/** True if a request is signed with the secret. An unknown key is left to s3rver. */
function isSigned(request) {
    const pattern = /^AWS4-HMAC-SHA256 Credential=([^/]+)\/([^,]+), ?SignedHeaders=([^,]+), ?Signature=(\w+)$/;
    const found = pattern.exec(request.headers.authorization ?? "");
    if (!found) return false;
    const [, key, scope, names, given] = found;
    return key !== "S3RVER" || given === signature(request, scope.split("/"), names.split(";"));
}

/** The kind of requests that wait: a method, and the end of a path. */
function stalled() {
    try {
        return fs.readFileSync(`${directory}.stall`, "utf8").split(" ");
    } catch {
        return undefined; // The file is removed to let them go on.
    }
}

/** Resolves with true when a request may go on, and with false if its client has left. */
async function admitted(request) {
    const path = request.url.split("?")[0];
    for (let rule = stalled(); rule; rule = stalled()) {
        const [method, end] = rule;
        if (request.method !== method || !path.endsWith(end)) break;
        if (request.socket.destroyed) return false;
        fs.writeFileSync(`${directory}.stalled`, `${request.method} ${request.url}`);
        await new Promise((resolve) => setTimeout(resolve, 10));
    }
    return !request.socket.destroyed;
}

const server = new S3rver({
    address: host,
    port: Number(port),
    directory,
    silent: true,
    configureBuckets: [{ name: bucket }],
});
server.middleware.unshift(async (context, next) => {
    if (!(await admitted(context.req))) return;
    if (isSigned(context.req)) return next();
    context.status = 403;
    context.type = "application/xml";
    context.body = "<Error><Code>SignatureDoesNotMatch</Code><Message>The signature is wrong.</Message></Error>";
});
const address = await server.run();
console.log(`listening on ${address.address}:${address.port}`);
