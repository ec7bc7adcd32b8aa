// Key releases without an event.

/** Modifiers, whose releases are always reported. */
const MODIFIERS: readonly string[] = ["Alt", "CapsLock", "Control", "Fn", "Meta", "Shift"];

export function isApple(): boolean {
    return /^(Mac|iP)/.test(navigator.platform);
}

/**
* Dispatches `keyup` to `target` for pressed keys whose release causes no event, so that its listener, ours
 * or noVNC's, releases them. A key that is still held is pressed again when it repeats.
 *
* Apple's systems report no release while Command is pressed; the events follow when Command is released.
 * With `onBlur`, all keys are released when the focus leaves.
 */
export function releaseUnseen(target: HTMLElement, onBlur: boolean): void {
    const down = new Map<string, KeyboardEvent>();
    const release = (at: EventTarget | null, wanted: (key: string) => boolean) => {
        for (const { key, code, keyCode } of [...down.values()]) {
            if (!wanted(key)) continue;
            at?.dispatchEvent(new KeyboardEvent("keyup", { key, code, keyCode, cancelable: true }));
        }
    };
    // In the capture phase, because noVNC stops the events at its canvas.
    const capture = true;
    target.addEventListener("keydown", (event) => down.set(placeOf(event), event), { capture });
    target.addEventListener(
        "keyup",
        (event) => {
            down.delete(placeOf(event));
            if (event.key === "Meta" && isApple()) release(event.target, (key) => !MODIFIERS.includes(key));
        },
        { capture },
    );
    // A release of Caps Lock would switch it off.
    if (onBlur) target.addEventListener("focusout", (event) => release(event.target, (key) => key !== "CapsLock"));
}

/** An identifier that is equal for the press and the release of a key, whose character may differ. */
export function placeOf({ code, key }: KeyboardEvent): string {
    return code || key;
}
