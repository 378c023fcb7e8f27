// The draft editor in the browser: how far each field moves from what it was, as one types. The server checks on saving.
"use strict";
(function () {
  const RATE = /^\$?([0-9]{1,6}(?:\.[0-9]{1,6})?)$/;
  const SPAN = /^([0-9]{1,9}(?:\.[0-9]{1,9})?) ?(µs|us|ms|s|min|h)$/;
  const US = { "µs": 1, us: 1, ms: 1e3, s: 1e6, min: 6e7, h: 3.6e9 };

  // A rate in pico-USD per token or a span in µs, for showing a share only; null where nothing readable stands there.
  function number(name, text) {
    const field = name.slice(name.indexOf(".") + 1), typed = text.trim();
    if (field === "ttft" || field === "tpot") {
      const span = SPAN.exec(typed);
      if (span) return Math.round(Number(span[1]) * US[span[2]]);
      return field === "tpot" && typed.toLowerCase() === "window" ? 0 : null;
    }
    const rate = RATE.exec(typed);
    return rate ? Math.round(Number(rate[1]) * 1e6) : null;
  }

  function change(old, now) {
    if (!(old > 0) || now === old) return "";
    const share = Math.abs(now - old) * 100 / old;
    const size = share < 0.05 ? "<0.1" : share.toLocaleString("en-US", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
    return (now > old ? "+" : "−") + size + " %";
  }

  function show(input) {
    const line = input.parentElement, delta = line.querySelector("[data-delta]"), speed = line.querySelector("[data-speed]");
    const now = number(input.name, input.value);
    if (delta) delta.textContent = now === null ? "?" : input.dataset.old === "" ? "" : change(Number(input.dataset.old), now);
    if (speed) speed.textContent = now > 0 ? Number((1e6 / now).toPrecision(3)).toLocaleString("en-US") + " tok/s/user" : "";
    line.classList.toggle("is-moved", now === null || (input.dataset.old !== "" && now !== Number(input.dataset.old)));
  }

  document.querySelectorAll("#cards input[data-old]").forEach((input) => {
    input.addEventListener("input", () => show(input));
    show(input);
  });
})();
