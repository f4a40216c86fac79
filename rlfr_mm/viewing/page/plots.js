// Line charts with uPlot (vendor/). A `.plot` element carries its numbers as JSON, see `line_chart` in charts.py.
// Drag to zoom in, double-click to see everything again; the legend shows the values under the cursor.
{
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const WHOLE = Array.from({length: 9}, (_, i) => [1, 2, 5].map((first) => first * 10 ** i)).flat(); // between two ticks of x
  const drawn = new Map(); // element -> {plot, chart}

  /** Centred moving average over a window of x, of the values that are there. */
  function smooth(x, values, window) {
    const half = Math.floor(window / 2);
    return values.map((_, i) => {
      let first = i, last = i; // x ascends
      while (x[first - 1] >= x[i] - half) first--;
      while (x[last + 1] <= x[i] + half) last++;
      const near = values.slice(first, last + 1).filter((value) => value !== null);
      return near.length ? near.reduce((sum, value) => sum + value, 0) / near.length : null;
    });
  }

  function format(value, shares, digits = 4) {
    if (value === null || value === undefined) return "–";
    const size = Math.abs(value);
    const number = size > 0 && (size < 1e-3 || size >= 1e6) ? value.toExponential(digits - 2).replace(/\.?0+e/, "e") : `${Number(value.toPrecision(digits))}`;
    return (shares ? `${Number((100 * value).toPrecision(digits))} %` : number).replaceAll("-", "−");
  }

  /** uPlot's series, columns and bands: per line its band, its values as logged (thin, if smoothed), and its curve. */
  function layers({lines, shares, smoothed}, {window, log}) {
    const positive = (values) => values.map((value) => (value === null || (log && value <= 0) ? null : value));
    const tables = [], series = [], bands = [];
    const add = (x, y, options) => {
      tables.push([x, positive(y)]);
      series.push({points: {show: false}, ...options});
      return series.length; // its number among uPlot's series, of which x is the first
    };
    for (const {name, colour, x, y, low, high} of lines) {
      const stroke = css(colour);
      if (low.length) {
        const ends = [high, low].map((values) => add(x, values, {class: "aside", stroke: "transparent"}));
        bands.push({series: ends, fill: `${stroke}29`});
      }
      const averaged = smoothed && window > 1;
      if (averaged && lines.length === 1) add(x, y, {class: "aside", stroke: `${stroke}59`, width: 1});
      add(x, averaged ? smooth(x, y, window) : y, {
        label: name, stroke, width: 1.8, points: {show: x.length < 30, size: 5, fill: stroke},
        value: (chart, value) => format(value, shares),
      });
    }
    return {columns: uPlot.join(tables), series, bands};
  }

  const named = (shares) => (_, ticks) => ticks.map((tick) => (tick === null ? "" : format(tick, shares)));

  function draw(element, settings) {
    const plot = JSON.parse(element.dataset.plot);
    const {columns, series, bands} = layers(plot, settings);
    const axis = {stroke: css("muted"), font: `12px ${css("sans")}`, grid: {stroke: css("line"), width: 1}, ticks: {show: false}};
    const log = settings.log ? {distr: 3} : {};
    drawn.get(element)?.chart.destroy();
    const chart = new uPlot({
      width: element.clientWidth, height: 230,
      series: [{label: plot.x_label.split(" ")[0], value: (_, value) => format(value)}, ...series],
      bands,
      scales: {
        x: {time: false, ...(plot.log2_x ? {distr: 3, log: 2} : {})},
        // uPlot would show a curve that is 0 throughout on an axis that ends at 100.
        y: plot.shares && !settings.log ? {range: [0, 1]} : columns.slice(1).every((column) => column.every((value) => !value)) ? {range: [0, 1]} : log,
      },
      axes: [
        {...axis, label: plot.x_label, labelFont: axis.font, labelSize: 18, size: 28, grid: {show: false}, incrs: WHOLE, values: named(false)},
        {...axis, size: 52, values: named(plot.shares)},
      ],
      cursor: {drag: {x: true, y: false}, sync: plot.smoothed ? {key: "steps"} : undefined, points: {size: 6}},
      legend: {live: true},
    }, columns, element);
    drawn.set(element, {chart, settings});
  }

  const plots = [...document.querySelectorAll(".plot")];
  const controls = document.getElementById("plot-controls");
  let settings = {window: 1, log: false};
  if (controls) {
    const window_ = el("input", {type: "range", min: 1, max: 51, step: 2, value: controls.dataset.window, "aria-label": "Steps in the moving average"});
    const told = el("output");
    const log = el("input", {type: "checkbox"});
    controls.append(el("label", {}, "Moving average over ", window_, told), el("label", {}, log, " logarithmic"));
    const read = () => {
      settings = {window: Number(window_.value), log: log.checked};
      told.textContent = settings.window > 1 ? `${settings.window} steps` : "1 step";
    };
    const change = () => {
      read();
      plots.filter((element) => JSON.parse(element.dataset.plot).smoothed).forEach((element) => draw(element, settings));
    };
    window_.addEventListener("input", change);
    log.addEventListener("change", change);
    read();
  }
  const drawAll = () => plots.forEach((element) => draw(element, drawn.get(element)?.settings ?? settings));
  drawAll();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  new ResizeObserver(() => plots.forEach((element) => {
    const {chart} = drawn.get(element);
    if (element.clientWidth !== chart.width) chart.setSize({width: element.clientWidth, height: 230});
  })).observe(document.querySelector("main"));
}
