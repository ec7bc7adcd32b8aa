// The comments of a YAML text. The server keeps what a workflow says, and not its text: they are lost when it is stored.

/** The numbers of the lines that have a comment, from 1. */
export function commentLines(text: string): number[] {
    const found: number[] = [];
    /** The indentation of the line that began a literal or folded text; null outside of one. */
    let block: number | null = null;
    /** The quotation mark of a text that goes on in the next line. */
    let quote: string | null = null;
    text.split("\n").forEach((line, index) => {
        if (block !== null) {
            const indent = line.length - line.trimStart().length;
            if (line.trim() === "" || indent > block) return;
            block = null;
        }
        const scanned = scan(line, quote);
        quote = scanned.quote;
        if (scanned.comment !== null) found.push(index + 1);
        const content = scanned.comment === null ? line : line.slice(0, scanned.comment);
        if (quote === null && BLOCK.test(content)) block = indentOf(content);
    });
    return found;
}

/** The head of a literal or folded text at the end of a line. */
const BLOCK = /(?:^\s*|[:-]\s+)(?:[!&]\S+\s+)*[|>][-+\d]{0,2}\s*$/;

/** The indentation that the lines of a block must exceed: of the field after the marks of lists, or of the last mark. */
function indentOf(line: string): number {
    const marks = /^\s*(?:-\s+)*/.exec(line)?.[0] ?? "";
    const isItem = /^(?:[!&]\S+\s+)*[|>]/.test(line.slice(marks.length));
    return isItem ? marks.lastIndexOf("-") : marks.length;
}

/** The place of a comment in a line, and the quotation mark that is open at its end. */
function scan(line: string, open: string | null): { comment: number | null; quote: string | null } {
    let quote = open;
    for (let at = 0; at < line.length; at += 1) {
        const sign = line[at];
        const before = at === 0 ? " " : (line[at - 1] ?? " ");
        if (quote === '"') {
            if (sign === "\\") at += 1;
            else if (sign === '"') quote = null;
        } else if (quote === "'") {
            if (sign !== "'") continue;
            if (line[at + 1] === "'") at += 1;
            else quote = null;
        } else if ((sign === '"' || sign === "'") && beginsScalar(line.slice(0, at))) {
            // Within a plain text, a quotation mark is a letter.
            quote = sign;
        } else if (sign === "#" && /\s/.test(before)) {
            return { comment: at, quote: null };
        }
    }
    return { comment: null, quote };
}

/** True if a value begins after this part of a line. */
function beginsScalar(before: string): boolean {
    return /^\s*$|[:?-]\s+$|[,[{]\s*$/.test(before);
}
