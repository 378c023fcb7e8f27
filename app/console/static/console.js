// What every page of the console does in the browser: count down to what is to come, tell whether the live feed is alive.
"use strict";
(function () {
  const waiting = document.querySelectorAll("[data-until]");
  const UNITS = [[86400, "d", 3600, "h"], [3600, "h", 60, "min"]];

  // The server's clock when the page was made, and this machine's own since then: its date may be wrong.
  function left(element) {
    return Math.ceil((Number(element.dataset.until) - Number(element.dataset.now)) / 1e6 - performance.now() / 1000);
  }
  function words(seconds) {
    if (seconds <= 0) return "now";
    for (const [size, unit, part, name] of UNITS) {
      if (seconds >= size) return "in " + Math.floor(seconds / size) + " " + unit + " " + Math.floor(seconds % size / part) + " " + name;
    }
    return seconds >= 60 ? "in " + Math.floor(seconds / 60) + " min" : "in " + seconds + " s";
  }
  if (waiting.length) setInterval(() => waiting.forEach((element) => { element.textContent = words(left(element)); }), 1000);
})();
(function () {
  const live = document.querySelector(".live");
  const words = document.getElementById("live-words");
  const spoken = document.getElementById("live-state");
  if (!live || !words) return;

  function say(state, text) {
    if (live.dataset.live === state && words.textContent === text) return;
    if (live.dataset.live !== state) {
      live.dataset.live = state;
      spoken.textContent = text;
    }
    words.textContent = text;
  }
  let heardAt = Date.now();
  document.body.addEventListener("htmx:sseMessage", () => {
    heardAt = Date.now();
    const figures = document.querySelector("[data-as-of]");
    say("on", figures ? "Live, as of " + figures.dataset.asOf + " UTC" : "Live");
  });
  document.body.addEventListener("htmx:sseError", () => say("stale", "Reconnecting…"));
  document.body.addEventListener("htmx:sseClose", (event) => {
    if (event.detail && event.detail.type === "message") say("ended", "Session ended: reload to sign in");
  });
  setInterval(() => {
    const silent = Math.round((Date.now() - heardAt) / 1000);
    if (silent > 15 && live.dataset.live === "on") say("stale", "Stale: nothing new for " + silent + " s");
  }, 5000);
})();
