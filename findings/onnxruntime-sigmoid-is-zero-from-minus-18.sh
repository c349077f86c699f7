#!/usr/bin/env bash
# ONNX Runtime 1.30.0 (npm's onnxruntime-node), CPU, x86-64.
#
# Sigmoid of float32 is good to about 1e-7 in absolute terms, not to its last bits, though float32 has 1e-38: at -8 five
# digits are right, at -13 one, at -16 none, and at -18 and below the answer is exactly 0, where the true values are
# 1.5e-8 and, at -80, 1.8e-35. A logarithm behind it (a loss, a log-likelihood ratio, decibels) is minus infinity then,
# and who compares answers by relative errors finds a fault that is not his own.
#
# Needs npm and node; prints a few values, and fails if any of this has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-fund --no-audit --ignore-scripts onnxruntime-node@1.30.0 onnx-proto@8.0.1 >/dev/null

cat > run.cjs <<'JS'
const ort = require('onnxruntime-node');
const { onnx } = require('onnx-proto');

const value = (name) => ({ name, type: { tensorType: { elemType: 1, shape: { dim: [{ dimParam: 'n' }] } } } });
const model = onnx.ModelProto.encode({
  irVersion: 8,
  opsetImport: [{ domain: '', version: 13 }],
  graph: { name: 'sigmoid', node: [{ opType: 'Sigmoid', input: ['x'], output: ['y'] }], input: [value('x')], output: [value('y')] },
}).finish();

(async () => {
  const session = await ort.InferenceSession.create(model, { executionProviders: ['cpu'], logSeverityLevel: 3 });
  const x = Float32Array.of(-8, -13, -16, -18, -30, -80);
  const { y } = await session.run({ x: new ort.Tensor('float32', x, [x.length]) });
  const ratio = [];
  x.forEach((v, i) => {
    const exact = 1 / (1 + Math.exp(-v));
    ratio.push(y.data[i] / exact);
    console.log(`sigmoid(${v}): ${y.data[i].toExponential(4)}, exactly ${exact.toExponential(4)}`);
  });
  const same = Math.abs(ratio[0] - 1) > 1e-4 && Math.abs(ratio[1] - 1) > 5e-3 && ratio[2] < 0.6 &&
    y.data.slice(3).every((v) => v === 0);
  console.log(same ? 'as found: Sigmoid loses its digits from -8 on, and is 0 from -18 on' : 'CHANGED');
  process.exit(same ? 0 : 1);
})();
JS
node run.cjs
