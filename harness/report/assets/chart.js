// Unpacks plotly.js (gzip, base64: a third of its size) and draws the page's figures, each in the element of its name.
// Everything a chart shows is in the tables of the page as well, so a browser that fails here still has a readable page.
"use strict";
const drawChart = async (chart, figure) => {
  // Many points want WebGL, which a browser without a graphics card may lack: drawn slowly is better than not at all.
  const gl = figure.data.some((trace) => trace.type === "scattergl");
  if (gl && !document.createElement("canvas").getContext("webgl")) {
    for (const trace of figure.data) { if (trace.type === "scattergl") trace.type = "scatter"; }
  }
  const axes = Object.keys(figure.layout).filter((key) => /^[xy]axis/.test(key));
  const inked = (ink, rule) => {
    const change = { "font.color": ink, "font.family": "system-ui, DejaVu Sans, sans-serif" };
    for (const key of axes) { change[key + ".gridcolor"] = rule; change[key + ".linecolor"] = rule; }
    return change;
  };
  const colours = () => {
    const style = getComputedStyle(document.documentElement);
    return inked(style.getPropertyValue("--ink").trim(), style.getPropertyValue("--rule").trim());
  };
  // On a touch screen a drag over the chart scrolls the page; the buttons zoom.
  figure.layout.dragmode = matchMedia("(pointer: coarse)").matches ? false : "zoom";
  await Plotly.newPlot(chart, figure.data, figure.layout, {
    displaylogo: false, responsive: true, modeBarButtonsToRemove: ["select2d", "lasso2d"],
    // plotly offers to upload the chart to its maker's site unless told not to.
    showSendToCloud: false, plotlyServerURL: "",
  });
  await Plotly.relayout(chart, colours());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => Plotly.relayout(chart, colours()));
  // Paper is white and narrow, whatever the screen is.
  addEventListener("beforeprint", () => Plotly.relayout(chart, { ...inked("#1b1d21", "#d9dce2"), width: 680 }));
  addEventListener("afterprint", () => Plotly.relayout(chart, { ...colours(), width: null, autosize: true }));
};
// `wire` is told of each chart when it is drawn, and gives it what only that page has.
const drawCharts = async (wire = () => {}) => {
  const say = (text) => { for (const place of document.querySelectorAll(".chart-state")) place.textContent = text; };
  try {
    const packed = document.getElementById("plotly").textContent.trim();
    const bytes = Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);

    const figures = JSON.parse(document.getElementById("figures").textContent);
    for (const [name, figure] of Object.entries(figures)) {
      const chart = document.getElementById(name);
      await drawChart(chart, figure);
      await wire(chart, figure);
    }
    say("");
    document.documentElement.dataset.chart = "drawn";
  } catch (error) {
    say(`The chart could not be drawn (${error}). It needs a browser of 2023 or later; the tables have its figures.`);
    document.documentElement.dataset.chart = "failed";
  }
};
