#!/usr/bin/env bash
# ONNX Runtime 1.30.0 (npm's onnxruntime-node), CPU, x86-64.
#
# The ONNX standard defines element i of Range(start, limit, delta) as start + i * delta. For float32 the runtime adds
# delta to a running float32 value instead: after 9,999 steps of 0.1 it has drifted by 0.097, almost a whole step, while
# NumPy's arange in float32 is right to the last bits. Position tables of exported networks (grids of detectors,
# positions of transformers) are made so.
#
# Needs npm and node; prints three elements, and fails if any of this has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-fund --no-audit --ignore-scripts onnxruntime-node@1.30.0 onnx-proto@8.0.1 >/dev/null

cat > run.cjs <<'JS'
const ort = require('onnxruntime-node');
const { onnx } = require('onnx-proto');

const FLOAT = 1;
const value = (name, dim) => ({ name, type: { tensorType: { elemType: FLOAT, shape: { dim } } } });
const names = ['start', 'limit', 'delta'];
const model = onnx.ModelProto.encode({
  irVersion: 8,
  opsetImport: [{ domain: '', version: 13 }],
  graph: {
    name: 'range',
    node: [{ opType: 'Range', input: names, output: ['y'] }],
    input: names.map((name) => value(name, [])),
    output: [value('y', [{ dimParam: 'n' }])],
  },
}).finish();

(async () => {
  const session = await ort.InferenceSession.create(model, { executionProviders: ['cpu'], logSeverityLevel: 3 });
  const scalar = (number) => new ort.Tensor('float32', Float32Array.of(number), []);
  const { y } = await session.run({ start: scalar(0), limit: scalar(1000), delta: scalar(0.1) });
  const delta = Math.fround(0.1);
  for (const i of [100, 1000, 9999]) console.log(`element ${i}: ${y.data[i]}, by the standard ${Math.fround(i * delta)}`);
  const drift = Math.abs(y.data[9999] - 9999 * delta);
  const same = y.data.length === 10000 && drift > 0.09 && drift < 0.1;
  console.log(same ? 'as found: Range adds up in float32' : 'CHANGED');
  process.exit(same ? 0 : 1);
})();
JS
node run.cjs
