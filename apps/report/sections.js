// The page, section by section, from its data.

const data = JSON.parse(document.getElementById("data").textContent);
const models = data.models;
const report = document.getElementById("report");

const fileName = (path) => path.split("/").pop();
const called = (model) => `${model.label} · ${fileName(model.model)}`;

function section(id, title, ...content) {
  const made = element("section", { id, "aria-labelledby": `${id}-title` },
                       element("h2", { id: `${id}-title` }, title), ...content);
  report.append(made);
  document.getElementById("contents").append(element("a", { href: `#${id}` }, title));
  return made;
}

const quiet = (text) => element("p", { class: "quiet" }, text);

// Models

function modelsTable() {
  const latency = (name) => (m) =>
      isNumber(m[name + "_us"]) ? micros(m[name + "_us"]) + (isNumber(m[name + "_std_us"]) ? " ± " + micros(m[name + "_std_us"]) : "") : "–";
  return table([
    { title: "Model", value: called, header: true },
    { title: "Weights", value: (m) => m.dtype },
    { title: "Size", number: true, value: (m) => (m.size_bytes / 1e6).toFixed(3) + " MB" },
    { title: "Parameters", number: true, value: (m) => count(m.parameters) },
    { title: "Accuracy", number: true, value: (m) => percent(m.accuracy) },
    { title: "Batch of 1", number: true, value: latency("latency_b1") },
    { title: "Batch of 64", number: true, value: latency("latency_b64") },
  ], models, { class: "models" });
}

function trade(id, title, key, onKey, xTitle, xFormat) {
  const points = models.map((m, index) => ({ x: m[key], y: m.accuracy, index, name: called(m), on: m[onKey] }))
                       .filter((p) => isNumber(p.x) && isNumber(p.y));
  if (points.length === 0) return null;
  const accuracy = (value) => (100 * value).toFixed(2) + " %";
  return scatter(id, title, points.some((p) => p.on) && points.length > 1
                     ? "Up and to the left is better; the broken line joins models that no other beats in both." : null,
                 points, { xTitle, xFormat, yTitle: "accuracy", yFormat: accuracy, least: 0.0005 });
}

function modelsSection() {
  const reasons = [...new Set(models.filter((m) => m.no_accuracy).map((m) => `No accuracy: ${m.no_accuracy}`))];
  const charts = [
    trade("size", "Size and accuracy", "size_bytes", "on_size_frontier", "size (MB)", (bytes) => (bytes / 1e6).toFixed(2)),
    trade("latency", "Latency and accuracy", "latency_b1_us", "on_latency_frontier", "latency of a batch of 1 (µs)",
          (us) => d3.format(",.3~r")(us)),
  ].filter((chart) => chart !== null);
  section("models", "Models", modelsTable(), ...reasons.map(quiet),
          charts.length > 0 ? legend(models.map((m, index) => ({ name: called(m), index, shape: true }))) : null,
          element("div", { class: "pair" }, ...charts));
}

// Training

// Quantized files remember the run of their float model: each run once, with all that have it.
function runs() {
  const found = new Map();
  for (const [key, what] of [["history", "training"], ["qat_history", "QAT"]])
    for (const m of models.filter((model) => model[key].length > 0)) {
      const text = what + JSON.stringify(m[key]);
      if (!found.has(text)) found.set(text, { what, epochs: m[key], files: [] });
      found.get(text).files.push(fileName(m.model));
    }
  return [...found.values()];
}

function curves(id, title, ending, all, options) {
  const series = all.flatMap((run, index) => Object.keys(run.epochs[0]).filter((name) => name.endsWith(ending)).map((name) => ({
    name: `${name.slice(0, -ending.length)}${all.length > 1 ? ", " + run.what + " of " + run.files[0] : ""}`, index,
    dash: name.startsWith("train") ? "6 4" : "none",
    values: run.epochs.map((epoch) => ({ x: epoch.epoch, y: epoch[name] })) })));
  return series.some((s) => s.values.some((v) => isNumber(v.y)))
      ? lines(id, title, null, series, { xTitle: "epoch", ...options }) : null;
}

