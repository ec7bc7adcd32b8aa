// Whose input reaches the browser, as far as this viewer knows. The server decides; this only
// keeps what it said. A server that has no message channel lets everybody's input through.

export type Role = "watch" | "control";

export interface Control {
    /** The message channel: not known yet, there, gone for now, not offered so far, or shut. */
    readonly channel: "unknown" | "open" | "lost" | "absent" | "shut";
    /** Whether this server tells who has control. Others do as asked and say nothing. */
    readonly announced: boolean;
    /** What this viewer asked for, and asks for again after a reconnect. */
    readonly wanted: boolean;
    readonly holder: "agent" | "you" | "other";
    /** How the other one goes by. */
    readonly name: string | null;
    readonly role: Role | null;
    /** Why the last request was turned down. */
    readonly refused: string | null;
}

export const initial: Control = {
    channel: "unknown",
    announced: false,
    wanted: false,
    holder: "agent",
    name: null,
    role: null,
    refused: null,
};

/** The server's word on control. */
export interface ControlMessage {
    readonly by?: string | null;
    readonly you?: boolean | null;
    readonly label?: string | null;
    readonly role?: string | null;
}

export type ControlEvent =
    | { readonly kind: "opened" | "lost" | "absent" | "shut" | "take" | "cede" | "forget" }
    | { readonly kind: "said"; readonly message: ControlMessage }
    | { readonly kind: "refused"; readonly why: string };

export function after(control: Control, event: ControlEvent): Control {
    switch (event.kind) {
        case "opened":
            return { ...control, channel: "open", announced: false };
        case "lost":
            return { ...control, channel: "lost" };
        case "absent":
            return { ...control, channel: "absent", wanted: false };
        case "shut":
            // Who has control is told here no more.
            return { ...control, channel: "shut", wanted: false, holder: "agent", name: null, refused: null };
        case "forget": {
            // The server has given it to the agent by now, which must not be interrupted unasked.
            const holder = control.holder === "you" ? "agent" : control.holder;
            return { ...control, wanted: false, holder };
        }
        case "take": {
            const holder = control.announced ? control.holder : "you";
            return { ...control, wanted: true, holder, refused: null };
        }
        case "cede": {
            const holder = control.announced ? control.holder : "agent";
            return { ...control, wanted: false, holder, refused: null };
        }
        case "refused":
            return {
                ...control,
                wanted: false,
                holder: control.holder === "you" ? "agent" : control.holder,
                refused: event.why,
            };
        case "said":
            return said(control, event.message);
    }
}

function said(control: Control, message: ControlMessage): Control {
    const holder = message.you ? "you" : message.by === "user" ? "other" : "agent";
    // What was held and is taken away is not asked for again, and another person is not overruled.
    const lost = control.holder === "you" && holder !== "you" && control.announced;
    const wanted = control.wanted && !lost && holder !== "other";
    const role = message.role === "watch" || message.role === "control" ? message.role : control.role;
    return {
        ...control,
        announced: true,
        wanted,
        holder,
        role,
        name: holder === "other" ? (message.label ?? null) : null,
        refused: control.wanted && holder === "other" ? "Somebody else has control." : null,
    };
}

/** Whether to send this viewer's input at all. The server filters it in any case. */
export function mayType(control: Control): boolean {
    if (control.role === "watch") return false;
    return control.channel === "absent" || control.holder === "you";
}

/** Whether there is a button to take control or hand it back. */
export function mayAsk(control: Control): boolean {
    return control.role !== "watch" && ["open", "lost", "shut"].includes(control.channel);
}

export function isAsking(control: Control): boolean {
    return control.wanted && control.holder !== "you";
}
