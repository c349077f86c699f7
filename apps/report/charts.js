"use strict";
// Charts: each is a figure with a caption, an SVG as wide as its place, and a table of the same numbers.

// An element; what it holds is text or elements, never HTML: names come from files.
function element(name, attributes, ...content) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
  made.append(...content.filter((part) => part !== null && part !== undefined));
  return made;
}

const isNumber = (value) => typeof value === "number";
const orDash = (format) => (value) => (isNumber(value) ? format(value) : "–");
const percent = orDash((value) => (100 * value).toFixed(2) + " %");
const share = orDash((value) => (value > 0 && value < 5e-5 ? "< 0.01 %" : percent(value)));
const micros = orDash((value) => (value >= 100 ? value.toFixed(0) : value.toPrecision(3)) + " µs");
const figures = orDash((value) => (Number.isInteger(value) ? String(value) : value.toPrecision(4)));
const count = orDash(d3.format(","));
const colour = (i) => `var(--c${i % 8})`;
const symbols = [d3.symbolCircle, d3.symbolSquare, d3.symbolTriangle, d3.symbolDiamond, d3.symbolCross, d3.symbolStar,
                 d3.symbolWye];
const symbol = (i, size) => d3.symbol().type(symbols[i % symbols.length]).size(size || 90)();

// Charts draw themselves anew when their place gets another width, and for paper.
const charts = [];
function redraw(most) {
  for (const chart of charts) chart(most);
}

// draw(svg, width) fills an empty svg and gives its height.
function chart(id, title, note, draw, table) {
  const figure = element("figure", { class: "chart" },
                         element("figcaption", {}, title, note ? element("small", {}, note) : null));
  const picture = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  picture.setAttribute("role", "img");
  picture.setAttribute("aria-label", note ? `${title}: ${note}` : title);
  picture.setAttribute("data-chart", id);
  figure.append(picture);
  if (table) figure.append(element("details", {}, element("summary", {}, "The same as a table"), table));
  charts.push((most) => {
    const width = Math.max(200, Math.floor(Math.min(most || Infinity, figure.clientWidth)));
    picture.replaceChildren();
    const height = draw(d3.select(picture), width);
    for (const [key, value] of [["viewBox", `0 0 ${width} ${height}`], ["width", width], ["height", height]])
      picture.setAttribute(key, value);
  });
  return figure;
}

// Columns: [{title, value(row), number, header}]. Rows' headers are those of columns that say so.
function table(columns, rows, attributes) {
  const kind = (column) => (column.number ? { class: "number" } : {});
  const head = columns.map((column) => element("th", { ...kind(column), scope: "col" }, column.title));
  const body = rows.map((row) => element("tr", {}, ...columns.map((column) => {
    const text = String(column.value(row));
    return column.header ? element("th", { scope: "row" }, text)
                         : element("td", { ...kind(column), "data-label": column.title }, text);
  })));
  return scrolling("Table", element("table", attributes || {}, element("thead", {}, element("tr", {}, ...head)),
                                    element("tbody", {}, ...body)));
}

function scrolling(label, content, attributes) {
  return element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label, ...attributes }, content);
}

function legend(entries) {
  const items = entries.map(({ name, index, dash, shape }) => {
    const key = d3.create("svg").attr("width", 22).attr("height", 14).attr("aria-hidden", "true");
    if (shape)
      key.append("path").attr("d", symbol(index)).attr("transform", "translate(11,7)").attr("fill", colour(index));
    else if (dash !== undefined)
      key.append("line").attr("x2", 22).attr("y1", 7).attr("y2", 7).attr("stroke", colour(index))
         .attr("stroke-width", 2.5).attr("stroke-dasharray", dash);
    else
      key.append("rect").attr("width", 14).attr("height", 14).attr("x", 4).attr("fill", colour(index));
    return element("li", {}, key.node(), name);
  });
  return element("ul", { class: "legend" }, ...items);
}

// A domain with some room around the values, of which none may lie on an axis.
function padded(values, least) {
  const [low, high] = d3.extent(values);
  const room = Math.max((high - low) * 0.12, least, Math.abs(high) * 1e-6);
  return [low - room, high + room];
}

