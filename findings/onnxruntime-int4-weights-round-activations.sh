#!/usr/bin/env bash
# ONNX Runtime 1.30.0 (npm's onnxruntime-node), CPU, x86-64.
#
# A model with weight-only quantization: a constant int4 weight, DequantizeLinear in blocks of 32, MatMul with float32
# activations. No QuantizeLinear stands anywhere in it, so one expects float activations. With its default options the
# runtime makes one MatMulNBits of it, which rounds the *activations* to 8 bits, block by block: a row with one large
# element loses its small ones. The option session.qdq_matmulnbits_accuracy_level = "1" keeps them float; so does
# turning graph optimization off.
#
# Needs npm and node; prints the three answers and the exact one, and fails if any of this has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-fund --no-audit --ignore-scripts onnxruntime-node@1.30.0 onnx-proto@8.0.1 >/dev/null

cat > run.cjs <<'JS'
const ort = require('onnxruntime-node');
const { onnx } = require('onnx-proto');

const K = 64, BLOCK = 32, SCALE = 0.125;
// y = x W with W [64, 1] of the integers -8 ... 7, two in a byte, times 0.125.
const weights = Array.from({ length: K }, (_, i) => ((i * 5) % 16) - 8);
const packed = Uint8Array.from({ length: K / 2 }, (_, i) => (weights[2 * i] & 15) | ((weights[2 * i + 1] & 15) << 4));
const x = Float32Array.from({ length: K }, (_, i) => (i === 0 ? 100 : 0.3 * Math.sin(i)));  // one large element
const exact = x.reduce((sum, value, i) => sum + value * weights[i] * SCALE, 0);

const FLOAT = 1, INT4 = 22, INT = 2;
const value = (name, dims) =>
  ({ name, type: { tensorType: { elemType: FLOAT, shape: { dim: dims.map((dimValue) => ({ dimValue })) } } } });
const model = onnx.ModelProto.encode({
  irVersion: 10,
  opsetImport: [{ domain: '', version: 21 }],
  graph: {
    name: 'weight_only',
    initializer: [
      { name: 'w', dataType: INT4, dims: [K, 1], rawData: packed },
      { name: 'scale', dataType: FLOAT, dims: [K / BLOCK, 1], floatData: Array(K / BLOCK).fill(SCALE) },
    ],
    node: [
      { opType: 'DequantizeLinear', input: ['w', 'scale'], output: ['w_float'],
        attribute: [{ name: 'axis', type: INT, i: 0 }, { name: 'block_size', type: INT, i: BLOCK }] },
      { opType: 'MatMul', input: ['x', 'w_float'], output: ['y'] },
    ],
    input: [value('x', [1, K])],
    output: [value('y', [1, 1])],
  },
}).finish();

async function answer(options) {
  const session = await ort.InferenceSession.create(model, { executionProviders: ['cpu'], logSeverityLevel: 3, ...options });
  const { y } = await session.run({ x: new ort.Tensor('float32', x, [1, K]) });
  return y.data[0];
}

(async () => {
  const byDefault = await answer({});
  const accurate = await answer({ extra: { session: { qdq_matmulnbits_accuracy_level: '1' } } });
  const unoptimized = await answer({ graphOptimizationLevel: 'disabled' });
  console.log(`exact                      ${exact.toFixed(4)}`);
  console.log(`default options            ${byDefault.toFixed(4)}   error ${Math.abs(byDefault - exact).toFixed(4)}`);
  console.log(`accuracy level 1           ${accurate.toFixed(4)}   error ${Math.abs(accurate - exact).toFixed(4)}`);
  console.log(`graph optimization off     ${unoptimized.toFixed(4)}   error ${Math.abs(unoptimized - exact).toFixed(4)}`);
  const same = Math.abs(byDefault - exact) > 0.05 && Math.abs(accurate - exact) < 1e-3 && Math.abs(unoptimized - exact) < 1e-3;
  console.log(same ? 'as found: the default rounds activations to 8 bits' : 'CHANGED');
  process.exit(same ? 0 : 1);
})();
JS
node run.cjs
