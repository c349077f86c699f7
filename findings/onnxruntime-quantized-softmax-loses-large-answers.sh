#!/usr/bin/env bash
# ONNX Runtime 1.30.0 (npm's onnxruntime-node), CPU, x86-64.
#
# DequantizeLinear, Softmax, QuantizeLinear, all of uint8. With its default options the runtime makes one QLinearSoftmax of
# them, which loses large answers where the output scale is fine: an element x of a row of n gets the zero point, 0 say,
# once exp(x - the row's largest) / scale is beyond n times 148.4, that is n times e^5 (it fits an overflow of float32).
# Not only answers that must saturate at 255 become 0 so: of an even row, all that are 149 and more do, though they are in
# range (probability 0.25 at a scale of 1e-3 is 0 instead of 250). A row of one element, always 1, is 0 at 1/256 already;
# from two on, 1/256 is right. Each element goes by itself: smaller ones in the same row stay right, and what is beyond 255
# but not beyond that bound saturates. Opsets 10, 12, 13 and 21 do the same; before 13, n is the size of the flattened row.
# Of int8, the lost answers are 127 where the zero point is -128, and -128 where it is 0.
#
# The levels "disabled" and "basic" keep the three operators, and are right; "extended" does not.
#
# Needs npm and node; prints a table of answers, and fails if any of this has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-fund --no-audit --ignore-scripts onnxruntime-node@1.30.0 onnx-proto@8.0.1 >/dev/null

cat > run.cjs <<'JS'
const ort = require('onnxruntime-node');
const { onnx } = require('onnx-proto');

const FLOAT = 1, INT = 2, TYPES = { uint8: [2, Uint8Array], int8: [3, Int8Array] }, X_SCALE = 0.1;
const value = (name, elemType, dims) =>
  ({ name, type: { tensorType: { elemType, shape: { dim: dims.map((dimValue) => ({ dimValue })) } } } });
const model = ({ type, dims, scale, zero, opset }) => onnx.ModelProto.encode({
  irVersion: 8,
  opsetImport: [{ domain: '', version: opset }],
  graph: {
    name: 'softmax',
    initializer: [
      ...[['x_scale', X_SCALE], ['y_scale', scale]].map(([name, v]) => ({ name, dataType: FLOAT, dims: [], floatData: [v] })),
      ...[['x_zero', 0], ['y_zero', zero]].map(([name, v]) => ({ name, dataType: TYPES[type][0], dims: [], int32Data: [v] })),
    ],
    node: [
      { opType: 'DequantizeLinear', input: ['x', 'x_scale', 'x_zero'], output: ['x_float'] },
      { opType: 'Softmax', input: ['x_float'], output: ['p'], attribute: [{ name: 'axis', type: INT, i: 1 }] },
      { opType: 'QuantizeLinear', input: ['p', 'y_scale', 'y_zero'], output: ['y'] },
    ],
    input: [value('x', TYPES[type][0], dims)],
    output: [value('y', TYPES[type][0], dims)],
  },
}).finish();

async function answer(graph, level) {
  const options = level ? { graphOptimizationLevel: level } : {};
  const session = await ort.InferenceSession.create(model(graph), { executionProviders: ['cpu'], logSeverityLevel: 3, ...options });
  const { y } = await session.run({ x: new ort.Tensor(graph.type, TYPES[graph.type][1].from(graph.x), graph.dims) });
  return Array.from(y.data);
}

