// The buttons of a run's timeline, the way from a part of the page to its time, and from a point to its story.
drawChart(async (chart) => {
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
      if (button.matches(".zooms")) document.getElementById("timeline").scrollIntoView();
    });
    button.hidden = false;
  }
  document.querySelector(".zoom").hidden = false;

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
