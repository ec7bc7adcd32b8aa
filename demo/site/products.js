// The shop's goods, and the search in them: `products.html?q=lamp` or the form, both at once.
"use strict";

const PRODUCTS = [
    ["FL-101", "Follow spot lamp", "Warm, quiet, and sharp to the last row.", 489, 4, "lamp"],
    ["FL-102", "Footlight lamp, brass", "A row of eight; dims to a candle.", 219.5, 12, "lamp"],
    ["FL-103", "Ghost lamp", "The one that stays on when all have left.", 64, 31, "lamp"],
    ["CU-201", "House curtain, wine red", "Velvet, lined, four by six metres.", 1290, 2, "curtain"],
    ["CU-202", "Gauze curtain", "There when lit from the front, gone when not.", 340, 7, "curtain"],
    ["RO-301", "Hemp rope, 50 m", "Smells of the grid. Holds 400 kg.", 89.9, 18, "rope"],
    ["RO-302", "Rope lock", "Keeps a scene where you left it.", 42, 0, "rope"],
    ["PA-401", "Scene paint, moss green", "Matt, five litres; covers a forest.", 58.5, 22, "paint"],
    ["PR-501", "Prompter's stool", "Low, silent, out of sight.", 120, 5, "wood"],
];

const PICTURES = {
    lamp: '<path d="M80 14v22" stroke="#77695f" stroke-width="3"/><path d="M62 84 34 132h92L98 84z" fill="#fbe3a6"/><path d="M46 84c0-28 14-48 34-48s34 20 34 48z" fill="#8f2438"/><circle cx="80" cy="86" r="12" fill="#f0b53f"/>',
    curtain: '<path d="M24 18h112v8H24z" fill="#d99a2b"/><path d="M28 26c4 40 2 70-4 100h40c8-30 12-66 10-100zM132 26c-4 40-2 70 4 100H96c-8-30-12-66-10-100z" fill="#8f2438"/>',
    rope: '<g fill="none" stroke="#b98a4e" stroke-width="9"><ellipse cx="80" cy="76" rx="46" ry="30"/><ellipse cx="80" cy="66" rx="46" ry="30"/><path d="M122 78c14 14 16 28 8 44"/></g>',
    paint: '<path d="M52 48h56v70H52z" fill="#5d6b4a"/><path d="M48 40h64v12H48z" fill="#77695f"/><path d="M60 52h14v34a7 7 0 0 1-14 0z" fill="#8fa06f"/>',
    wood: '<path d="M44 56h72v14H44z" fill="#a06a3c"/><path d="M52 70h9l-7 50h-9zM99 70h9l7 50h-9zM56 92h48v7H56z" fill="#7d4f2a"/>',
};

function tile([sku, name, text, price, stock, kind]) {
    const item = document.createElement("li");
    item.className = "product";
    item.dataset.sku = sku;
    item.innerHTML = `<svg viewBox="0 0 160 140" aria-hidden="true">${PICTURES[kind]}</svg>
        <h2 class="name"></h2><p class="text"></p>
        <p class="sku soft"></p><div class="row"><span class="price"></span><span class="stock"></span></div>`;
    const set = (selector, value) => (item.querySelector(selector).textContent = value);
    set(".name", name);
    set(".text", text);
    set(".sku", sku);
    set(".price", `€ ${price.toFixed(2)}`);
    set(".stock", stock > 0 ? `${stock} in stock` : "sold out");
    return item;
}

function search(query) {
    const words = query.toLowerCase().split(/\s+/).filter(Boolean);
    const found = PRODUCTS.filter(([sku, name, text, , , kind]) => {
        const all = `${sku} ${name} ${text} ${kind}`.toLowerCase();
        return words.every((word) => all.includes(word));
    });
    document.querySelector("#products").replaceChildren(...found.map(tile));
    const goods = found.length === 1 ? "1 article" : `${found.length} articles`;
    document.querySelector("#count").textContent = query ? `${goods} for “${query}”` : goods;
    document.body.dataset.found = String(found.length);
}

const field = document.querySelector("#query");
document.querySelector("#search").addEventListener("submit", (event) => {
    event.preventDefault();
    const query = field.value.trim();
    history.replaceState(null, "", query ? `?q=${encodeURIComponent(query)}` : location.pathname);
    search(query);
});
field.value = new URLSearchParams(location.search).get("q") ?? "";
search(field.value.trim());
