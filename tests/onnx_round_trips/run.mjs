// Runs an ONNX model on ONNX Runtime: node run.mjs MODEL.onnx IMAGES.npy OUT_DIR BATCH [OPTIMIZED.onnx [KEY=VALUE ...]]
// The images, float32, are the model's only input. They go through in batches of BATCH; OUT_DIR/N.bin gets output N as
// raw bytes, OUT_DIR/outputs.json their names, types and shapes. KEY=VALUE are session options.
import fs from 'node:fs';
import path from 'node:path';
import { createRequire } from 'node:module';

const require = createRequire(path.join(process.env.ORT_HOME, 'here.js'));
const ort = require('onnxruntime-node');

const [model, images, out, batch, optimized, ...settings] = process.argv.slice(2);

// As numpy.save writes float32 arrays.
const bytes = fs.readFileSync(images);
const length = bytes.readUInt16LE(8), header = bytes.toString('latin1', 10, 10 + length);
const shape = /'shape': \(([^)]*)\)/.exec(header)[1].split(',').filter((d) => d.trim()).map(Number);
const values = new Float32Array(bytes.buffer.slice(bytes.byteOffset + 10 + length, bytes.byteOffset + bytes.length));
const size = values.length / shape[0];

const options = { intraOpNumThreads: 1, logSeverityLevel: 3, extra: { session: {} } };
if (optimized) options.optimizedModelFilePath = optimized;
for (const setting of settings) {
  const [key, value] = setting.split('=');
  options.extra.session[key.replace('session.', '')] = value;
}
const session = await ort.InferenceSession.create(model, options);

const parts = Object.fromEntries(session.outputNames.map((name) => [name, []]));
const report = {};
for (let first = 0; first < shape[0]; first += Number(batch)) {
  const count = Math.min(Number(batch), shape[0] - first);
  const part = new ort.Tensor('float32', values.slice(first * size, (first + count) * size), [count, ...shape.slice(1)]);
  const results = await session.run({ [session.inputNames[0]]: part });
  for (const name of session.outputNames) {
    const { data, dims, type } = results[name];
    parts[name].push(Buffer.from(data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength)));
    report[name] = { type, shape: [shape[0], ...dims.slice(1)] };
  }
}
fs.mkdirSync(out, { recursive: true });
session.outputNames.forEach((name, i) => fs.writeFileSync(path.join(out, `${i}.bin`), Buffer.concat(parts[name])));
const outputs = session.outputNames.map((name) => ({ name, ...report[name] }));
fs.writeFileSync(path.join(out, 'outputs.json'), JSON.stringify(outputs));
