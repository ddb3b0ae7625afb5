// Unpacks plotly.js (gzip, base64) and draws each plot of the page.  Its figures are in the tables as well, so a browser
// that fails here still has a readable page.
"use strict";
(async () => {
  const say = (text) => {
    for (const place of document.querySelectorAll(".chart-state")) place.textContent = text;
  };
  try {
    const packed = document.getElementById("plotly").textContent.trim();
    const bytes = Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);

    const figures = JSON.parse(document.getElementById("figures").textContent);
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const coarse = matchMedia("(pointer: coarse)").matches;
    const colours = (layout) => {
      const style = getComputedStyle(document.documentElement);
      const rule = style.getPropertyValue("--rule").trim();
      const change = {
        "font.color": style.getPropertyValue("--ink").trim(), "font.family": "system-ui, DejaVu Sans, sans-serif",
      };
      for (const key of Object.keys(layout)) {
        if (/^[xy]axis/.test(key)) { change[key + ".gridcolor"] = rule; change[key + ".linecolor"] = rule; }
      }
      return change;
    };
    for (const [id, figure] of Object.entries(figures)) {
      const chart = document.getElementById(id);
      // On a touch screen a drag over the chart scrolls the page.
      figure.layout.dragmode = coarse ? false : "zoom";
      await Plotly.newPlot(chart, figure.data, figure.layout, {
        displaylogo: false, responsive: true, modeBarButtonsToRemove: ["select2d", "lasso2d"],
        showSendToCloud: false, plotlyServerURL: "",
      });
      await Plotly.relayout(chart, colours(figure.layout));
      dark.addEventListener("change", () => Plotly.relayout(chart, colours(figure.layout)));
    }
    say("");
    document.documentElement.dataset.chart = "drawn";
  } catch (error) {
    say(`The chart could not be drawn (${error}). It needs a browser of 2023 or later; the table below has its figures.`);
    document.documentElement.dataset.chart = "failed";
  }
})();