function trainingSection() {
  const all = runs();
  const without = models.filter((m) => m.history.length === 0 && m.qat_history.length === 0).map((m) => fileName(m.model));
  section("training", "Training",
          ...all.map((run) => quiet(`${run.what === "QAT" ? "QAT" : "Training"}, ${run.epochs.length} ` +
                                    `epoch${run.epochs.length > 1 ? "s" : ""}: in the notes of ${run.files.join(", ")}`)),
          without.length > 0 ? quiet(`No history in ${without.join(", ")}: thimble train, and quantize --method qat, note ` +
                                     "one in the files that they write.") : null,
          element("div", { class: "pair" }, ...[
            curves("loss", "Loss", "_loss", all, { yTitle: "loss", yFormat: (v) => v.toPrecision(3), least: 1e-6 }),
            curves("accuracy", "Accuracy", "_accuracy", all, { yTitle: "accuracy", yFormat: (v) => (100 * v).toFixed(1) + " %",
                                                               least: 0.0005 }),
          ].filter((chart) => chart !== null)));
}

// Time per layer

const mostRows = 24;

function timesSection() {
  const timed = models.map((m, index) => ({ m, index })).filter(({ m }) => m.layer_times);
  if (timed.length === 0) return;
  const names = new Map();
  for (const { m, index } of timed)
    for (const layer of m.layer_times.layers) {
      const name = layer.name || "(order of elements)";
      if (!names.has(name)) names.set(name, { name, note: layer.type, bars: [], all: 0 });
      const group = names.get(name);
      const same = group.bars.find((bar) => bar.index === index);
      if (same) same.value += layer.us;
      else group.bars.push({ value: layer.us, index, name: called(m) });
      group.all = Math.max(group.all, layer.us);
    }
  const groups = [...names.values()];
  const kept = groups.length > mostRows
      ? new Set([...groups].sort((a, b) => b.all - a.all).slice(0, mostRows)) : new Set(groups);
  const columns = [{ title: "Layer", value: (g) => g.name, header: true }].concat(timed.map(({ m, index }) => ({
    title: called(m), number: true, value: (g) => micros((g.bars.find((bar) => bar.index === index) || {}).value) })));
  const figure = bars("times", "Time of each step",
                      (groups.length > mostRows ? `The ${mostRows} slowest of ${groups.length}, ` : "In the order in which they run, ") +
                          "of a batch of 1; a layer has absorbed what follows it and is not listed.",
                      groups.filter((g) => kept.has(g)), { format: micros }, table(columns, groups));
  section("times", "Time per layer", legend(timed.map(({ m, index }) => ({ name: called(m), index }))), figure);
}

// One model

function confusionTable(answers) {
  const matrix = answers.matrix, classes = answers.classes;
  const most = d3.max(matrix, (row, i) => d3.max(row, (n, j) => (i === j ? 0 : n))) || 1;
  const cell = (n, i, j) => element("td", n === 0 ? {} : {
    style: i === j ? "font-weight:600" : `background:rgba(var(--heat),${(0.12 + 0.5 * n / most).toFixed(3)})`,
    title: `${n} of class ${i} taken for ${j}` }, n === 0 ? "" : String(n));
  const head = element("tr", {}, element("td", {}), ...d3.range(classes).map((j) => element("th", { scope: "col" }, String(j))));
  const rows = matrix.map((row, i) => element("tr", {}, element("th", { scope: "row" }, String(i)), ...row.map((n, j) => cell(n, i, j))));
  return scrolling("Confusion matrix", element("table", { class: "confusion" },
    element("thead", {}, head), element("tbody", {}, ...rows)));
}

function classesTable(answers) {
  const fixed = (value) => value.toFixed(4);
  return element("details", {}, element("summary", {}, "Precision, recall and F1 of each class"), table([
    { title: "Class", value: (i) => i, header: true },
    { title: "Examples", number: true, value: (i) => count(d3.sum(answers.matrix[i])) },
    { title: "Precision", number: true, value: (i) => fixed(answers.precision[i]) },
    { title: "Recall", number: true, value: (i) => fixed(answers.recall[i]) },
    { title: "F1", number: true, value: (i) => fixed(answers.f1[i]) },
  ], d3.range(answers.classes)));
}

function worstExamples(worst) {
  const isText = worst.some((example) => "text" in example);
  return element("div", { class: isText ? "worst texts" : "worst" }, ...worst.map((example) => {
    const words = `is ${example.label}, taken for ${example.predicted} (${percent(example.probability)})`;
    const view = example.image ? element("img", { src: example.image, alt: `Test example ${example.index}` })
        : "text" in example ? element("blockquote", {}, example.text) : null;
    return element("figure", {}, view, element("figcaption", {}, words, element("small", {}, `no. ${example.index}`)));
  }));
}

function answersOf(m) {
  if (!m.answers) return [];
  const content = [element("h3", {}, "Answers"),
    quiet(`${count(m.answers.count)} test examples of ${m.dataset}: accuracy ${percent(m.accuracy)}, loss ${figures(m.answers.loss)}.`)];
  if (m.answers.classes <= 100) content.push(quiet("Rows: what examples are. Columns: what they were taken for."), confusionTable(m.answers));
  content.push(classesTable(m.answers));
  if (m.worst.length > 0) content.push(element("h3", {}, "Worst mistakes"),
    quiet("Where the right class got the least probability."), worstExamples(m.worst));
  return content;
}

