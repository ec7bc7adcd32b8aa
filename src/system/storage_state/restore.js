// Writes storage in the form of Playwright's `storageState` into the page's origin.
//
// Runs in an isolated world of an empty page. `text` is JSON: the `storage` of the expected origin, and the
// time in milliseconds for one database. Other items and databases stay. Returns JSON
// text: whether `localStorage` has changed and how many records have no key, as Playwright loses the key 0;
// or what `failed`, without any value; or the other origin of the page.
async (text) => {
  const { storage, patience } = JSON.parse(text);
  const { origin, localStorage: items, indexedDB: databases = [] } = storage;
  if (location.origin !== origin) return JSON.stringify({ elsewhere: location.origin });

  const TYPED = {
    i8: Int8Array, ui8: Uint8Array, ui8c: Uint8ClampedArray, i16: Int16Array, ui16: Uint16Array,
    i32: Int32Array, ui32: Uint32Array, f32: Float32Array, f64: Float64Array,
    bi64: BigInt64Array, bui64: BigUint64Array,
  };
  const bytes = (base64) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const NAMED = { null: null, NaN, Infinity, "-Infinity": -Infinity, "-0": -0 };
  const decode = (value, refs) => {
    if (typeof value !== "object" || value === null) return value;
    if ("ref" in value) return refs.get(value.ref);
    if ("v" in value) return Object.hasOwn(NAMED, value.v) ? NAMED[value.v] : undefined;
    if ("d" in value) return new Date(value.d);
    if ("bi" in value) return BigInt(value.bi);
    if ("r" in value) return new RegExp(value.r.p, value.r.f);
    if ("e" in value) {
      const error = new Error(value.e.m);
      error.name = value.e.n;
      error.stack = value.e.s;
      return error;
    }
    if ("ta" in value) return new TYPED[value.ta.k](bytes(value.ta.b).buffer);
    if ("ab" in value) return bytes(value.ab.b).buffer;
    if ("a" in value) {
      const list = [];
      refs.set(value.id, list);
      for (const item of value.a) list.push(decode(item, refs));
      return list;
    }
    if ("o" in value) {
      const object = {};
      refs.set(value.id, object);
      for (const { k, v } of value.o) if (k !== "__proto__") object[k] = decode(v, refs);
      return object;
    }
    return undefined;
  };
  const read = (record, plain, encoded) => plain in record ? record[plain] : decode(record[encoded], new Map());

  const error = (name) => new DOMException("", name);
  const within = (work) => {
    let timer;
    const limit = new Promise((_, no) => { timer = setTimeout(() => no(error("TimeoutError")), patience); });
    return Promise.race([work, limit]).finally(() => clearTimeout(timer));
  };
  const keyPathOf = (it) => it.keyPathArray ?? it.keyPath ?? null;
  const request = (it, upgrade) => new Promise((ok, no) => {
    it.onsuccess = () => ok(it.result);
    it.onerror = () => no(it.error);
    it.onblocked = () => no(error("BlockedError"));
    it.onupgradeneeded = () => {
      try {
        upgrade?.(it.result);
      } catch (cause) {
        it.transaction.abort();
        no(cause);
      }
    };
  });
  const opened = (database) => request(indexedDB.open(database.name, database.version), (db) => {
    for (const store of database.stores) {
      const { autoIncrement, name } = store;
      const made = db.createObjectStore(name, { autoIncrement, keyPath: keyPathOf(store) });
      for (const index of store.indexes) {
        const { multiEntry, unique } = index;
        made.createIndex(index.name, keyPathOf(index), { multiEntry, unique });
      }
    }
  });
  const shape = (stores) => JSON.stringify(stores.map((store) => [
    store.name, store.autoIncrement, keyPathOf(store),
    store.indexes.map((index) => [index.name, keyPathOf(index), index.multiEntry, index.unique]).sort(),
  ]).sort());
  const shapeOf = (db) => {
    const names = [...db.objectStoreNames];
    if (names.length === 0) return shape([]);
    const transaction = db.transaction(names, "readonly");
    return shape(names.map((name) => {
      const store = transaction.objectStore(name);
      const indexes = Array.from(store.indexNames, (name) => store.index(name));
      return { name, autoIncrement: store.autoIncrement, keyPath: store.keyPath, indexes };
    }));
  };
  let keyless = 0;
  const fill = (db, stores) => new Promise((ok, no) => {
    if (stores.length === 0) return ok();
    const transaction = db.transaction(stores.map((store) => store.name), "readwrite", { durability: "strict" });
    transaction.oncomplete = () => ok();
    transaction.onabort = () => no(transaction.error ?? error("AbortError"));
    try {
      for (const { name, records } of stores) {
        const store = transaction.objectStore(name);
        store.clear();
        for (const record of records) {
          const value = read(record, "value", "valueEncoded");
          const key = store.keyPath === null ? read(record, "key", "keyEncoded") : undefined;
          if (key !== undefined) store.put(value, key);
          else if (store.keyPath !== null || store.autoIncrement) store.put(value);
          else keyless += 1;
        }
      }
    } catch (cause) {
      no(cause);
      transaction.abort();
    }
  });
  const restore = async (database) => {
    const present = (await indexedDB.databases()).find(({ name }) => name === database.name);
    // Not deleted here: a deletion that a tab blocks would stay pending, and block the site.
    if (present && present.version !== database.version) throw error("FormError");
    const db = await opened(database);
    try {
      if (shapeOf(db) !== shape(database.stores)) throw error("FormError");
      await fill(db, database.stores);
    } finally {
      db.close();
    }
  };

  for (const database of databases) {
    try {
      await within(restore(database));
    } catch (cause) {
      return JSON.stringify({ failed: cause.name, database: database.name });
    }
  }
  try {
    let changed = false;
    for (const { name, value } of items) {
      if (localStorage.getItem(name) === value) continue;
      localStorage.setItem(name, value);
      changed = true;
    }
    return JSON.stringify({ ok: { changed, keyless } });
  } catch (cause) {
    return JSON.stringify({ failed: cause.name });
  }
}
