// Runs in an isolated world of each frame: the page cannot see it, and it cannot break the page.
// `steps` is a locator as `locator.rs` writes it. Functions that wait resolve with a value also
// when the time is over, so that the reason reaches the caller.
(() => {
  if (globalThis.greenroom) return document;
  const squash = (text) => (text || "").replace(/\s+/g, " ").trim();
  const matches = (found, wanted, exact) =>
    exact ? squash(found) === squash(wanted)
      : squash(found).toLowerCase().includes(squash(wanted).toLowerCase());

  // Everything below `root`, open shadow trees included.
  function* walk(root) {
    const list = root.querySelectorAll ? root.querySelectorAll("*") : [];
    for (const element of list) {
      yield element;
      if (element.shadowRoot) yield* walk(element.shadowRoot);
    }
  }
  function css(root, selector) {
    const found = [...root.querySelectorAll(selector)];
    for (const element of walk(root)) {
      if (element.shadowRoot) found.push(...element.shadowRoot.querySelectorAll(selector));
    }
    return [...new Set(found)];
  }
  function textOf(element) {
    if (element instanceof HTMLInputElement && ["button", "submit", "reset"].includes(element.type)) {
      return element.value;
    }
    if (["SCRIPT", "STYLE", "NOSCRIPT", "HEAD", "TITLE"].includes(element.tagName)) return "";
    return element.textContent || "";
  }
  function byText(root, body, exact) {
    const found = [...walk(root)].filter((element) => matches(textOf(element), body, exact));
    // The smallest element that has the text: one with no other match in it.
    return found.filter((element) => !found.some((other) => other !== element && element.contains(other)));
  }
  function labels(element) {
    const texts = [...(element.labels || [])].map((label) => label.textContent);
    const ids = (element.getAttribute("aria-labelledby") || "").split(/\s+/).filter(Boolean);
    for (const id of ids) {
      const other = element.getRootNode().getElementById?.(id);
      if (other) texts.push(other.textContent);
    }
    const own = element.getAttribute("aria-label");
    if (own) texts.push(own);
    return texts;
  }
  const enabled = (element) =>
    !(element.closest('[aria-disabled="true"]') || element.matches(":disabled"));
  const checked = (element) =>
    "checked" in element && element.tagName === "INPUT" ? element.checked
      : element.getAttribute("aria-checked") === "true";
  function shown(element) {
    return element.checkVisibility ? element.checkVisibility({ visibilityProperty: true }) : true;
  }
  const above = (node) => node.assignedSlot || node.parentElement || node.getRootNode()?.host || null;
  function inOrder(found) {
    if (found.size < 2) return [...found].filter((element) => element.isConnected);
    return [...walk(document)].filter((element) => found.has(element));
  }
  // True if an element belongs to another: as its descendant, or by `aria-owns`.
  function within(element, root) {
    if (root === document) return true;
    const owners = new Map();
    for (const owner of document.querySelectorAll("[aria-owns]")) {
      for (const id of owner.getAttribute("aria-owns").split(/\s+/).filter(Boolean)) owners.set(id, owner);
    }
    const seen = new Set();
    const open = [element];
    while (open.length) {
      const node = open.pop();
      const around = [above(node), owners.get(node.id)].filter((other) => other && !seen.has(other));
      if (around.includes(root)) return true;
      for (const other of around) { seen.add(other); open.push(other); }
    }
    return false;
  }
  function one(root, { engine, body, exact, found }) {
    switch (engine) {
      case "css": return css(root, body);
      case "id": return css(root, "#" + CSS.escape(body));
      case "testid": return css(root, `[data-testid="${CSS.escape(body)}"]`);
      case "text": return byText(root, body, exact);
      case "xpath": {
        const base = root.nodeType === Node.DOCUMENT_NODE ? root : root;
        const path = root.nodeType !== Node.DOCUMENT_NODE && body.startsWith("//") ? "." + body : body;
        const nodes = document.evaluate(path, base, null, XPathResult.ORDERED_NODE_SNAPSHOT_TYPE, null);
        return Array.from({ length: nodes.snapshotLength }, (_, index) => nodes.snapshotItem(index))
          .filter((node) => node.nodeType === Node.ELEMENT_NODE);
      }
      case "label": return [...walk(root)].filter((element) =>
        ("labels" in element || element.hasAttribute("aria-label") || element.hasAttribute("aria-labelledby"))
        && labels(element).some((label) => matches(label, body, exact)));
      case "placeholder": case "alt": case "title": return css(root, `[${engine}]`)
        .filter((element) => matches(element.getAttribute(engine), body, exact));
      // The driver has found these elements, in the whole frame.
      case "ref": return [...found];
      case "role": return inOrder(found).filter((element) => within(element, root));
      default: throw new Error(`no engine ${engine}`);
    }
  }
  function all(steps, root = document) {
    let found = [root];
    for (const step of steps) {
      if (step.engine === "nth") {
        const index = Number(step.body);
        found = [found.at(index)].filter(Boolean);
        continue;
      }
      const next = new Set();
      for (const base of found) for (const element of one(base, step)) next.add(element);
      found = [...next];
    }
    return found.filter((element) => element !== document);
  }
  const first = (steps) => all(steps)[0] || null;

  function visible(element) {
    if (!element.isConnected || !shown(element)) return false;
    const box = element.getBoundingClientRect();
    if (box.width > 0 && box.height > 0) return true;
    return getComputedStyle(element).display === "contents"
      && [...element.children].some(visible);
  }
  function editable(element) {
    if (element.isContentEditable) return true;
    return ["INPUT", "TEXTAREA", "SELECT"].includes(element.tagName) && !element.readOnly
      && element.getAttribute("aria-readonly") !== "true";
  }
  // A frame of the picture, or a little time where none is painted.
  const tick = () => new Promise((resolve) => {
    const timer = setTimeout(resolve, 50);
    requestAnimationFrame(() => { clearTimeout(timer); resolve(); });
  });
  const holdsState = (steps, state) => {
    const element = first(steps);
    switch (state) {
      case "attached": return element !== null;
      case "detached": return element === null;
      case "visible": return element !== null && all(steps).some(visible);
      case "hidden": return !all(steps).some(visible);
      case "enabled": return element !== null && enabled(element);
      case "disabled": return element !== null && !enabled(element);
      case "checked": return element !== null && checked(element);
      case "unchecked": return element !== null && !checked(element);
      default: throw new Error(`no state ${state}`);
    }
  };
  async function until(timeout, probe) {
    const end = performance.now() + timeout;
    for (;;) {
      const found = await probe();
      if (found.ok || performance.now() >= end) return found;
      await tick();
    }
  }

  // A point of the element that is in view and that a click would reach.
  function boxOf(element) {
    const boxes = [...element.getClientRects()].filter((rect) => rect.width > 0 && rect.height > 0);
    return boxes[0] || element.getBoundingClientRect();
  }
  function pointOf(element, force) {
    const box = () => boxOf(element);
    const outside = (rect) => rect.bottom <= 1 || rect.right <= 1 || rect.top >= innerHeight - 1 || rect.left >= innerWidth - 1
      || (rect.left + rect.right) / 2 < 0 || (rect.left + rect.right) / 2 > innerWidth
      || (rect.top + rect.bottom) / 2 < 0 || (rect.top + rect.bottom) / 2 > innerHeight;
    const tries = [
      () => outside(box()) && element.scrollIntoView({ block: "center", inline: "center", behavior: "instant" }),
      () => element.scrollIntoView({ block: "center", inline: "center", behavior: "instant" }),
      () => element.scrollIntoView({ block: "end", inline: "end", behavior: "instant" }),
      () => element.scrollIntoView({ block: "start", inline: "start", behavior: "instant" }),
    ];
    let reason = "the element is outside of the view";
    for (const scroll of tries) {
      scroll();
      const rect = box();
      if (outside(rect)) continue;
      const x = (Math.max(rect.left, 0) + Math.min(rect.right, innerWidth)) / 2;
      const y = (Math.max(rect.top, 0) + Math.min(rect.bottom, innerHeight)) / 2;
      const at = { ok: true, x, y, left: rect.left, top: rect.top };
      if (force) return at;
      const hit = hitAt(x, y);
      if (hit && reaches(hit, element)) return at;
      reason = hit ? `${describe(hit)} covers the element` : "the element receives no events";
    }
    return { ok: false, reason };
  }
  function hitAt(x, y) {
    let hit = document.elementFromPoint(x, y);
    while (hit?.shadowRoot) {
      const inner = hit.shadowRoot.elementFromPoint(x, y);
      if (!inner || inner === hit) break;
      hit = inner;
    }
    return hit;
  }
  function reaches(hit, element) {
    const label = hit.closest?.("label");
    if (label && (label.control === element || label.contains(element))) return true;
    for (let node = hit; node; node = above(node)) if (node === element) return true;
    // A click on a label of the element, or on a button around it, arrives as well.
    const around = element.closest("button, a, [role=button], [role=link], label");
    if (around) for (let node = hit; node; node = above(node)) if (node === around) return true;
    return false;
  }
  // The part of an element that can be seen, as far as this frame knows; null if there is none.
  function seenOf(element) {
    if (!visible(element)) return null;
    let { left, top, right, bottom } = element.getBoundingClientRect();
    for (let node = above(element); node; node = above(node)) {
      if (node === document.body || node === document.documentElement) break;
      const { overflowX, overflowY } = getComputedStyle(node);
      if (overflowX === "visible" && overflowY === "visible") continue;
      const rect = node.getBoundingClientRect();
      [left, top] = [Math.max(left, rect.left), Math.max(top, rect.top)];
      [right, bottom] = [Math.min(right, rect.right), Math.min(bottom, rect.bottom)];
    }
    if (right - left < 1 || bottom - top < 1) return null;
    const x = (Math.max(left, 0) + Math.min(right, innerWidth)) / 2;
    const y = (Math.max(top, 0) + Math.min(bottom, innerHeight)) / 2;
    if (right > 0 && bottom > 0 && left < innerWidth && top < innerHeight) {
      const hit = hitAt(x, y);
      if (hit && !reaches(hit, element)) return null;
    }
    return { x: left, y: top, width: right - left, height: bottom - top };
  }
  // The page chooses these texts, and they get into messages.
  function short(text) {
    const cut = [...squash(String(text).slice(0, 1000))].slice(0, 60).join("");
    return cut.toWellFormed ? cut.toWellFormed() : cut;
  }
  function describe(element) {
    const id = typeof element.id === "string" && element.id ? `#${short(element.id)}` : "";
    const kind = typeof element.className === "string" && element.className.trim()
      ? "." + squash(element.className.slice(0, 1000)).split(" ").slice(0, 2).map(short).join(".") : "";
    return `<${short(element.tagName).toLowerCase()}${id}${kind}>`;
  }

  const wait = (element, wants) => {
    if (!element) return "no element matches";
    if (wants.includes("visible") && !visible(element)) return "the element is not visible";
    if (wants.includes("enabled") && !enabled(element)) return "the element is disabled";
    if (wants.includes("editable") && !editable(element)) return "the element cannot be edited";
    return null;
  };
  // Puts the elements that the driver found at their steps, wherever those are in `sought`.
  function bind(sought, sets) {
    if (sought === null || typeof sought !== "object") return;
    if (typeof sought.given === "number") sought.found = sets[sought.given];
    else Object.values(sought).forEach((inner) => bind(inner, sets));
  }
  function* stepsIn(sought) {
    if (sought === null || typeof sought !== "object") return;
    if (sought.found instanceof Set) yield sought;
    else for (const inner of Object.values(sought)) yield* stepsIn(inner);
  }
  const api = {
    held: null,
    guard: null,
    drag: null,
    all,
    // Calls a method whose first argument may contain steps with elements of the driver. `sizes` has
    // the number of elements of each.
    call(method, args, sizes, ...elements) {
      const sets = sizes.map((size) => new Set(elements.splice(0, size)));
      bind(args[0], sets);
      for (const step of stepsIn(args[0])) {
        if (step.engine === "ref" && [...step.found].some((element) => !element.isConnected)) {
          return { ok: false, stale: true };
        }
      }
      return api[method](...args);
    },
    // Waits until the first element is ready for what is wanted, and holds it.
    ready(steps, wants, timeout) {
      return until(timeout, async () => {
        const element = first(steps);
        const reason = wait(element, wants);
        if (reason) return { ok: false, reason };
        if (wants.includes("stable")) {
          const before = element.getBoundingClientRect();
          await tick();
          const after = element.getBoundingClientRect();
          if (!element.isConnected) return { ok: false, reason: "the element was removed" };
          if (before.x !== after.x || before.y !== after.y || before.width !== after.width || before.height !== after.height) {
            return { ok: false, reason: "the element is moving" };
          }
        }
        api.held = element;
        if (wants.includes("point") || wants.includes("forced")) return pointOf(element, wants.includes("forced"));
        return { ok: true };
      });
    },
    state: (steps, state, timeout) => until(timeout, async () =>
      holdsState(steps, state) ? { ok: true } : { ok: false, reason: `no element is ${state}` }),
    text: (text, timeout) => until(timeout, async () =>
      matches(document.body?.innerText, text, false) ? { ok: true } : { ok: false, reason: "the page does not show the text" }),
    // Focuses the held field and selects what is in it. `typed` says that the text must be inserted.
    prepare(value) {
      const element = api.held;
      element.focus();
      const type = element.tagName === "INPUT" ? element.type : "";
      if (["checkbox", "radio", "file", "button", "submit", "reset", "image"].includes(type)) {
        return { ok: false, reason: `a field of type ${type} cannot be filled` };
      }
      if (["color", "date", "datetime-local", "month", "range", "time", "week"].includes(type)) {
        const setter = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set;
        setter.call(element, value);
        if (element.value !== value && !(type === "range" || type === "color")) {
          return { ok: false, reason: `the field of type ${type} does not take the value` };
        }
        element.dispatchEvent(new Event("input", { bubbles: true, composed: true }));
        element.dispatchEvent(new Event("change", { bubbles: true }));
        return { ok: true, typed: false };
      }
      if (element.tagName === "SELECT") return { ok: false, reason: "a list is not filled but selected from" };
      if (element.isContentEditable) {
        const range = document.createRange();
        range.selectNodeContents(element);
        const selection = getSelection();
        selection.removeAllRanges();
        selection.addRange(range);
        return { ok: true, typed: true, empty: element.textContent === "" };
      }
      element.select();
      return { ok: true, typed: true, empty: element.value === "" };
    },
    focus() { api.held.focus(); return { ok: true }; },
    select(values) {
      const element = api.held.tagName === "SELECT" ? api.held : api.held.closest("label")?.control;
      if (element?.tagName !== "SELECT") return { ok: false, reason: "the element is not a list to select from" };
      const options = [...element.options];
      const chosen = [];
      for (const value of values) {
        const option = options.find((option) => option.value === value)
          || options.find((option) => squash(option.label) === squash(value));
        if (!option) return { ok: false, reason: `there is no option \`${value}\`` };
        if (option.disabled) return { ok: false, reason: `the option \`${value}\` is disabled` };
        chosen.push(option);
      }
      if (!element.multiple && chosen.length > 1) return { ok: false, reason: "the list takes a single option" };
      for (const option of options) option.selected = chosen.includes(option);
      element.dispatchEvent(new Event("input", { bubbles: true, composed: true }));
      element.dispatchEvent(new Event("change", { bubbles: true }));
      return { ok: true, values: [...element.selectedOptions].map((option) => option.value) };
    },
    scroll(x, y, to) {
      const element = api.held || document.scrollingElement || document.documentElement;
      if (to) element.scrollTo({ top: to === "top" ? 0 : element.scrollHeight, behavior: "instant" });
      else if (x || y) element.scrollBy({ left: x, top: y, behavior: "instant" });
      else element.scrollIntoView({ block: "center", inline: "nearest", behavior: "instant" });
      return { ok: true, x: element.scrollLeft, y: element.scrollTop };
    },
    // From now on what was meant for the held element does not reach another: the page may have
    // moved since the element was looked at.
    arm() {
      const guard = { missed: false };
      const types = ["pointerdown", "mousedown", "pointerup", "mouseup", "click", "dblclick", "auxclick", "contextmenu"];
      const check = (event) => {
        if (!event.isTrusted) return;
        if (event.type === "pointerdown") {
          const hit = event.composedPath()[0];
          guard.missed = !(hit instanceof Node) || !(api.held.contains(hit) || reaches(hit, api.held));
        }
        if (guard.missed) {
          event.preventDefault();
          event.stopImmediatePropagation();
        }
      };
      for (const type of types) addEventListener(type, check, { capture: true, passive: false });
      guard.off = () => types.forEach((type) => removeEventListener(type, check, { capture: true }));
      api.guard?.off();
      api.guard = guard;
      return { ok: true };
    },
    disarm() {
      const missed = api.guard?.missed || false;
      api.guard?.off();
      api.guard = null;
      return { ok: true, missed };
    },
    // The rectangle of the held element, and the place of its first box.
    box() {
      const { left, top, width, height } = api.held.getBoundingClientRect();
      const first = boxOf(api.held);
      return { ok: true, x: left, y: top, left: first.left, top: first.top, value: { width, height } };
    },
    // The parts that can be seen of the driver's elements. `at` is one of them that has a place.
    boxes({ found }) {
      const elements = [...found];
      const boxes = elements.map(seenOf);
      const at = boxes.findIndex((box) => box !== null);
      if (at < 0) return { ok: true, value: { at: null, boxes } };
      const { left, top } = boxOf(elements[at]);
      return { ok: true, x: 0, y: 0, left, top, value: { at, boxes } };
    },
    // The number of elements, and of the characters of texts and attributes, open shadow trees
    // included. Counts no further than the limits.
    size(_nothing, mostElements, mostText) {
      // A field of a form may have the name of a property.
      const { get } = Object.getOwnPropertyDescriptor(Element.prototype, "attributes");
      let elements = 0;
      let text = document.documentElement?.textContent?.length ?? 0;
      for (const element of walk(document)) {
        elements += 1;
        text += element.shadowRoot?.textContent?.length ?? 0;
        for (const { name, value } of get.call(element)) {
          text += name.length + value.length;
          if (text > mostText) break;
        }
        if (elements > mostElements || text > mostText) break;
      }
      return { ok: true, value: { elements, text } };
    },
    watchDrag() {
      const watch = { event: null };
      const listen = (event) => { watch.event = event; };
      addEventListener("dragstart", listen, { capture: true });
      watch.off = () => removeEventListener("dragstart", listen, { capture: true });
      api.drag?.off();
      api.drag = watch;
      return { ok: true };
    },
    // True if the page has started a drag of HTML since.
    dragging() {
      const event = api.drag?.event;
      api.drag?.off();
      api.drag = null;
      return { ok: true, drags: Boolean(event) && !event.defaultPrevented };
    },
    release() { api.held = null; return { ok: true }; },
    // What an assertion looks at, in one go.
    facts(steps) {
      const found = steps ? all(steps) : [];
      const element = found[0] || null;
      return {
        count: found.length,
        text: squash(steps ? element?.innerText ?? element?.textContent : document.body?.innerText),
        value: element?.value ?? null,
        visible: found.some(visible),
        enabled: element ? enabled(element) : false,
        checked: element ? checked(element) : false,
        title: document.title,
      };
    },
    // Reads `field` as `extract.rs` writes it.
    extract(field, timeout, optional) {
      const missing = [];
      let some = false;
      const typed = (text, type) => {
        if (text === null || !type || type === "string") return text;
        if (type === "boolean") return !["", "false", "no", "0", "off"].includes(text.toLowerCase());
        const plain = text.replace(/[^\d.,+-]/g, "").replace(/,(?=\d{3}(\D|$))/g, "").replace(",", ".");
        const number = plain === "" ? NaN : Number(plain);
        return Number.isNaN(number) ? null : type === "integer" ? Math.trunc(number) : number;
      };
      const read = (element, field, path) => {
        if (field.fields) {
          const object = {};
          for (const [key, inner] of Object.entries(field.fields)) object[key] = value(element, inner, path.concat(key));
          return object;
        }
        if (field.attribute) return typed(element.getAttribute?.(field.attribute) ?? null, field.type);
        const text = "value" in element && ["INPUT", "TEXTAREA", "SELECT"].includes(element.tagName)
          ? element.value : squash(element.innerText ?? element.textContent);
        return typed(text, field.type);
      };
      const value = (root, field, path) => {
        const found = field.steps ? all(field.steps, root) : [root];
        if (field.steps && found.length) some = true;
        if (field.required && !found.length) missing.push(path.join("."));
        if (field.all) return found.map((element) => read(element, field, path));
        return found.length ? read(found[0], field, path) : null;
      };
      return until(optional ? 0 : timeout, async () => {
        missing.length = 0;
        some = false;
        const result = value(document, field, []);
        if (missing.length) return { ok: false, reason: `nothing was found for ${missing.join(", ")}` };
        if (!some && !optional) return { ok: false, reason: "no element matches any of the selectors" };
        return { ok: true, value: result };
      });
    },
  };
  globalThis.greenroom = api;
  return document;
})()
