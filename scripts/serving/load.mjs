// Many clients at once on one session in onnxruntime-node:
//
//     echo 500 500 | node --expose-gc load.mjs MODULES MODEL SHAPE INPUTS OUTPUTS CLIENTS
//
// MODULES is the folder node_modules that holds the package; the rest, standard input and what it prints
// are as in load_model.cpp.
// onnxruntime-node runs one request after the other, so a run has as many threads as there are cores.

import { readFile, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";

const SAMPLE_EVERY = 10; // requests between two looks at the memory

const [modules, model, lengths, inputs, outputs, clients] = process.argv.slice(2);
const ort = createRequire(join(resolve(modules), "package.json"))("onnxruntime-node");

const shape = lengths.split("x").map(Number);
const count = shape.reduce((product, length) => product * length, 1);
const { buffer, byteOffset } = await readFile(inputs);
const session = await ort.InferenceSession.create(model, { executionProviders: ["cpu"], logSeverityLevel: 3 });
const [input] = session.inputNames;
const [output] = session.outputNames;

const asBytes = ({ data }) => Buffer.from(data.buffer, data.byteOffset, data.byteLength);
const firsts = [];

async function serveClient(client, requests, load) {
  const values = new Float32Array(buffer, byteOffset + client * count * 4, count);
  for (let sent = 0; sent < Math.floor(requests / clients); sent += 1) {
    const started = performance.now();
    const results = await session.run({ [input]: new ort.Tensor("float32", values, shape) });
    load.seconds.push((performance.now() - started) / 1000);
    firsts[client] ??= Buffer.from(asBytes(results[output]));
    if (!asBytes(results[output]).equals(firsts[client])) load.different += 1;
    if (load.seconds.length % SAMPLE_EVERY === 0) {
      gc(); // V8 leaves freed tensors lying as long as it likes
      load.held_bytes.push(process.memoryUsage.rss());
    }
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  for (const requests of line.trim().split(/\s+/).map(Number)) {
    const load = { version: ort.env.versions.node, wall_s: 0, different: 0, seconds: [], held_bytes: [] };
    const started = performance.now();
    const numbers = Array.from({ length: Number(clients) }, (_, client) => client);
    await Promise.all(numbers.map((client) => serveClient(client, requests, load)));
    load.wall_s = (performance.now() - started) / 1000;
    await writeFile(outputs, Buffer.concat(firsts));
    console.log(JSON.stringify(load));
  }
}
