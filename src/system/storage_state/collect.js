// Reads the storage of the page's origin, in the form of Playwright's `storageState`.
//
// Runs in an isolated world of an empty page. `text` is JSON: the expected `origin`, `indexedDb` (whether
// databases are read), the `budget` of characters, and the time in milliseconds for one database. Returns
// JSON text: the storage and counts of what was omitted, or `tooLarge`, or the other origin of the page.
async (text) => {
  const { origin, indexedDb, budget, patience } = JSON.parse(text);
  if (location.origin !== origin) return JSON.stringify({ elsewhere: location.origin });

  const MOST_DATABASES = 200;
  // Readers of JSON stop at 128 levels. A level of an encoded value takes three.
  const DEEPEST = 90;
  const DEEPEST_ENCODED = 30;
  class TooLarge extends Error {}
  class Unfit extends Error {} // Playwright's form cannot express the value.
  const omitted = { items: 0, records: 0, databases: 0 };
  let left = budget;
  const spend = (count) => {
    left -= count;
    if (left < 0) throw new TooLarge();
  };
  const checked = (string) => {
    if (!string.isWellFormed()) throw new Unfit();
    spend(string.length + 8);
    return string;
  };
  const fits = (kind, work) => {
    try {
      return work();
    } catch (cause) {
      if (!(cause instanceof Unfit) && !(cause instanceof RangeError)) throw cause;
      omitted[kind] += 1;
      return undefined;
    }
  };

  const kindOf = (value) => Object.prototype.toString.call(value).slice(8, -1);
  const isPlain = (value) => kindOf(value) === "Object" && Object.getPrototypeOf(value) === Object.prototype;
  const TYPED = {
    Int8Array: "i8", Uint8Array: "ui8", Uint8ClampedArray: "ui8c", Int16Array: "i16", Uint16Array: "ui16",
    Int32Array: "i32", Uint32Array: "ui32", Float32Array: "f32", Float64Array: "f64",
    BigInt64Array: "bi64", BigUint64Array: "bui64",
  };
  const base64 = (bytes) => {
    spend(bytes.length * 2);
    let binary = "";
    for (let at = 0; at < bytes.length; at += 8192) {
      binary += String.fromCharCode(...bytes.subarray(at, at + 8192));
    }
    return btoa(binary);
  };

  // True if JSON expresses the value as it is. An object that occurs twice needs a reference.
  const isJson = (value, depth, seen) => {
    if (value === null || typeof value === "boolean" || typeof value === "string") return true;
    if (typeof value === "number") return Number.isFinite(value) && !Object.is(value, -0);
    if (typeof value !== "object" || depth > DEEPEST || seen.has(value)) return false;
    seen.add(value);
    if (Array.isArray(value)) {
      for (let at = 0; at < value.length; at += 1) {
        if (!(at in value) || !isJson(value[at], depth + 1, seen)) return false;
      }
      return Object.keys(value).length === value.length;
    }
    if (!isPlain(value)) return false;
    return Object.keys(value).every((name) => name !== "__proto__" && isJson(value[name], depth + 1, seen));
  };
  // Charges the budget for a value that JSON expresses, and checks its texts.
  const charge = (value) => {
    spend(8);
    if (typeof value === "string") checked(value);
    else if (Array.isArray(value)) value.forEach(charge);
    else if (value !== null && typeof value === "object") {
      for (const name of Object.keys(value)) {
        checked(name);
        charge(value[name]);
      }
    }
  };
  const encode = (value, depth, ids) => {
    spend(16);
    if (depth > DEEPEST_ENCODED) throw new Unfit();
    if (value === undefined) return { v: "undefined" };
    if (value === null) return { v: "null" };
    if (typeof value === "boolean") return value;
    if (typeof value === "string") return checked(value);
    if (typeof value === "number") {
      if (Object.is(value, -0)) return { v: "-0" };
      return Number.isFinite(value) ? value : { v: String(value) };
    }
    if (typeof value === "bigint") return { bi: checked(value.toString()) };
    if (typeof value !== "object") throw new Unfit();
    const kind = kindOf(value);
    if (kind === "Date") return { d: value.toJSON() ?? "" };
    if (kind === "RegExp") return { r: { p: checked(value.source), f: value.flags } };
    if (kind === "Error") {
      const { name, message, stack } = value;
      return { e: { n: checked(String(name)), m: checked(String(message)), s: checked(String(stack ?? "")) } };
    }
    if (kind === "ArrayBuffer") return { ab: { b: base64(new Uint8Array(value)) } };
    if (TYPED[kind]) {
      const bytes = new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
      return { ta: { b: base64(bytes), k: TYPED[kind] } };
    }
    if (ids.has(value)) return { ref: ids.get(value) };
    const id = ids.size + 1;
    ids.set(value, id);
    if (Array.isArray(value)) return { a: Array.from(value, (item) => encode(item, depth + 1, ids)), id };
    if (!isPlain(value)) throw new Unfit();
    const o = Object.keys(value).map((k) => ({ k: checked(k), v: encode(value[k], depth + 1, ids) }));
    return { o, id };
  };
  const put = (record, plain, encoded, value) => {
    // Playwright takes a plain `null` for a missing value.
    if (value !== null && isJson(value, 0, new Set())) {
      charge(value);
      record[plain] = value;
    } else {
      record[encoded] = encode(value, 0, new Map());
    }
  };

  const late = () => new DOMException("the database did not answer", "TimeoutError");
  const within = (work) => {
    let timer;
    const limit = new Promise((_, no) => { timer = setTimeout(() => no(late()), patience); });
    return Promise.race([work, limit]).finally(() => clearTimeout(timer));
  };
  const open = (name) => new Promise((ok, no) => {
    const request = indexedDB.open(name);
    request.onerror = () => no(request.error);
    // It was deleted meanwhile, and must not be created anew.
    request.onupgradeneeded = () => request.transaction.abort();
    request.onsuccess = () => ok(request.result);
  });
  const recordsOf = (store) => new Promise((ok, no) => {
    const records = [];
    const request = store.openCursor();
    request.onerror = () => no(request.error);
    request.onsuccess = () => {
      const cursor = request.result;
      if (!cursor) return ok(records);
      try {
        const record = fits("records", () => {
          const record = {};
          if (store.keyPath === null) put(record, "key", "keyEncoded", cursor.primaryKey);
          put(record, "value", "valueEncoded", cursor.value);
          return record;
        });
        if (record) records.push(record);
        cursor.continue();
      } catch (cause) {
        no(cause);
      }
    };
  });
  const keyPathOf = (path) => {
    if (path === null) return {};
    return typeof path === "string"
      ? { keyPath: checked(path) }
      : { keyPathArray: Array.from(path, checked) };
  };
  const storesOf = async (db) => {
    const names = [...db.objectStoreNames];
    if (names.length === 0) return [];
    const transaction = db.transaction(names, "readonly");
    const stores = [];
    for (const name of names) {
      const store = transaction.objectStore(name);
      const indexes = Array.from(store.indexNames, (name) => {
        const { keyPath, multiEntry, unique } = store.index(name);
        return { name: checked(name), ...keyPathOf(keyPath), multiEntry, unique };
      });
      const records = await recordsOf(store);
      const { autoIncrement, keyPath } = store;
      stores.push({ name: checked(name), autoIncrement, ...keyPathOf(keyPath), records, indexes });
    }
    return stores;
  };

  try {
    const items = [];
    for (let at = 0; at < localStorage.length; at += 1) {
      const name = localStorage.key(at);
      const value = name === null ? null : localStorage.getItem(name);
      if (value === null) continue;
      const item = fits("items", () => ({ name: checked(name), value: checked(value) }));
      if (item) items.push(item);
    }
    const databases = [];
    const infos = indexedDb ? await within(indexedDB.databases()) : [];
    omitted.databases += Math.max(0, infos.length - MOST_DATABASES);
    for (const { name, version } of infos.slice(0, MOST_DATABASES)) {
      let db;
      try {
        checked(name);
        db = await within(open(name));
        databases.push({ name, version: db.version, stores: await within(storesOf(db)) });
      } catch (cause) {
        if (cause instanceof TooLarge) throw cause;
        omitted.databases += 1;
      } finally {
        db?.close();
      }
    }
    return JSON.stringify({ ok: { localStorage: items, indexedDB: databases, omitted } });
  } catch (cause) {
    if (cause instanceof TooLarge) return JSON.stringify({ tooLarge: true });
    return JSON.stringify({ failed: cause.name });
  }
}
