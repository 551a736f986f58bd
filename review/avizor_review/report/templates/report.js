"use strict";
// Move alpha, and count what is flagged at it: exactly, from the steps at which the counts change. Draw the charts.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const views = new Map();
  const verdicts = { more: "more than alpha", fewer: "fewer than alpha", as: "about alpha" };
  let alpha = data.alpha;

  // The count of the last step that is not above alpha.
  const countAt = (group, at) => {
    let low = 0, high = group.alphas.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (group.alphas[middle] <= at) low = middle + 1; else high = middle;
    }
    return low ? group.counts[low - 1] : 0;
  };
  const upTo = (alphas, at) => alphas.filter((each) => each <= at).length;

  // Wilson's 95 % interval, as avizor_inference/intervals.py has it.
  const wilson = (count, of) => {
    if (!of) return [0, 1];
    const z = 1.959963984540054, share = count / of, weight = (z * z) / of;
    const middle = (share + weight / 2) / (1 + weight);
    const half = (z * Math.sqrt((share * (1 - share)) / of + weight / (4 * of))) / (1 + weight);
    return [Math.max(0, middle - half), Math.min(1, middle + half)];
  };
  const percent = (share) => `${(100 * share).toFixed(share < 0.1 ? 2 : 1)} %`;
  const grouped = (count) => count.toLocaleString("en-US");

  const sourceRow = (source) => {
    const flagged = countAt(source, alpha);
    const [low, high] = wilson(flagged, source.judged);
    const verdict = source.judged && low > alpha ? "more" : source.judged && high < alpha ? "fewer" : "as";
    return { ...source, flagged, low, high, share: source.judged ? flagged / source.judged : 0, verdict };
  };

  const showSources = (model, place) => {
    const rows = model.sources.map(sourceRow);
    rows.forEach((row, number) => {
      const line = byId(`source-${place}-${number}`);
      if (!line) return;
      line.querySelector(".flagged").textContent = grouped(row.flagged);
      line.querySelector(".share").textContent = row.judged ? percent(row.share) : "-";
      line.querySelector(".interval").textContent = row.judged ? `${percent(row.low)} to ${percent(row.high)}` : "-";
      const verdict = line.querySelector(".verdict");
      verdict.textContent = row.judged ? verdicts[row.verdict] : "-";
      verdict.className = `verdict verdict-${row.verdict}`;
    });
    const view = views.get(`sources-${place}`);
    if (!view) return;
    const named = rows.filter((row) => row.name !== null && row.judged).slice(0, 40);
    view.data("sources", named.map((row) => ({ name: row.name, share: row.share, low: row.low, high: row.high, verdict: verdicts[row.verdict] })));
    view.data("alpha", [{ alpha }]).runAsync();
  };

  const showTimeline = (model, place) => {
    const view = views.get(`timeline-${place}`);
    if (view) view.data("timeline", model.timeline.map((each) => ({ begin: each.begin, end: each.end, items: each.items, flagged: countAt(each, alpha) }))).runAsync();
  };

  const showAnswers = (model, place) => {
    const line = byId(`answered-${place}`);
    if (!line || !model.answered) return;
    const [normal, abnormal, doubtful] = ["normal", "abnormal", "doubtful"].map((word) => upTo(model.answered[word], alpha));
    const [low, high] = wilson(abnormal, normal + abnormal);
    line.textContent = normal + abnormal
      ? `Precision so far: ${percent(abnormal / (normal + abnormal))} (95 % interval ${percent(low)} to ${percent(high)}). Of the flagged items ${grouped(abnormal)} were called abnormal, ${grouped(normal)} normal, ${grouped(doubtful)} unsure or differently by two reviewers.`
      : `No flagged item was called normal or abnormal yet; ${grouped(doubtful)} are doubtful.`;
  };

  const showItems = () => {
    for (const item of document.querySelectorAll("[data-p]")) {
      const flagged = Number(item.dataset.p) <= alpha;
      const flag = item.querySelector(".flag");
      flag.textContent = flagged ? "flagged" : "not flagged";
      flag.className = `flag ${flagged ? "is" : "not"}`;
    }
  };

  const showTotal = () => {
    const total = byId("total");
    if (!total) return;
    total.textContent = data.models.filter((model) => model.sources.some((source) => source.judged)).map((model) => {
      const flagged = model.sources.reduce((sum, source) => sum + countAt(source, alpha), 0);
      const judged = model.sources.reduce((sum, source) => sum + source.judged, 0);
      // What a cross-fitted calibration promises instead is among the warnings.
      const promised = alpha < model.leastAlpha && !flagged ? `and none can be: its calibration supports alpha ${model.leastShown} or more` : model.isWeaker ? `at alpha ${percent(alpha)}: the promise is weaker, as said above` : `at most ${percent(alpha)} of normal items promised`;
      return `${model.shown}: ${grouped(flagged)} of ${grouped(judged)} items flagged (${percent(judged ? flagged / judged : 0)}), ${promised}`;
    }).join(". ");
  };

  const show = () => {
    data.models.forEach((model, place) => { showSources(model, place); showTimeline(model, place); showAnswers(model, place); });
    if (data.canMove) showItems();
    showTotal();
  };

  // The slider goes in equal steps of the logarithm; with a grid it stops at the alphas at which counts are exact.
  const slider = byId("alpha-slider"), exact = byId("alpha-number"), lowest = Math.log(0.0005), highest = Math.log(0.5);
  const snapped = (wanted) => data.grid.length ? data.grid.reduce((best, each) => Math.abs(Math.log(each / wanted)) < Math.abs(Math.log(best / wanted)) ? each : best) : wanted;
  const setAlpha = (wanted, from) => {
    if (!(wanted > 0 && wanted <= 0.5)) return;
    alpha = snapped(wanted);
    if (from !== slider) slider.value = String(1000 * (Math.log(alpha) - lowest) / (highest - lowest));
    slider.setAttribute("aria-valuetext", `alpha ${alpha}`);
    if (from !== exact || data.grid.length) exact.value = String(alpha);
    show();
  };
  if (slider && data.canMove) {
    slider.addEventListener("input", () => setAlpha(Number(Math.exp(lowest + (highest - lowest) * slider.value / 1000).toPrecision(2)), slider));
    exact.addEventListener("change", () => setAlpha(Number(exact.value), exact));
    byId("alpha-reset").addEventListener("click", () => setAlpha(data.jobAlpha));
    byId("alpha-form").addEventListener("submit", (event) => event.preventDefault());
    setAlpha(alpha);
  }
  const errors = byId("errors");
  if (errors) errors.addEventListener("change", () => document.body.classList.toggle("no-errors", !errors.checked));

  // One sound at a time.
  document.addEventListener("play", (event) => {
    for (const each of document.querySelectorAll("audio")) if (each !== event.target) each.pause();
  }, true);

  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const draw = async () => {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    const coloured = (value) => JSON.parse(JSON.stringify(value).replace(/"@([a-z]+)"/g, (_, name) => JSON.stringify(colour(name))));
    const text = { labelColor: colour("ink"), titleColor: colour("quiet"), domainColor: colour("line"), tickColor: colour("line"), gridColor: colour("line"), gridOpacity: 0.5, titleFontWeight: "normal" };
    const config = { background: null, font: "system-ui, sans-serif", view: { stroke: null }, axis: text, legend: { labelColor: colour("ink"), titleColor: colour("quiet") } };
    for (const [id, spec] of Object.entries(data.charts)) {
      const place = byId(id);
      if (!place) continue;
      const old = views.get(id);
      if (old) old.finalize();
      // The interpreter needs no code made from texts, which the page's policy forbids.
      const made = await vegaEmbed(place, coloured(spec), { ast: true, actions: false, renderer: "svg", config, defaultStyle: false, tooltip: false, logLevel: 1 });  // 1: errors; there are no rows yet, which is no fault
      views.set(id, made.view);
    }
    show();
    document.documentElement.dataset.drawn = "true";
  };
  if (window.vegaEmbed) {
    draw();
    dark.addEventListener("change", draw);
  } else {
    show();
    document.documentElement.dataset.drawn = "true";
  }
})();
