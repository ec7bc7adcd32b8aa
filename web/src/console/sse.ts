// Server-sent events, read from text.

/** The blocks of a stream of server-sent events, as far as it has arrived, and the rest. */
export function parseEvents(text: string): { events: { kind: string; data: string }[]; rest: string } {
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
