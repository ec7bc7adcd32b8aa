// Server-sent events, read from text.

export interface ServerEvent {
    readonly kind: string;
    readonly data: string;
}

/** The blocks of a stream of server-sent events, as far as it has arrived, and the rest. */
export function parseEvents(text: string): { events: ServerEvent[]; rest: string } {
    const blocks = text.replaceAll("\r\n", "\n").split("\n\n");
    const rest = blocks.pop() ?? "";
    const events = blocks.flatMap((block) => {
        let kind = "message";
        const data: string[] = [];
        for (const line of block.split("\n")) {
            if (line.startsWith("event:")) kind = line.slice(6).trim();
            else if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
        }
        return data.length > 0 ? [{ kind, data: data.join("\n") }] : [];
    });
    return { events, rest };
}

/** Reads a stream until its end. `onEvents` is called for everything that arrives, without events for a heartbeat. */
export async function readEvents(body: ReadableStream<Uint8Array>, onEvents: (events: ServerEvent[]) => void): Promise<void> {
    const reader = body.getReader();
    const decoder = new TextDecoder();
    let text = "";
    for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        const parsed = parseEvents(text + decoder.decode(value, { stream: true }));
        text = parsed.rest;
        onEvents(parsed.events);
    }
}