function sensitivityOf(m, index) {
  if (!m.sensitivity) return [];
  const layers = m.sensitivity.layers;
  const groups = layers.map((layer) => ({ name: layer.name, note: layer.type,
    bars: [{ value: 100 * layer.accuracy_drop, index, name: "drop" }] }));
  const points = (value) => value.toFixed(2) + " points";
  return layers.length === 0 ? [] : [element("h3", {}, "Sensitivity"), bars(`sensitivity-${index}`, "Accuracy lost by quantizing one layer to 8 bits",
    `From ${percent(m.sensitivity.baseline)} of the float model; with all layers quantized it is ${percent(m.sensitivity.quantized)}. Below 0 is a gain.`,
    groups, { format: points, least: 0.5 }, table([
      { title: "Layer", value: (l) => l.name, header: true },
      { title: "Accuracy", number: true, value: (l) => percent(l.accuracy) },
      { title: "Drop", number: true, value: (l) => points(100 * l.accuracy_drop) },
      { title: "Output SQNR (dB)", number: true, value: (l) => figures(l.output_sqnr_db) },
      { title: "Latency, batch of " + m.sensitivity.batch_size, number: true, value: (l) => micros(l.latency_us) },
    ], layers))];
}

const bitsOf = (row) => (isNumber(row.bits) ? `${row.bits} bits` : "float");
const rangeColumns = [
  { title: "Layer", value: (r) => r.name, header: true },
  { title: "Type", value: (r) => r.type },
  { title: "Kept as", value: bitsOf },
  { title: "Smallest", number: true, value: (r) => figures(r.min) },
  { title: "Largest", number: true, value: (r) => figures(r.max) },
];

function weightsOf(m, index) {
  if (m.weights.length === 0) return [];
  const shown = m.weights.slice(0, 60);
  return [element("h3", {}, "Weights"),
    quiet("How they are distributed; heights are square roots of shares, so that rare values can be seen." +
          (shown.length < m.weights.length ? ` The first ${shown.length} of ${m.weights.length} layers.` : "")),
    element("div", { class: "many" }, ...shown.map((row, i) => histogram(`weights-${index}-${i}`, row, index,
      `${row.type}, ${bitsOf(row)}, ${figures(row.min)} to ${figures(row.max)}`))),
    element("details", {}, element("summary", {}, "The same as a table"), table(rangeColumns, m.weights))];
}

function cutOff(row) {
  if (row.reference) return `cut off: ${share(row.below)} below, ${share(row.above)} above`;
  const parts = [isNumber(row.at_low) ? `${share(row.at_low)} low` : "", isNumber(row.at_high) ? `${share(row.at_high)} high` : ""];
  return row.range ? "at the ends: " + parts.filter((part) => part).join(", ") : "";
}

function activationsOf(m, index) {
  const a = m.activations;
  if (!a || a.layers.length === 0) return [];
  const shown = a.layers.slice(0, 60);
  const text = `Of ${count(a.examples)} test examples; heights are square roots of shares. ` +
    (a.layers.some((row) => row.range) ? "The green band is what the integers can stand for. " : "") +
    (a.reference ? `The outline is ${fileName(a.reference)}, whose values beyond the band are cut off. ` : "") +
    (shown.length < a.layers.length ? `The first ${shown.length} of ${a.layers.length}.` : "");
  return [element("h3", {}, "Activations"), quiet(text),
    element("div", { class: "many" }, ...shown.map((row, i) => histogram(`activations-${index}-${i}`, row, index,
      [row.type, bitsOf(row), cutOff(row)].filter((part) => part).join(", ")))),
    element("details", {}, element("summary", {}, "The same as a table"), table(rangeColumns.concat([
      { title: "Range", value: (r) => (r.range ? r.range.map(figures).join(" to ") : "–") },
      { title: "At its ends", value: (r) => (r.range ? [r.at_low, r.at_high].map(share).join(", ") : "–") },
      { title: "Cut off", value: (r) => (r.reference ? [r.below, r.above].map(share).join(", ") : "–") },
    ]), a.layers))];
}

// The graph

const arithmetics = [["integer", "integers"], ["dynamic", "integers, ranges taken at each call"],
                     ["weight-only", "integer weights, float activations"], ["float", "float"],
                     ["edge", "from floats to integers, or back"], ["index", "sizes and indices"]];
