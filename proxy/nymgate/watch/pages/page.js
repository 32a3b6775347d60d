"use strict";
// Fetches the page's inside every two seconds and replaces the parts that differ; chooses the theme.
(() => {
  const EVERY_MS = 2000;
  const THEMES = ["auto", "light", "dark"];
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const connection = document.getElementById("connection");

  const kept = () => { try { return localStorage.getItem("theme"); } catch { return null; } };
  const keep = (name) => { try { localStorage.setItem("theme", name); } catch { /* not this time */ } };
  const show = (name) => {
    if (name === "auto") delete root.dataset.theme; else root.dataset.theme = name;
    button.querySelector("span").textContent = name;
  };
  let theme = THEMES.includes(kept()) ? kept() : "auto";
  show(theme);
  button.hidden = false;
  button.addEventListener("click", () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    keep(theme);
    show(theme);
  });

  const update = (text) => {
    const fresh = new DOMParser().parseFromString(text, "text/html");
    for (const part of fresh.querySelectorAll("#where, main [id]")) {
      const old = document.getElementById(part.id);
      if (!old || (old.innerHTML === part.innerHTML && old.className === part.className)) continue;
      old.innerHTML = part.innerHTML;
      old.className = part.className;
      old.classList.add("changed");
      setTimeout(() => old.classList.remove("changed"), 1000);
    }
    document.title = fresh.title;
  };

  const look = async () => {
    try {
      const answer = await fetch("inside", { cache: "no-store" });
      if (!answer.ok) throw new Error(String(answer.status));
      update(await answer.text());
      connection.textContent = "";
      connection.classList.remove("lost");
    } catch {
      connection.textContent = "nymgate does not answer: what is shown is old.";
      connection.classList.add("lost");
    }
    setTimeout(look, document.hidden ? 5 * EVERY_MS : EVERY_MS);
  };
  setTimeout(look, EVERY_MS);
})();