// Axes with a grid; what they mean is also told by attributes, for whoever reads the drawing.
function axes(svg, x, y, { width, height, left, bottom, xTitle, yTitle, xFormat, yFormat, xTicks }) {
  const tell = (scale) => [...scale.domain(), ...scale.range()].join(",");
  svg.attr("data-x", tell(x)).attr("data-y", tell(y));
  const across = d3.axisBottom(x).ticks(xTicks || Math.min(8, Math.max(3, Math.floor(width / 90)))).tickSizeOuter(0);
  if (xFormat) across.tickFormat(xFormat);
  const up = d3.axisLeft(y).ticks(5).tickSizeOuter(0);
  if (yFormat) up.tickFormat(yFormat);
  const grid = d3.axisLeft(y).ticks(5).tickSize(-(width - left - 12)).tickFormat("");
  svg.append("g").attr("class", "grid").attr("transform", `translate(${left},0)`).call(grid);
  svg.append("g").attr("class", "axis").attr("transform", `translate(0,${height - bottom})`).call(across);
  svg.append("g").attr("class", "axis").attr("transform", `translate(${left},0)`).call(up);
  svg.append("text").attr("class", "quiet").attr("x", width - 12).attr("y", height - 6).attr("text-anchor", "end")
     .text(xTitle);
  svg.append("text").attr("class", "quiet").attr("x", 4).attr("y", 12).text(yTitle);
}

// points: [{x, y, index, name, on}], of which those that are `on` the frontier are joined.
function scatter(id, title, note, points, { xTitle, xFormat, yTitle, yFormat, least }, columns) {
  const draw = (svg, width) => {
    const height = 300, left = 64, bottom = 44;
    const x = d3.scaleLinear().domain([0, d3.max(points, (p) => p.x) * 1.08]).nice().range([left, width - 12]);
    const y = d3.scaleLinear().domain(padded(points.map((p) => p.y), least)).range([height - bottom, 24]);
    axes(svg, x, y, { width, height, left, bottom, xTitle, yTitle, xFormat, yFormat });
    const front = points.filter((p) => p.on).sort((a, b) => a.x - b.x);
    const line = d3.line().x((p) => x(p.x)).y((p) => y(p.y)).curve(d3.curveStepAfter);
    if (front.length > 1) svg.append("path").attr("class", "frontier").attr("d", line(front));
    svg.selectAll("path.mark").data(points).enter().append("path").attr("class", "mark")
       .attr("d", (p) => symbol(p.index, 130)).attr("fill", (p) => colour(p.index))
       .attr("transform", (p) => `translate(${x(p.x)},${y(p.y)})`)
       .append("title").text((p) => `${p.name}: ${xFormat(p.x)}, ${yFormat(p.y)}`);
    return height;
  };
  return chart(id, title, note, draw, columns && table(columns, points));
}

// series: [{name, index, dash, values: [{x, y}]}]; what is no number is left out of the line.
function lines(id, title, note, series, { xTitle, yTitle, yFormat, least }) {
  const all = series.flatMap((s) => s.values).filter((v) => isNumber(v.y));
  const last = d3.max(all, (v) => v.x);
  const draw = (svg, width) => {
    const height = 280, left = 64, bottom = 44;
    const x = d3.scaleLinear().domain(last > 1 ? [1, last] : [0.5, 1.5]).range([left, width - 14]);
    const y = d3.scaleLinear().domain(padded(all.map((v) => v.y), least)).range([height - bottom, 24]);
    const whole = (value) => (Number.isInteger(value) ? String(value) : "");
    axes(svg, x, y, { width, height, left, bottom, xTitle, yTitle, yFormat, xFormat: whole,
                      xTicks: Math.min(last, Math.max(3, Math.floor(width / 90))) });
    const line = d3.line().defined((v) => isNumber(v.y)).x((v) => x(v.x)).y((v) => y(v.y));
    series.forEach((s, number) => {
      svg.append("path").attr("d", line(s.values)).attr("fill", "none").attr("stroke", colour(s.index))
         .attr("stroke-width", 2).attr("stroke-dasharray", s.dash);
      svg.selectAll(null).data(last > 60 ? [] : s.values.filter((v) => isNumber(v.y))).enter().append("circle")
         .attr("class", "mark").attr("data-series", number).attr("r", 3.5).attr("fill", colour(s.index))
         .attr("cx", (v) => x(v.x)).attr("cy", (v) => y(v.y))
         .append("title").text((v) => `${s.name}, epoch ${v.x}: ${yFormat(v.y)}`);
    });
    return height;
  };
  const columns = [{ title: "Epoch", value: (x) => x, header: true }].concat(series.map((s) => ({
    title: s.name, number: true, value: (x) => orDash(yFormat)((s.values.find((v) => v.x === x) || {}).y) })));
  const figure = chart(id, title, note, draw, table(columns, d3.range(1, last + 1)));
  figure.insertBefore(legend(series), figure.querySelector("svg[data-chart]"));
  return figure;
}

