// The buttons of a run's timeline, the way from a part of the page to its time, and from a point to its story.
drawCharts(async (chart) => {
  const axes = Object.keys(chart.layout).filter((key) => /^[xy]axis/.test(key) && chart.layout[key].range);
  const whole = Object.fromEntries(axes.map((key) => [key + ".range", chart.layout[key].range.slice()]));
  const show = (range) => Plotly.relayout(chart, { "xaxis.range": range });
  const scaled = (factor, shift) => {
    const [from, to] = chart.layout.xaxis.range.map(Number);
    const half = ((to - from) / 2) * factor;
    const middle = (from + to) / 2 + shift * (to - from);
    return [middle - half, middle + half];
  };
  const actions = {
    all: () => Plotly.relayout(chart, whole), in: () => show(scaled(0.5, 0)), out: () => show(scaled(2, 0)),
    left: () => show(scaled(1, -0.25)), right: () => show(scaled(1, 0.25)),
  };
  for (const button of document.querySelectorAll(".zoom button, button.zooms")) {
    button.addEventListener("click", () => {
      const { action, from, to } = button.dataset;
      if (action) { actions[action](); return; }
      show([Number(from), Number(to)]);
      // Who came from another part of the page looks at the timeline now, and the keyboard goes on from there.
      if (button.matches(".zooms")) goTo(document.getElementById("timeline"));
    });
    button.hidden = false;
  }
  document.querySelector(".zoom").hidden = false;

  // plotly's own names of what is drawn listen to the mouse only.
  const groups = new Map();
  chart.data.forEach((trace, index) => {
    const key = trace.legendgroup || trace.name;
    const group = groups.get(key) || { name: "", traces: [] };
    group.traces.push(index);
    if (trace.showlegend !== false) group.name = trace.name;
    groups.set(key, group);
  });
  const buttons = [...groups.values()].filter((group) => group.name).map(({ name, traces }) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = name;
    const isShown = () => traces.some((index) => ![false, "legendonly"].includes(chart.data[index].visible));
    const tell = () => button.setAttribute("aria-pressed", isShown());
    button.addEventListener("click", () => Plotly.restyle(chart, { visible: isShown() ? "legendonly" : true }, traces));
    chart.on("plotly_restyle", tell);
    tell();
    return button;
  });
  document.querySelector(".names [role=group]").append(...buttons);
  document.querySelector(".names").hidden = false;

  const stories = new Map();
  for (const story of document.querySelectorAll("[data-event]")) stories.set(story.dataset.event, story.id);
  chart.on("plotly_click", (event) => {
    // The text of a point ends with the id of its event.
    const point = event.points[0];
    const text = point && point.data.text && point.data.text[point.pointNumber];
    const story = text && stories.get(String(text).split(" ").pop().toLowerCase());
    if (story) location.hash = story;
  });
});
