// The control of the session, as this viewer knows it: the holder's input reaches the browser. The server
// decides, and this module keeps its last message. A server without a message channel accepts the input of
// every viewer.

export type Role = "watch" | "control";

export interface Control {
    /** The message channel: not known yet, open, reconnecting, not offered so far, or rejected. */
    readonly channel: "unknown" | "open" | "lost" | "absent" | "shut";
    /** True if this server reports the holder of control. Other servers obey without a report. */
    readonly announced: boolean;
    /** True if this viewer has requested control. The request is repeated after a reconnect. */
    readonly wanted: boolean;
    readonly holder: "agent" | "you" | "other";
    /** The name of another holder. */
    readonly name: string | null;
    readonly role: Role | null;
    /** The reason for which the last request was refused. */
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

/** The server's report of the holder of control. */
export interface ControlMessage {
    readonly by?: string | null;
    readonly you?: boolean | null;
    readonly label?: string | null;
    readonly role?: string | null;
}

export type ControlEvent =
    | { readonly kind: "opened" | "lost" | "absent" | "shut" | "take" | "cede" | "forget" }
    | { readonly kind: "reported"; readonly message: ControlMessage }
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
            // A rejected viewer receives no more reports.
            return { ...control, channel: "shut", wanted: false, holder: "agent", name: null, refused: null };
        case "forget": {
            // The server has returned control to the agent, which must not be interrupted without a request.
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
        case "reported":
            return reported(control, event.message);
    }
}

function reported(control: Control, message: ControlMessage): Control {
    const holder = message.you ? "you" : message.by === "user" ? "other" : "agent";
    // Lost control is not requested again, and another person is not overruled.
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
        refused: control.wanted && holder === "other" ? "Another person has control." : null,
    };
}

/** True if this viewer's input is sent. The server filters it in any case. */
export function mayType(control: Control): boolean {
    if (control.role === "watch") return false;
    return control.channel === "absent" || control.holder === "you";
}

/** True if there is a button to take or release control. */
export function mayAsk(control: Control): boolean {
    return control.role !== "watch" && ["open", "lost", "shut"].includes(control.channel);
}

export function isAsking(control: Control): boolean {
    return control.wanted && control.holder !== "you";
}
