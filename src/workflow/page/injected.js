// Runs in an isolated world of each frame: the page cannot see it, and it cannot break the page.
// `steps` is a locator as `locator.rs` writes it. Functions that wait resolve with a value also
// when the time is over, so that the reason reaches the caller.
(() => {
  if (globalThis.greenroom) return true;
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
  const INPUT_ROLES = {
    button: "button", submit: "button", reset: "button", image: "button", checkbox: "checkbox",
    radio: "radio", range: "slider", number: "spinbutton", search: "searchbox", text: "textbox",
    email: "textbox", tel: "textbox", url: "textbox", password: "textbox",
  };
  const TAG_ROLES = {
    ARTICLE: "article", ASIDE: "complementary", BUTTON: "button", DIALOG: "dialog", FIELDSET: "group",
    FIGURE: "figure", FOOTER: "contentinfo", FORM: "form", H1: "heading", H2: "heading", H3: "heading",
    H4: "heading", H5: "heading", H6: "heading", HEADER: "banner", HR: "separator", LI: "listitem",
    MAIN: "main", NAV: "navigation", OL: "list", UL: "list", OPTION: "option", OUTPUT: "status",
    P: "paragraph", PROGRESS: "progressbar", METER: "meter", TABLE: "table", TBODY: "rowgroup",
    THEAD: "rowgroup", TFOOT: "rowgroup", TD: "cell", TR: "row", TEXTAREA: "textbox", SUMMARY: "button",
  };
  function role(element) {
    const given = (element.getAttribute("role") || "").trim().split(/\s+/)[0];
    if (given) return given;
    switch (element.tagName) {
      case "A": case "AREA": return element.hasAttribute("href") ? "link" : null;
      case "IMG": return element.getAttribute("alt") === "" ? "presentation" : "img";
      case "INPUT": return INPUT_ROLES[element.type] || null;
      case "SELECT": return element.multiple || element.size > 1 ? "listbox" : "combobox";
      case "TH": return element.scope === "row" ? "rowheader" : "columnheader";
      case "SECTION": return name(element) ? "region" : null;
      default: return TAG_ROLES[element.tagName] || null;
    }
  }
  const NAMED_BY_CONTENT = new Set(["button", "cell", "checkbox", "columnheader", "gridcell", "heading",
    "link", "listitem", "menuitem", "menuitemcheckbox", "menuitemradio", "option", "radio", "row",
    "rowheader", "switch", "tab", "tooltip", "treeitem"]);
  function content(element) {
    let text = "";
    for (const node of element.childNodes) {
      if (node.nodeType === Node.TEXT_NODE) text += node.data;
      else if (node.nodeType === Node.ELEMENT_NODE && node.getAttribute("aria-hidden") !== "true") {
        text += " " + (node.getAttribute("aria-label") || node.getAttribute("alt") || content(node)) + " ";
      }
    }
    return text;
  }
  function name(element) {
    const ids = (element.getAttribute("aria-labelledby") || "").split(/\s+/).filter(Boolean);
    const by = ids.map((id) => element.getRootNode().getElementById?.(id)?.textContent || "").join(" ");
    if (squash(by)) return squash(by);
    const own = element.getAttribute("aria-label");
    if (squash(own)) return squash(own);
    if (element.labels?.length) return squash([...element.labels].map((label) => label.textContent).join(" "));
    if (element.tagName === "INPUT" && ["button", "submit", "reset"].includes(element.type)) {
      return squash(element.value || (element.type === "submit" ? "Submit" : element.type === "reset" ? "Reset" : ""));
    }
    const alt = element.getAttribute("alt");
    if (squash(alt)) return squash(alt);
    if (element.tagName === "FIELDSET") return squash(element.querySelector("legend")?.textContent);
    if (element.tagName === "TABLE") return squash(element.querySelector("caption")?.textContent) || squash(element.title);
    const given = element.getAttribute("role");
    const tag = given ? given.split(/\s+/)[0] : element.tagName === "SECTION" ? null : role(element);
    if (NAMED_BY_CONTENT.has(tag)) {
      const text = squash(content(element));
      if (text) return text;
    }
    return squash(element.title) || squash(element.getAttribute("placeholder"));
  }
  const enabled = (element) =>
    !(element.closest('[aria-disabled="true"]') || element.matches(":disabled"));
  const checked = (element) =>
    "checked" in element && element.tagName === "INPUT" ? element.checked
      : element.getAttribute("aria-checked") === "true";
  function holds(element, { name: key, value, exact }) {
    const yes = value !== "false";
    const aria = (attribute) => (element.getAttribute(attribute) === "true") === yes;
    switch (key) {
      case "name": return matches(name(element), value, exact);
      case "checked": return checked(element) === yes;
      case "disabled": return !enabled(element) === yes;
      case "selected": return (element.selected ?? element.getAttribute("aria-selected") === "true") === yes;
      case "expanded": return aria("aria-expanded");
      case "pressed": return aria("aria-pressed");
      case "level": return (element.getAttribute("aria-level") || element.tagName.replace(/^H(?=\d$)/, "")) === value;
      default: return true;
    }
  }
  function hiddenFromUsers(element) {
    return element.closest('[aria-hidden="true"]') !== null || !shown(element);
  }
  // Laid out at all: roles of what is not rendered do not count.
  function shown(element) {
    return element.checkVisibility ? element.checkVisibility({ visibilityProperty: true }) : true;
  }
  function one(root, { engine, body, exact, conditions }) {
    switch (engine) {
      case "css": return css(root, body);
      case "id": return css(root, "#" + CSS.escape(body));
      case "testid": return css(root, `[data-testid="${CSS.escape(body)}"]`);
      case "text": return byText(root, body, exact);
      case "xpath": {
        const base = root.nodeType === Node.DOCUMENT_NODE ? root : root;
        const path = root.nodeType !== Node.DOCUMENT_NODE && body.startsWith("//") ? "." + body : body;
        const found = document.evaluate(path, base, null, XPathResult.ORDERED_NODE_SNAPSHOT_TYPE, null);
        return Array.from({ length: found.snapshotLength }, (_, index) => found.snapshotItem(index))
          .filter((node) => node.nodeType === Node.ELEMENT_NODE);
      }
      case "label": return [...walk(root)].filter((element) =>
        ("labels" in element || element.hasAttribute("aria-label") || element.hasAttribute("aria-labelledby"))
        && labels(element).some((label) => matches(label, body, exact)));
      case "placeholder": case "alt": case "title": return css(root, `[${engine}]`)
        .filter((element) => matches(element.getAttribute(engine), body, exact));
      case "role": {
        const strict = (conditions || []).some((is) => is.name === "exact" && is.value !== "false");
        return [...walk(root)].filter((element) => role(element) === body && !hiddenFromUsers(element)
          && (conditions || []).every((is) => holds(element, { ...is, exact: is.exact || strict })));
      }
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
  function pointOf(element, force) {
    const box = () => {
      const boxes = [...element.getClientRects()].filter((rect) => rect.width > 0 && rect.height > 0);
      return boxes[0] || element.getBoundingClientRect();
    };
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
  const above = (node) => node.assignedSlot || node.parentElement || node.getRootNode()?.host || null;
  function reaches(hit, element) {
    const label = hit.closest?.("label");
    if (label && (label.control === element || label.contains(element))) return true;
    for (let node = hit; node; node = above(node)) if (node === element) return true;
    // A click on a label of the element, or on a button around it, arrives as well.
    const around = element.closest("button, a, [role=button], [role=link], label");
    if (around) for (let node = hit; node; node = above(node)) if (node === around) return true;
    return false;
  }
  function describe(element) {
    const id = element.id ? `#${element.id}` : "";
    const kind = typeof element.className === "string" && element.className.trim()
      ? "." + element.className.trim().split(/\s+/).slice(0, 2).join(".") : "";
    return `<${element.tagName.toLowerCase()}${id}${kind}>`;
  }

  const wait = (element, wants) => {
    if (!element) return "no element matches";
    if (wants.includes("visible") && !visible(element)) return "the element is not visible";
    if (wants.includes("enabled") && !enabled(element)) return "the element is disabled";
    if (wants.includes("editable") && !editable(element)) return "the element cannot be edited";
    return null;
  };
  const api = {
    held: null,
    guard: null,
    all,
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
    release() { api.held = null; return true; },
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
  return true;
})()
