#!/usr/bin/env bash
# ONNX Runtime 1.30.0 (npm's onnxruntime-node), CPU, x86-64.
#
# Slice with a step below 0 and a far end. The standard clamps that end to the last element, so that from there nothing
# is left, however far it is; "to the beginning" is said by the least number, not by the greatest. For ends of 1000 and of
# 2^63 - 2 ONNX Runtime does so, too. Exactly 2^31 - 1 and 2^63 - 1 it takes for the beginning, and gives the whole axis
# reversed, 2^31 - 1 even among bounds of 64 bits. Who writes "as far as it goes" the same way for both directions gets a
# reversed axis there, and an empty one from programs that follow the text.
#
# Needs npm and node; prints the answers, and fails if any of this has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-fund --no-audit --ignore-scripts onnxruntime-node@1.30.0 onnx-proto@8.0.1 >/dev/null

cat > run.cjs <<'JS'
const ort = require('onnxruntime-node');
const { onnx } = require('onnx-proto');

const value = (name, elemType, dim) => ({ name, type: { tensorType: { elemType, shape: { dim: [dim] } } } });
const model = (boundType) => onnx.ModelProto.encode({
  irVersion: 8,
  opsetImport: [{ domain: '', version: 13 }],
  graph: {
    name: 'slice',
    node: [{ opType: 'Slice', input: ['x', 'starts', 'ends', 'axes', 'steps'], output: ['y'] }],
    input: [value('x', 1, { dimValue: 4 }), ...['starts', 'ends', 'axes', 'steps'].map((n) => value(n, boundType, { dimValue: 1 }))],
    output: [value('y', 1, { dimParam: 'n' })],
  },
}).finish();

(async () => {
  const slice = async (type, end) => {
    const is64 = type === 'int64';
    const session = await ort.InferenceSession.create(model(is64 ? 7 : 6), { executionProviders: ['cpu'], logSeverityLevel: 3 });
    const one = (v) => new ort.Tensor(type, is64 ? BigInt64Array.of(BigInt(v)) : Int32Array.of(Number(v)), [1]);
    const { y } = await session.run({
      x: new ort.Tensor('float32', Float32Array.of(0, 1, 2, 3), [4]), starts: one(3), ends: one(end), axes: one(0), steps: one(-1) });
    const answer = `[${Array.from(y.data)}]`;
    console.log(`${type} bounds, 3:${end}:-1 of [0,1,2,3] is ${answer}`);
    return answer;
  };
  const max64 = 2n ** 63n - 1n, max32 = 2n ** 31n - 1n;
  const got = [await slice('int64', 1000), await slice('int64', max32), await slice('int64', max64 - 1n), await slice('int64', max64),
    await slice('int32', 1000), await slice('int32', max32)];
  const same = got.join(' ') === '[] [3,2,1,0] [] [3,2,1,0] [] [3,2,1,0]';
  console.log(same ? 'as found: the greatest numbers of 32 and 64 bits end a backward slice at the beginning' : 'CHANGED');
  process.exit(same ? 0 : 1);
})();
JS
node run.cjs
