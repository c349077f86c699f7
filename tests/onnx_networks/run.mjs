// Runs an ONNX model on ONNX Runtime, one call for each line of standard input:
//   node run.mjs MODEL.onnx LEVEL          (of optimization: disabled, basic, extended, all)
// A line is {"inputs": {NAME: {"file", "type", "dims"}}, "out": FOLDER}; files hold raw elements. Answered by a line
// {NAME: {"file", "type", "dims"}}. Where onnxruntime-node lies is told by ORT_HOME.
import fs from 'node:fs';
import path from 'node:path';
import readline from 'node:readline';
import { createRequire } from 'node:module';

const ort = createRequire(path.join(process.env.ORT_HOME, 'here.js'))('onnxruntime-node');
const arrays = { float32: Float32Array, int64: BigInt64Array };
const session = await ort.InferenceSession.create(process.argv[2], {
  intraOpNumThreads: 1, graphOptimizationLevel: process.argv[3], logSeverityLevel: 3 });

for await (const line of readline.createInterface({ input: process.stdin })) {
  const { inputs, out } = JSON.parse(line);
  const feeds = {};
  for (const [name, { file, type, dims }] of Object.entries(inputs))
    feeds[name] = new ort.Tensor(type, new arrays[type](new Uint8Array(fs.readFileSync(file)).buffer), dims);
  const results = await session.run(feeds);
  const answer = {};
  session.outputNames.forEach((name, i) => {
    const { data, type, dims } = results[name], file = path.join(out, `${i}.bin`);
    fs.writeFileSync(file, Buffer.from(data.buffer, data.byteOffset, data.byteLength));
    answer[name] = { file, type, dims };
  });
  console.log(JSON.stringify(answer));
}
