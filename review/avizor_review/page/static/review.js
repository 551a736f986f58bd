// Keys, sound and comfort for the review page. Every form and link works without it.
"use strict";

const typing = (element) => element && element.matches("input, textarea, select, audio");

// --- keys: a key presses what names it ---------------------------------------------------------------------------------
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const active = document.activeElement;
  if (typing(active)) {
    if (event.key === "Escape") active.blur();
    return;
  }
  if (event.key === " " && active && active.matches("button, summary, a")) return;  // the browser presses it
  if ((event.key === "j" || event.key === "k") && moved(event.key === "j" ? 1 : -1)) {
    event.preventDefault();
    return;
  }
  const target = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
  if (!target || event.repeat) return;
  event.preventDefault();
  if (target.matches("textarea")) target.focus();
  else target.click();
});

// In the list, j and k move from item to item.
function moved(step) {
  const links = [...document.querySelectorAll(".items tbody th a")];
  if (!links.length) return false;
  const place = links.indexOf(document.activeElement);
  links[Math.min(links.length - 1, Math.max(0, place < 0 ? 0 : place + step))].focus();
  return true;
}

// --- the list: filters take effect when they are changed; alpha has a slider too ----------------------------------------
for (const form of document.querySelectorAll("[data-submit-on-change]")) {
  form.addEventListener("change", (event) => {
    if (!event.target.matches("[data-alpha-of]")) form.requestSubmit();
  });
  form.addEventListener("submit", () => {  // a short address: nothing of what is empty
    for (const field of form.elements) if (field.name && !field.value) field.disabled = true;
  });
}
for (const slider of document.querySelectorAll("[data-alpha-of]")) {
  const number = document.getElementById(slider.dataset.alphaOf);
  slider.hidden = false;
  slider.value = Math.log10(number.value);
  const told = () => slider.setAttribute("aria-valuetext", number.value);
  told();
  slider.addEventListener("input", () => { number.value = Number((10 ** slider.value).toPrecision(2)); told(); });
  let waiting = 0;
  slider.addEventListener("change", () => {  // each press of an arrow is a change: wait for the last one
    clearTimeout(waiting);
    waiting = setTimeout(() => { sessionStorage.setItem("moved", "alpha"); slider.form.requestSubmit(); }, 400);
  });
  if (sessionStorage.getItem("moved") === "alpha") slider.focus();
  sessionStorage.removeItem("moved");
}
window.addEventListener("pageshow", () => {  // back again: what was left out of the address is a field again
  for (const field of document.querySelectorAll("[data-submit-on-change] :disabled")) field.disabled = false;
});

// --- one item: sound, playhead, stretches, map --------------------------------------------------------------------------
function wake(look) {
  const from = Number(look.dataset.from), to = Number(look.dataset.to);
  const share = (seconds) => Math.min(1, Math.max(0, (seconds - from) / (to - from)));
  for (const mark of look.querySelectorAll("[data-stretch]")) {
    const start = share(Number(mark.dataset.start)), end = share(Number(mark.dataset.end));
    mark.style.left = `${100 * start}%`;
    mark.style.width = `${100 * Math.max(0.004, end - start)}%`;
  }
  const sound = look.querySelector("[data-sound]"), head = look.querySelector("[data-playhead]");
  if (!sound || !head) return;
  const follow = () => {
    head.hidden = false;
    head.style.left = `${100 * share(from + sound.currentTime)}%`;
    if (!sound.paused) requestAnimationFrame(follow);
  };
  sound.addEventListener("play", follow);
  sound.addEventListener("seeked", follow);
  look.querySelector(".layers").addEventListener("click", (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    sound.currentTime = (to - from) * (event.clientX - box.left) / box.width;
  });
}
document.querySelectorAll("[data-look]").forEach(wake);

const main = document.querySelector(".seeing > [data-look]");
const doing = {
  play() {
    const sound = main.querySelector("[data-sound]");
    if (sound.paused) sound.play(); else sound.pause();
  },
  // Plays the flagged stretches again and again, one after the other.
  loop(button) {
    const sound = main.querySelector("[data-sound]"), from = Number(main.dataset.from);
    const stretches = [...main.querySelectorAll("[data-stretch]")]
      .map((mark) => [Number(mark.dataset.start) - from, Number(mark.dataset.end) - from]);
    const on = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(on));
    if (!on) { sound.ontimeupdate = sound.onended = null; sound.pause(); return; }
    const stay = () => {
      const now = sound.currentTime;
      if (stretches.some(([start, end]) => now >= start - 0.02 && now < end)) return;
      const next = stretches.find(([start]) => start > now) || stretches[0];
      sound.currentTime = Math.max(0, next[0]);
    };
    sound.ontimeupdate = stay;
    sound.onended = () => { sound.currentTime = Math.max(0, stretches[0][0]); sound.play(); };
    stay();
    sound.play();
  },
  // The same stretch of all items on the page, as recorded or as the model hears it; it plays on from where it is.
  heard(button) {
    const on = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(on));
    for (const sound of document.querySelectorAll("[data-heard]")) {
      const other = sound.dataset.heard, at = sound.currentTime, plays = !sound.paused;
      sound.dataset.heard = sound.getAttribute("src");
      sound.src = other;
      if (at || plays) sound.addEventListener("loadedmetadata", () => { sound.currentTime = at; }, { once: true });
      if (plays) sound.play(); else if (at) sound.load();
    }
  },
  map(button) {
    const on = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(on));
    for (const map of document.querySelectorAll("[data-map]")) map.classList.toggle("off", !on);
  },
};
for (const button of document.querySelectorAll("[data-do]")) {
  button.addEventListener("click", () => doing[button.dataset.do](button));
}

// --- a normal item to compare with is fetched when it is asked for --------------------------------------------------------
for (const details of document.querySelectorAll("[data-nearest]")) {
  details.addEventListener("toggle", async () => {
    const into = details.querySelector("[data-into]");
    if (!details.open || into.dataset.asked) return;
    into.dataset.asked = "yes";
    into.textContent = "Looking for one ...";
    try {
      const answer = await fetch(details.dataset.nearest);
      if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      into.replaceChildren(...page.body.childNodes);
      into.querySelectorAll("[data-look]").forEach(wake);
    } catch (error) {
      into.textContent = `It cannot be shown: ${error.message}`;
      delete into.dataset.asked;
    }
  });
}