let same = true;
const uneven = [110, 105, 103, 100], even = [100, 100, 100, 100], hundred = Array(100).fill(100), cube = [...uneven, 1, 2, 3, 4];
// [x, 1 / output scale, default answers, right answers, what is not as usual]; of the row of 100, its first element
const table = [
  [uneven, 512, '207,126,103,76', '207,126,103,76'],
  [uneven, 593, '240,146,119,88', '240,146,119,88'],
  [uneven, 595, '0,146,120,89', '241,146,120,89'],
  [uneven, 1000, '0,0,201,149', '255,245,201,149'],
  [uneven, 10000, '0,0,0,0', '255,255,255,255'],
  [even, 593, '148,148,148,148', '148,148,148,148'],
  [even, 1000, '0,0,0,0', '250,250,250,250'],
  [[200, 100, 100, 100], 590, '255,0,0,0', '255,0,0,0'],
  [[200, 100, 100, 100], 10000, '0,0,0,0', '255,0,0,0'],
  [hundred, 14800, '148', '148'],
  [hundred, 15000, '0', '150'],
  [[100], 148, '148', '148'],
  [[100], 256, '0', '255'],
  [[100, 100], 256, '128,128', '128,128'],
  [uneven, 1000, '100,100,255,249', '255,255,255,249', { zero: 100 }],
  ...[10, 12, 21].map((opset) => [uneven, 1000, '0,0,201,149', '255,245,201,149', { opset }]),
  [cube, 1180, '255,255,237,176,0,0,0,0', '255,255,237,176,0,0,0,0', { opset: 12, dims: [1, 4, 2] }],
  [cube, 1195, '0,255,240,178,0,0,0,0', '255,255,240,178,0,0,0,0', { opset: 12, dims: [1, 4, 2] }],
  [even.map((v) => v - 128), 1000, '127,127,127,127', '122,122,122,122', { type: 'int8', zero: -128 }],
  [even.map((v) => v - 128), 1000, '-128,-128,-128,-128', '127,127,127,127', { type: 'int8', zero: 0 }],
];

(async () => {
  const line = (...cells) => console.log(cells.map((cell, i) => String(cell).padEnd([23, 7, 23, 23, 0][i])).join(' ').trimEnd());
  line('x (times 0.1)', 'scale', 'default', 'optimization disabled', '');
  for (const [x, inverse, expected, right, more] of table) {
    const graph = { type: 'uint8', dims: [1, x.length], zero: 0, opset: 13, x, scale: 1 / inverse, ...more };
    const [got, off] = [await answer(graph), await answer(graph, 'disabled')].map((y) => String(x === hundred ? y[0] : y));
    line(x === hundred ? '100 times 100' : x, `1/${inverse}`, got, off, more ? JSON.stringify(more) : '');
    same &&= got === expected && off === right;
  }

  const graph = { type: 'uint8', dims: [1, 4], zero: 0, opset: 13, x: uneven, scale: 1e-3 };
  const [basic, extended] = [String(await answer(graph, 'basic')), String(await answer(graph, 'extended'))];
  console.log(`${uneven} at 1e-3: level basic ${basic}, level extended ${extended}`);
  same &&= basic === '255,245,201,149' && extended === '0,0,201,149';

  // The bound, element by element: many rows in one tensor, many scales; what is within 1 % of the bound is left out.
  let state = 1, lost = 0, inRange = 0, kept = 0, surprises = 0;
  const random = (n) => { state = (state * 48271) % 2147483647; return state % n; };
  for (const n of [2, 3, 8, 50]) for (const inverse of [256, 500, 1000, 3000, 10000, 100000]) {
    const x = Array.from({ length: 40 * n }, () => random(60));
    const rows = { type: 'uint8', dims: [40, n], zero: 0, opset: 13, x, scale: 1 / inverse };
    const got = await answer(rows), off = await answer(rows, 'disabled');
    x.forEach((v, i) => {
      const start = i - (i % n), largest = Math.max(...x.slice(start, start + n));
      const share = Math.exp((v - largest) * X_SCALE) * inverse / (n * Math.exp(5));
      if (Math.abs(share - 1) < 0.01) return;
      if (share > 1) { ++lost; if (off[i] < 255) ++inRange; } else ++kept;
      if (share > 1 ? got[i] !== 0 : Math.abs(got[i] - off[i]) > 1) ++surprises;
    });
  }
  console.log(`random rows: ${lost} elements beyond the bound are 0, ${inRange} of them in range; ${kept} within it are right, ` +
    `to one step; ${surprises} are otherwise`);
  same &&= surprises === 0 && inRange > 0;
  console.log(same ? 'as found: QLinearSoftmax gives 0 for large answers at fine scales' : 'CHANGED');
  process.exit(same ? 0 : 1);
})();
JS
node run.cjs
