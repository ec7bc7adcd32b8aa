// Input from on-screen keyboards. A phone shows its keyboard for a text field; the text that is entered
// there is sent as key presses.

const BACKSPACE = 0xff08;
const RETURN = 0xff0d;

/** X keysyms of the keys that a phone's keyboard lacks. */
export const KEYS: Readonly<Record<string, number>> = {
    escape: 0xff1b,
    tab: 0xff09,
    left: 0xff51,
    up: 0xff52,
    right: 0xff53,
    down: 0xff54,
};

/** Latin-1 keysyms are the code points; others are marked as Unicode. */
export function keysymOf(character: string): number {
    const point = character.codePointAt(0) ?? 0;
    const latin = (point >= 0x20 && point <= 0x7e) || (point >= 0xa0 && point <= 0xff);
    return latin ? point : 0x01000000 | point;
}

/** Sends the text that is entered into `field` as keys. The field always has some text to delete. */
export function relay(field: HTMLTextAreaElement, press: (keysym: number) => void): void {
    const filler = "\u00b7".repeat(32);
    let before = filler;
    const refill = () => {
        field.value = filler;
        before = filler;
        field.setSelectionRange(filler.length, filler.length);
    };
    refill();
    field.addEventListener("focus", refill);
    field.addEventListener("input", (event) => {
        const now = field.value;
        let same = 0;
        while (same < before.length && same < now.length && before[same] === now[same]) same += 1;
        for (let gone = before.length - same; gone > 0; gone -= 1) press(BACKSPACE);
        for (const character of now.slice(same)) {
            press(character === "\n" ? RETURN : keysymOf(character));
        }
        before = now;
        // A change of the field would break an active composition.
        const composing = event instanceof InputEvent && event.isComposing;
        if (!composing && (now.length < 8 || now.length > 96)) refill();
    });
    field.addEventListener("keydown", (event) => {
        const key = { Escape: KEYS["escape"], Tab: KEYS["tab"] }[event.key];
        if (key === undefined) return;
        event.preventDefault();
        press(key);
    });
}
