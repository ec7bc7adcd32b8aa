// On every page: the head, and who is signed in.
"use strict";

const PAGES = [
    ["products.html", "Shop"],
    ["form.html", "Order"],
    ["login.html", "Sign in"],
];

/** The name in the cookie `user`, if local storage agrees: a profile keeps both or neither. */
function signedIn() {
    const [, cookie] = /(?:^|; )user=([^;]*)/.exec(document.cookie) ?? [];
    const name = cookie === undefined ? null : decodeURIComponent(cookie);
    return name && localStorage.getItem("user") === name ? name : null;
}

/** Keeps the sign-in for a year, over a restart of the browser. */
function signIn(name) {
    document.cookie = `user=${encodeURIComponent(name)}; path=/; max-age=31536000; SameSite=Lax`;
    localStorage.setItem("user", name);
    localStorage.setItem("visits", String(visits() + 1));
}

function signOut() {
    document.cookie = "user=; path=/; max-age=0; SameSite=Lax";
    localStorage.removeItem("user");
}

/** How often somebody has signed in here. */
function visits() {
    return Number(localStorage.getItem("visits") ?? "0");
}

function showWho() {
    const who = document.querySelector("#who");
    const name = signedIn();
    who.textContent = name ? `Signed in as ${name}` : "Not signed in";
    who.classList.toggle("in", name !== null);
}

function head() {
    const header = document.querySelector("header");
    if (!header) return;
    const name = document.createElement("a");
    name.className = "name";
    name.href = "index.html";
    name.textContent = "Footlights";
    const nav = document.createElement("nav");
    for (const [href, text] of PAGES) {
        const link = document.createElement("a");
        link.href = href;
        link.textContent = text;
        if (location.pathname.endsWith(`/${href}`)) link.setAttribute("aria-current", "page");
        nav.append(link);
    }
    const who = document.createElement("span");
    who.id = "who";
    header.append(name, nav, who);
    showWho();
}

head();
