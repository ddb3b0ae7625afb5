// One scenario's clocks at a time, chosen from the menu above the chart.
drawCharts(async (chart, figure) => {
  const menu = document.getElementById("trend-of");
  const choose = () => Plotly.restyle(chart, { visible: figure.data.map((trace) => trace.meta === menu.value) });
  menu.addEventListener("change", choose);
  await choose();
  menu.closest("p").hidden = false;
});
