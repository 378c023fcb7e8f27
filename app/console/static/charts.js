// Charts on canvas. Each element with data-chart draws what the JSON in its data-source element says.
"use strict";
(function () {
  const drawn = new Map();

  function tokens() {
    const style = getComputedStyle(document.documentElement);
    const value = (name) => style.getPropertyValue("--" + name).trim();
    return {
      ink: value("ink"), ink2: value("ink-2"), ink3: value("ink-3"), line: value("line"), surface: value("surface"),
      sunken: value("sunken"), delivered: value("delivered"), premium: value("premium"), standard: value("standard"),
      bulk: value("bulk"), bad: value("bad"), sans: value("sans"),
      palette: ["#8c6d46", "#d1762b", "#4d7a4f", "#b0457b", "#5c6f82", "#9a8f1f", "#73584b", "#3f8fa6"],
    };
  }

  function base(t) {
    return {
      animation: false,
      textStyle: { fontFamily: t.sans, color: t.ink2, fontSize: 12 },
      tooltip: {
        renderMode: "richText", backgroundColor: t.surface, borderColor: t.line, borderWidth: 1, padding: [8, 10],
        textStyle: { color: t.ink, fontFamily: t.sans, fontSize: 12, lineHeight: 17 },
      },
    };
  }

  function axis(t, more) {
    return Object.assign({
      axisLine: { lineStyle: { color: t.line } }, axisTick: { show: false }, axisLabel: { color: t.ink3, fontSize: 11 },
      splitLine: { lineStyle: { color: t.line } }, nameTextStyle: { color: t.ink3, fontSize: 11 },
    }, more);
  }

  const whole = (value) => Math.round(value).toLocaleString("en-US");
  const short = (value) => {
    const units = [[1e12, "T"], [1e9, "B"], [1e6, "M"], [1e3, "k"]];
    const unit = units.find(([size]) => Math.abs(value) >= size);
    return unit ? String(Number((value / unit[0]).toPrecision(3))) + " " + unit[1] : String(Number(value.toPrecision(3)));
  };

  function minutes(data, t) {
    const bar = (name, values, style) => ({
      name, type: "bar", stack: "tokens", barCategoryGap: "18%", data: values, itemStyle: style, emphasis: { disabled: true },
    });
    return Object.assign(base(t), {
      grid: { left: 8, right: 8, top: 12, bottom: 4, containLabel: true },
      xAxis: axis(t, { type: "category", data: data.at, splitLine: { show: false }, axisLabel: { color: t.ink3, fontSize: 11, interval: 9 } }),
      yAxis: axis(t, { type: "value", minInterval: 1, axisLine: { show: false }, axisLabel: { color: t.ink3, fontSize: 11, formatter: short } }),
      tooltip: Object.assign(base(t).tooltip, {
        trigger: "axis", axisPointer: { type: "shadow", shadowStyle: { color: t.ink3, opacity: 0.12 } },
        formatter: (at) => at[0].axisValue + " UTC\n" + whole(at[0].value) + " good\n" + whole(Number(at[1].value) || 0) + " late",
      }),
      series: [
        bar("good", data.good, { color: t.standard }),
        bar("late", data.late.map((value) => value || "-"), { color: t.surface, borderColor: t.delivered, borderWidth: 1,
          decal: { symbol: "rect", rotation: -Math.PI / 4, dashArrayX: [1, 0], dashArrayY: [2, 3], color: t.delivered } }),
      ],
    });
  }

  function frontier(data, t) {
    const colour = (index) => t.palette[index % t.palette.length];
    const measured = data.groups.map((group, index) => ({
      name: group.name, type: "scatter", symbolSize: 6, data: group.points, itemStyle: { color: colour(index), opacity: 0.55 },
      emphasis: { scale: 1.8, itemStyle: { opacity: 1 } },
    }));
    const others = {
      name: "Measured elsewhere", type: "scatter", symbolSize: 5, data: data.others, z: 1,
      itemStyle: { color: t.ink3, opacity: 0.22 }, emphasis: { scale: 1.8, itemStyle: { opacity: 0.8 } },
    };
    const line = {
      name: "Frontier", type: "line", data: data.frontier, showSymbol: true, symbolSize: 5, smooth: false, z: 3,
      lineStyle: { color: t.ink, width: 1.75 }, itemStyle: { color: t.ink },
      markArea: data.zone ? {
        silent: true, itemStyle: { color: t.standard, opacity: 0.09 },
        label: { position: "insideTop", color: t.ink3, fontSize: 11, formatter: "goldilocks zone" },
        data: [[{ xAxis: data.zone[0] }, { xAxis: data.zone[1] }]],
      } : undefined,
    };
    const tiers = {
      name: "Tiers on sale", type: "scatter", z: 9, symbol: "diamond", symbolSize: 18,
      data: data.tiers.map((tier) => ({
        value: tier.at, id: tier.id, itemStyle: { color: t[tier.tier], borderColor: t.surface, borderWidth: 2 },
        label: { show: true, position: "top", formatter: tier.label, color: t.ink, fontWeight: 600, fontSize: 12,
          backgroundColor: t.surface, padding: [2, 5], borderRadius: 3, distance: 8 },
      })),
      labelLayout: { hideOverlap: false, moveOverlap: "shiftY" },
    };
    return Object.assign(base(t), {
      grid: { left: 8, right: 24, top: 36, bottom: 30, containLabel: true },
      legend: { show: false },
      yAxis: axis(t, { type: data.log ? "log" : "value", min: data.log ? data.range[0] : 0, max: data.log ? data.range[1] : null, name: data.unit + (data.log ? " (log scale)" : ""), nameLocation: "end",
        nameTextStyle: { color: t.ink3, fontSize: 11, align: "left", padding: [0, 0, 4, -34] },
        axisLabel: { color: t.ink3, fontSize: 11, formatter: (value) => data.dollars ? "$" + Number(value.toPrecision(3)) : short(value) } }),
      xAxis: axis(t, { type: "value", name: "Interactivity, tok/s/user", nameLocation: "middle", nameGap: 26, min: 0 }),
      tooltip: Object.assign(base(t).tooltip, { trigger: "item", formatter: (at) => (data.words[at.data.id || (at.data.value || at.data)[2]] || at.seriesName) }),
      series: [others, ...measured, line, tiers],
    });
  }

  function delivery(data, t) {
    const met = (tier) => tier === "missed" ? t.bad : t[tier] || t.ink;
    const due = data.due.map((rung) => ({
      name: rung.tier, type: "line", showSymbol: false, silent: true, data: rung.line, z: 2,
      lineStyle: { color: t[rung.tier], width: 1.5, type: [5, 4] },
      endLabel: { show: true, formatter: rung.tier + " due", color: t.ink2, fontSize: 11, offset: [-4, -8], align: "right" },
    }));
    return Object.assign(base(t), {
      grid: { left: 8, right: 16, top: 24, bottom: 28, containLabel: true },
      xAxis: axis(t, { type: "value", name: "ms since the request was read", nameLocation: "middle", nameGap: 24, min: 0, max: data.end_ms,
        axisLabel: { color: t.ink3, fontSize: 11, formatter: whole, showMaxLabel: false } }),
      yAxis: axis(t, { type: "value", name: "tokens delivered", nameLocation: "end", minInterval: 1, min: 0, max: data.tokens,
        nameTextStyle: { color: t.ink3, fontSize: 11, align: "left", padding: [0, 0, 2, -18] } }),
      tooltip: Object.assign(base(t).tooltip, { trigger: "axis", axisPointer: { type: "line", lineStyle: { color: t.ink3 } },
        formatter: (at) => { const here = at.find((each) => each.seriesName === "delivered"); return here ? whole(here.value[1]) + " tokens by " + whole(here.value[0]) + " ms" + (here.value[2] ? "\n" + (here.value[2] === "missed" ? "missed every deadline" : "good at " + here.value[2]) : "") : ""; } }),
      series: [...due, {
        name: "delivered", type: "line", step: "end", symbol: "circle", symbolSize: data.delivered.length > 20 ? 5 : 9, z: 5, showSymbol: true, showAllSymbol: true,
        data: data.delivered.map((point) => ({ value: point, itemStyle: { color: met(point[2]) } })),
        lineStyle: { color: t.ink3, width: 1 }, emphasis: { scale: 1.6 },
      }],
    });
  }

  // The legend's words are ours, so that it can be read and wrapped like text.
  function legend(data, t) {
    const element = document.getElementById("legend");
    if (!element) return;
    const keys = data.groups.map((group, index) => [group.name, t.palette[index % t.palette.length]]);
    element.replaceChildren(...[...keys, ["frontier", t.ink], ...(data.others.length ? [["run by others", t.line]] : [])].map(([name, colour]) => {
      const key = document.createElement("span"), dot = document.createElement("span");
      dot.className = "dot";
      dot.style.background = colour;
      key.className = "dotted";
      key.append(dot, name);
      return key;
    }));
  }

  const kinds = { minutes, frontier, delivery };

  function draw(element) {
    const source = document.getElementById(element.dataset.source);
    if (!source) return;
    const chart = drawn.get(element) || echarts.init(element, null, { renderer: "canvas" });
    drawn.set(element, chart);
    const data = JSON.parse(source.dataset.series), t = tokens();
    chart.setOption(kinds[element.dataset.chart](data, t), { notMerge: true });
    if (element.dataset.chart === "frontier") legend(data, t);
  }

  function drawAll() {
    document.querySelectorAll("[data-chart]").forEach(draw);
    document.body.dataset.chart = "ready";
  }

  // A click on a measured point pins what is known of it, so that it can be read and copied.
  function pinOnClick() {
    const pin = document.getElementById("pinned");
    drawn.forEach((chart, element) => {
      if (!pin || element.dataset.chart !== "frontier") return;
      chart.on("click", (at) => {
        const data = JSON.parse(document.getElementById(element.dataset.source).dataset.series);
        const id = at.data.id || (at.data.value || at.data)[2];
        pin.textContent = data.words[id] || "";
        const use = document.getElementById("use-point");
        if (!use || !data.words[id]) return;
        const address = new URL(use.href);
        address.searchParams.set("point", id);
        use.href = address.href;
        use.hidden = false;
      });
    });
  }

  window.addEventListener("load", () => {
    document.fonts.ready.then(() => { drawAll(); pinOnClick(); });
  });
  window.addEventListener("resize", () => drawn.forEach((chart) => chart.resize()));
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  document.body.addEventListener("htmx:sseMessage", (event) => { if (event.detail.type === "figures") drawAll(); });
})();
