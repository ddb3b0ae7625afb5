// Unpacks plotly.js (gzip, base64: a third of its size), draws the chart and wires its buttons.  Everything the
// chart shows is in the tables of the page as well, so a browser that fails here still has a readable report.
"use strict";
(async () => {
  const chart = document.getElementById("chart");
  if (!chart) return;
  const say = (text) => { document.getElementById("chart-state").textContent = text; };
  try {
    const packed = document.getElementById("plotly").textContent.trim();
    const bytes = Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);

    const figure = JSON.parse(document.getElementById("figure").textContent);
    const full = figure.layout.xaxis.range.slice();
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const coarse = matchMedia("(pointer: coarse)").matches;
    const colours = () => {
      const style = getComputedStyle(document.documentElement);
      const rule = style.getPropertyValue("--rule").trim();
      const ink = style.getPropertyValue("--ink").trim();
      const change = { "font.color": ink, "font.family": "system-ui, DejaVu Sans, sans-serif" };
      for (const key of Object.keys(figure.layout)) {
        if (/^[xy]axis/.test(key)) { change[key + ".gridcolor"] = rule; change[key + ".linecolor"] = rule; }
      }
      return change;
    };
    // On a touch screen a drag over the chart scrolls the page; the buttons zoom.
    figure.layout.dragmode = coarse ? false : "zoom";
    await Plotly.newPlot(chart, figure.data, figure.layout, {
      displaylogo: false, responsive: true, modeBarButtonsToRemove: ["select2d", "lasso2d"],
      // plotly 7 offers to upload the chart to its maker's site unless told not to.
      showSendToCloud: false, plotlyServerURL: "",
    });
    await Plotly.relayout(chart, colours());
    dark.addEventListener("change", () => Plotly.relayout(chart, colours()));

    const show = (range) => Plotly.relayout(chart, { "xaxis.range": range });
    const scaled = (factor, shift) => {
      const [from, to] = chart.layout.xaxis.range.map(Number);
      const half = ((to - from) / 2) * factor;
      const middle = (from + to) / 2 + shift * (to - from);
      return [middle - half, middle + half];
    };
    const actions = {
      all: () => full.slice(), in: () => scaled(0.5, 0), out: () => scaled(2, 0),
      left: () => scaled(1, -0.25), right: () => scaled(1, 0.25),
    };
    for (const button of document.querySelectorAll(".zoom button")) {
      button.addEventListener("click", () => {
        const { action, from, to } = button.dataset;
        show(action ? actions[action]() : [Number(from), Number(to)]);
      });
    }
    document.querySelector(".zoom").hidden = false;
    say("");
    document.documentElement.dataset.chart = "drawn";
  } catch (error) {
    say(`The chart could not be drawn (${error}). It needs a browser of 2023 or later; the table below has its figures.`);
    document.documentElement.dataset.chart = "failed";
  }
})();