// groups: [{name, note, bars: [{value, index, name}]}]: names above their bars, so that they may be long.
function bars(id, title, note, groups, { format, least }, dataTable) {
  const draw = (svg, width) => {
    const bar = 13, nameHeight = 19, gap = 9, room = 76;
    const values = groups.flatMap((g) => g.bars.map((b) => b.value));
    const x = d3.scaleLinear().domain([Math.min(0, d3.min(values)), Math.max(least || 1e-9, d3.max(values))])
                .range([d3.min(values) < 0 ? room : 2, width - room]);
    svg.attr("data-x", [...x.domain(), ...x.range()].join(","));
    let top = 0;
    for (const group of groups) {
      const label = svg.append("text").attr("x", 0).attr("y", top + 13).text(shortened(group.name, width / 9));
      label.append("tspan").attr("dx", 8).attr("fill", "var(--quiet)").text(group.note);
      label.append("title").text(group.name);
      top += nameHeight;
      for (const { value, index, name } of group.bars) {
        const low = Math.min(x(0), x(value));
        svg.append("rect").attr("class", "mark").attr("x", low).attr("y", top).attr("height", bar - 2).attr("rx", 2)
           .attr("width", Math.max(1e-3, Math.abs(x(value) - x(0)))).attr("fill", colour(index))
           .append("title").text(`${group.name}, ${name}: ${format(value)}`);
        const end = value < 0 ? low - 4 : Math.max(x(0), x(value)) + 4;
        svg.append("text").attr("class", "quiet").attr("x", end).attr("y", top + bar - 3)
           .attr("text-anchor", value < 0 ? "end" : "start").text(format(value));
        top += bar;
      }
      top += gap;
    }
    if (d3.min(values) < 0)
      svg.append("line").attr("x1", x(0)).attr("x2", x(0)).attr("y2", Math.max(top - gap, 1)).attr("stroke", "var(--line)");
    return Math.max(top, 1);
  };
  return chart(id, title, note, draw, dataTable);
}

function shortened(text, most) {
  const length = Math.max(8, Math.floor(most));
  return text.length > length ? text.slice(0, length - 1) + "…" : text;
}

// Of paths the end says most.
function ending(text, most) {
  return text.length > most ? "…" + text.slice(1 - most) : text;
}

// row: {name, type, bits, low, width, counts, range, reference}. Heights are square roots of shares.
function histogram(id, row, index, note) {
  const outline = row.reference;
  const parts = (h) => {
    const total = d3.sum(h.counts);
    return h.counts.map((n, i) => ({ from: h.low + i * h.width, to: h.low + (i + 1) * h.width, part: n / total / h.width }));
  };
  const draw = (svg, width) => {
    const height = 130, bottom = 22;
    const own = parts(row), other = outline ? parts(outline) : [];
    const ends = own.concat(other).flatMap((b) => [b.from, b.to]).concat(row.range || []);
    const x = d3.scaleLinear().domain(padded(ends, 1e-9)).range([16, width - 16]);
    const y = d3.scaleSqrt().domain([0, d3.max(own.concat(other), (b) => b.part)]).range([height - bottom, 6]);
    svg.attr("data-x", [...x.domain(), ...x.range()].join(",")).attr("data-y", [...y.domain(), ...y.range()].join(","));
    if (row.range)
      svg.append("rect").attr("class", "range").attr("x", x(row.range[0])).attr("width", x(row.range[1]) - x(row.range[0]))
         .attr("y", 2).attr("height", height - bottom - 2);
    svg.selectAll("rect.mark").data(own).enter().append("rect").attr("class", "mark").attr("fill", colour(index))
       .attr("x", (b) => x(b.from)).attr("width", (b) => Math.max(0.5, x(b.to) - x(b.from) - 0.3))
       .attr("y", (b) => y(b.part)).attr("height", (b) => y(0) - y(b.part));
    if (other.length > 0) {
      const steps = other.flatMap((b) => [[x(b.from), y(b.part)], [x(b.to), y(b.part)]]);
      svg.append("path").attr("class", "reference").attr("d", d3.line()(steps));
    }
    for (const end of row.range || [])
      svg.append("line").attr("class", "range-end").attr("x1", x(end)).attr("x2", x(end)).attr("y1", 2)
         .attr("y2", height - bottom);
    svg.append("g").attr("class", "axis").attr("transform", `translate(0,${height - bottom})`)
       .call(d3.axisBottom(x).ticks(4).tickSizeOuter(0));
    return height;
  };
  return chart(id, row.name, note, draw, null);
}
