// Runs models on an ONNX Runtime for JavaScript, in Node as in the browser: `ort` is the package, and `files` has
// read(name) -> Promise<Uint8Array>, write(name, bytes) -> Promise, and append(name, object) -> Promise for a line of
// JSON. Nothing is judged here. The format is that of worker.py.

const ARRAYS = { float16: globalThis.Float16Array ?? Uint16Array, float32: Float32Array };

/** @returns {Promise<object>} the inputs of an entry by name */
export async function readFeeds(ort, files, entry) {
  const feeds = {};
  for (const { name, dtype, shape, file } of entry.feeds) {
    const bytes = await files.read(file);
    const Values = ARRAYS[dtype];
    const values = new Values(bytes.buffer, bytes.byteOffset, bytes.byteLength / Values.BYTES_PER_ELEMENT);
    feeds[name] = new ort.Tensor(dtype, values, shape);
  }
  return feeds;
}

export function asBytes({ data }) {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

async function runEntry(ort, files, entry, options) {
  const session = await ort.InferenceSession.create(await files.read(entry.model), options);
  try {
    const results = await session.run(await readFeeds(ort, files, entry));
    const outputs = [];
    for (const name of entry.outputs) {
      const file = `${entry.name}.output${outputs.length}.bin`;
      await files.write(file, asBytes(results[name]));
      outputs.push({ dtype: results[name].type, shape: [...results[name].dims], file });
    }
    return outputs;
  } finally {
    await session.release();
  }
}

/** Runs every entry of manifest.json; each adds a line to results.jsonl: its outputs, or the error. */
export async function runAll(ort, files, version, options) {
  const { entries } = JSON.parse(new TextDecoder().decode(await files.read("manifest.json")));
  await files.append("results.jsonl", { version });
  for (const entry of entries) {
    const line = { name: entry.name, error: "", outputs: [] };
    try {
      line.outputs = await runEntry(ort, files, entry, options);
    } catch (error) {
      line.error = String(error?.message ?? error);
    }
    await files.append("results.jsonl", line);
  }
}

async function time(session, feeds) {
  const started = performance.now();
  await session.run(feeds);
  return (performance.now() - started) / 1000;
}

/** Runs all sides in turn, in alternating order, for about budget_s seconds; each gets the times of its runs. */
export async function timeInTurn(sides, feeds, { budget_s, min_runs }, onRound = async () => {}) {
  const turns = [...sides];
  const started = performance.now();
  while (sides[0].seconds.length < min_runs || performance.now() - started < budget_s * 1000) {
    for (const side of turns) side.seconds.push(await time(side.session, feeds));
    turns.reverse();
    await onRound((performance.now() - started) / 1000);
  }
}

/** Times every pair of speed.json: both models in turn, in alternating order, for about budget_s seconds. */
export async function timeAll(ort, files, version, options) {
  const { pairs, budget_s, min_runs } = JSON.parse(new TextDecoder().decode(await files.read("speed.json")));
  await files.append("speed.jsonl", { version });
  for (const pair of pairs) {
    const feeds = await readFeeds(ort, files, pair);
    const sides = [];
    for (const model of [pair.original, pair.rewritten]) {
      const session = await ort.InferenceSession.create(await files.read(model), options);
      const [output] = Object.values(await session.run(feeds)); // the first run allocates, and is not timed
      await files.write(`${model}.bin`, asBytes(output));
      sides.push({ session, seconds: [] });
    }
    await timeInTurn(sides, feeds, { budget_s, min_runs });
    for (const { session } of sides) await session.release();
    await files.append("speed.jsonl", { name: pair.name, original_s: sides[0].seconds, rewritten_s: sides[1].seconds });
  }
}
