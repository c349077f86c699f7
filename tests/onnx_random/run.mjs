// Runs ONNX models on ONNX Runtime: node run.mjs JOBS.json. A job is {model, level, out, inputs: [{name, type, shape,
// file}]}, whose files hold raw elements. Writes OUT/N.bin for output N and OUT/outputs.json with their names, types and
// shapes, or {"error": ...} where ONNX Runtime refuses.
import fs from 'node:fs';
import path from 'node:path';
import { createRequire } from 'node:module';

const require = createRequire(path.join(process.env.ORT_HOME, 'here.js'));
const ort = require('onnxruntime-node');

const ARRAYS = {
  float32: Float32Array, float64: Float64Array, int8: Int8Array, uint8: Uint8Array, int16: Int16Array,
  uint16: Uint16Array, int32: Int32Array, uint32: Uint32Array, int64: BigInt64Array, uint64: BigUint64Array,
  bool: Uint8Array,
};

async function run(job) {
  const session = await ort.InferenceSession.create(job.model, {
    intraOpNumThreads: 1, logSeverityLevel: 4, graphOptimizationLevel: job.level,
  });
  const feeds = {};
  for (const { name, type, shape, file } of job.inputs) {
    const bytes = fs.readFileSync(file);
    const data = new ARRAYS[type](bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
    feeds[name] = new ort.Tensor(type, data, shape);
  }
  const results = await session.run(feeds);
  const outputs = session.outputNames.map((name, i) => {
    const { data, dims, type } = results[name];
    fs.writeFileSync(path.join(job.out, `${i}.bin`), Buffer.from(data.buffer, data.byteOffset, data.byteLength));
    return { name, type, shape: dims };
  });
  await session.release();
  return outputs;
}

for (const job of JSON.parse(fs.readFileSync(process.argv[2]))) {
  fs.mkdirSync(job.out, { recursive: true });
  let outputs;
  try {
    outputs = await run(job);
  } catch (error) {
    outputs = { error: String(error.message).split('\n')[0] };
  }
  fs.writeFileSync(path.join(job.out, 'outputs.json'), JSON.stringify(outputs));
}
