// Apple's keyboards, which keep quiet about some keys.

/** Modifiers: that these go up is told whatever else is down. */
const MODIFIERS: readonly string[] = ["Alt", "CapsLock", "Control", "Fn", "Meta", "Shift"];

export function isApple(): boolean {
    return /^(Mac|iP)/.test(navigator.platform);
}

/**
 * Apple's systems tell of no key that goes up while Command is down. Once Command goes up, `target`
 * is told of every key in it that went down before, as if each had gone up just then: the one that
 * listens, ours or noVNC, lets go of those that it takes to be down. A key that is held after all
 * goes down again when it repeats.
 */
export function letGoWithCommand(target: HTMLElement): void {
    if (!isApple()) return;
    const down = new Map<string, KeyboardEvent>();
    // On the way down to whoever listens: noVNC lets no key come back up from its canvas.
    const capture = true;
    target.addEventListener(
        "keydown",
        (event) => {
            if (!MODIFIERS.includes(event.key)) down.set(placeOf(event), event);
        },
        { capture },
    );
    target.addEventListener(
        "keyup",
        (event) => {
            down.delete(placeOf(event));
            if (event.key !== "Meta") return;
            for (const { key, code, keyCode } of [...down.values()]) {
                const up = new KeyboardEvent("keyup", { key, code, keyCode, cancelable: true });
                event.target?.dispatchEvent(up);
            }
        },
        { capture },
    );
}

/** The same when a key goes down and up, although what it writes may differ. */
export function placeOf({ code, key }: KeyboardEvent): string {
    return code || key;
}