const classOf = (arithmetic) => (arithmetic === "edge" ? "edge-node" : arithmetic);

function graphLegend(graph) {
  const used = arithmetics.filter(([name]) => graph.nodes.some((node) => node.arithmetic === name));
  return element("ul", { class: "legend" }, ...used.map(([name, text]) => {
    const key = d3.create("svg").attr("width", 22).attr("height", 14).attr("class", classOf(name)).attr("aria-hidden", "true");
    key.append("rect").attr("x", 1).attr("y", 1).attr("width", 20).attr("height", 12).attr("rx", 3);
    return element("li", {}, key.node(), `${text} (${graph.nodes.filter((node) => node.arithmetic === name).length})`);
  }));
}

const onShown = [];  // what can be done only when the page is whole

function drawGraph(graph, title) {
  const column = 168, row = 66, boxWidth = 150, boxHeight = 40, left = boxWidth / 2 + 6;
  const x = (place) => left + place * column, y = (line) => 26 + line * row;
  const width = x(graph.width) + left, height = y(graph.rows - 1) + 26;
  const svg = d3.create("svg:svg").attr("viewBox", `0 0 ${width} ${height}`).attr("width", width).attr("height", height)
                .attr("role", "img").attr("aria-label", title).attr("data-chart", "graph");
  const line = d3.line().curve(d3.curveMonotoneY);
  for (const edge of graph.edges) {
    const places = edge.points.map(([place, at]) => [x(place), y(at)]);
    const [endX, endY] = places[places.length - 1];
    places[0][1] += boxHeight / 2;
    places[places.length - 1][1] = endY - boxHeight / 2 - 5;
    svg.append("path").attr("class", "edge").attr("d", line(places));
    svg.append("path").attr("class", "arrow").attr("d", `M${endX},${endY - boxHeight / 2}l-4,-7h8z`);
  }
  for (const node of graph.nodes) {
    const group = svg.append("g").attr("class", `node ${classOf(node.arithmetic)}`)
                     .attr("transform", `translate(${x(node.x)},${y(node.row)})`);
    group.append("title").text(`${node.name}: ${node.type}, ${node.arithmetic}, [${node.shape.join(", ")}]`);
    group.append("rect").attr("x", -boxWidth / 2).attr("y", -boxHeight / 2).attr("width", boxWidth)
         .attr("height", boxHeight).attr("rx", 6);
    group.append("text").attr("text-anchor", "middle").attr("y", -3).text(ending(node.name, 20));
    group.append("text").attr("class", "type").attr("text-anchor", "middle").attr("y", 12)
         .text(shortened(node.type + (isNumber(node.bits) ? `, ${node.bits} bits` : ""), 24));
  }
  const place = scrolling(title, svg.node(), { class: "scroll graph" });
  onShown.push(() => { place.scrollLeft = x(graph.nodes[0].x) - place.clientWidth / 2; });
  return place;
}

function graphOf(m) {
  const graph = m.graph, most = 2000;
  if (graph.nodes.length === 0) return [];
  const columns = [
    { title: "Node", value: (n) => n.name, header: true },
    { title: "Type", value: (n) => n.type },
    { title: "Computes with", value: (n) => n.arithmetic + (isNumber(n.bits) ? `, ${n.bits} bits` : "") },
    { title: "Value of one sample", value: (n) => n.shape.join(" × ") },
  ];
  return [element("h3", {}, "Graph"), graphLegend(graph),
    graph.nodes.length > most ? quiet(`${count(graph.nodes.length)} nodes: too many to draw.`)
                              : drawGraph(graph, `The graph of ${called(m)}`),
    element("details", {}, element("summary", {}, "The same as a table"), table(columns, graph.nodes))];
}

function modelSection(m, index) {
  section(`model-${index}`, called(m), quiet(m.model),
          ...answersOf(m), ...sensitivityOf(m, index), ...weightsOf(m, index), ...activationsOf(m, index), ...graphOf(m));
}

document.getElementById("lead").textContent =
    models.length === 1 ? called(models[0]) : `${models.length} models side by side`;
document.getElementById("made-by").textContent = `Made by thimble ${data.version}. The numbers are in this page as JSON.`;
modelsSection();
trainingSection();
timesSection();
models.forEach(modelSection);

redraw();
onShown.forEach((action) => action());
let lastWidth = window.innerWidth;
window.addEventListener("resize", () => {
  if (window.innerWidth === lastWidth) return;
  lastWidth = window.innerWidth;
  redraw();
});
window.addEventListener("beforeprint", () => redraw(680));
window.addEventListener("afterprint", () => redraw());
