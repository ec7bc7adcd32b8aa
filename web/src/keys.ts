// Keys that go up where nobody is told.

/** Modifiers: that these go up is told whatever else is down. */
const MODIFIERS: readonly string[] = ["Alt", "CapsLock", "Control", "Fn", "Meta", "Shift"];

export function isApple(): boolean {
    return /^(Mac|iP)/.test(navigator.platform);
}

/**
 * Tells `target` of keys that went down in it and up unseen, as if each had gone up just then: the one
 * that listens, ours or noVNC, lets go of those that it takes to be down. A key that is held after all
 * goes down again when it repeats.
 *
 * Apple's systems tell of no key that goes up while Command is down: that is made up for when Command
 * goes up. With `onBlur`, all keys go up when the focus leaves.
 */
export function letGoUnseen(target: HTMLElement, onBlur: boolean): void {
    const down = new Map<string, KeyboardEvent>();
    const letGo = (at: EventTarget | null, wanted: (key: string) => boolean) => {
        for (const { key, code, keyCode } of [...down.values()]) {
            if (!wanted(key)) continue;
            at?.dispatchEvent(new KeyboardEvent("keyup", { key, code, keyCode, cancelable: true }));
        }
    };
    // On the way down to whoever listens: noVNC lets no key come back up from its canvas.
    const capture = true;
    target.addEventListener("keydown", (event) => down.set(placeOf(event), event), { capture });
    target.addEventListener(
        "keyup",
        (event) => {
            down.delete(placeOf(event));
            if (event.key === "Meta" && isApple()) letGo(event.target, (key) => !MODIFIERS.includes(key));
        },
        { capture },
    );
    // Caps Lock goes up when it is switched off, and would be.
    if (onBlur) target.addEventListener("focusout", (event) => letGo(event.target, (key) => key !== "CapsLock"));
}

/** The same when a key goes down and up, although what it writes may differ. */
export function placeOf({ code, key }: KeyboardEvent): string {
    return code || key;
}
