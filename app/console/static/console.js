// What every page of the console does in the browser: tell whether the live feed is alive.
"use strict";
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
