// Loads onnxruntime-web, a model and its rewritten form, all named in pair.json, runs both in turn, and shows the times
// side by side. `document.body.dataset.state` is "loading", "timing", "done" or "failed".

import { asBytes, readFeeds, timeInTurn } from "./runner.mjs";

const BUDGET_S = 6;
const MIN_RUNS = 5;
const MOST_DIFFERENCE = 1e-5; // between the outputs, relative L2
const SIDES = ["original", "rewritten"];

const find = (id) => document.getElementById(id);
const paint = () => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));

async function show(state, text, share) {
  document.body.dataset.state = state;
  find("status").textContent = text;
  find("progress").value = share;
  await paint();
}

const mib = (bytes) => (bytes / 2 ** 20).toFixed(1);

/** Fetches files, and shows how many of all their bytes have come. */
function makeReader(total_bytes) {
  let come = 0;
  return async (file) => {
    const answer = await fetch(file);
    if (!answer.ok) throw new Error(`got status ${answer.status} for ${file}; expected the file`);
    const parts = [];
    for (const reader = answer.body.getReader(); ; ) {
      const { done, value } = await reader.read();
      if (done) break;
      parts.push(value);
      come += value.byteLength;
      await show("loading", `Loading ${mib(come)} of ${mib(total_bytes)} MiB: ${file}`, come / total_bytes);
    }
    return new Uint8Array(await new Blob(parts).arrayBuffer());
  };
}

/** The relative L2 difference of all outputs. */
function compare(original, rewritten) {
  let [difference, size] = [0, 0];
  for (const [name, { data }] of Object.entries(original)) {
    data.forEach((value, index) => {
      difference += (rewritten[name].data[index] - value) ** 2;
      size += value ** 2;
    });
    if (asBytes(rewritten[name]).length !== asBytes(original[name]).length) return Infinity;
  }
  return Math.sqrt(difference / size);
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2;
}

function showTimes(sides) {
  const times = sides.map(({ seconds }) => median(seconds) * 1000);
  for (const [index, side] of sides.entries()) {
    const section = find(side.name);
    section.querySelector(".time").textContent = `${times[index].toPrecision(3)} ms`;
    section.querySelector(".bar").style.width = `${(100 * times[index]) / Math.max(...times)}%`;
    section.querySelector(".about").textContent = `${side.seconds.length} runs, ${side.about}`;
  }
  return times[0] / times[1];
}

async function measure(sides, feeds) {
  find("again").hidden = true;
  for (const side of sides) side.seconds = [];
  const ratio = () => showTimes(sides);
  await timeInTurn(sides, feeds, { budget_s: BUDGET_S, min_runs: MIN_RUNS }, async (seconds) => {
    ratio();
    await show("timing", `Timing, ${sides[0].seconds.length} runs each`, Math.min(1, seconds / BUDGET_S));
  });
  const gain = ratio();
  const words = gain >= 1 ? `${gain.toFixed(2)} times as fast` : `slower, ${gain.toFixed(2)} times the speed`;
  find("verdict").textContent = `The rewritten model is ${words}; the outputs differ by ${sides.difference.toExponential(0)}.`;
  find("again").hidden = false;
  await show("done", "Done", 1);
}

async function load() {
  const pair = await (await fetch("pair.json")).json();
  find("title").textContent = `${pair.name}: as it is, and with ${pair.replaced} Convs replaced`;
  const read = makeReader(pair.total_bytes);
  const ort = await import("./ort.wasm.min.mjs");
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = new URL("./", import.meta.url).href;
  ort.env.wasm.wasmBinary = (await read(pair.runtime)).buffer;
  const feeds = await readFeeds(ort, { read }, pair);
  const sides = [];
  for (const name of SIDES) {
    const bytes = await read(pair[name]);
    await show("loading", `Opening ${pair[name]}`, 1);
    const session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"], logSeverityLevel: 4 });
    sides.push({ name, session, seconds: [], about: `${mib(bytes.length)} MiB` });
  }
  const results = [];
  for (const { session } of sides) results.push(await session.run(feeds)); // also warms up
  sides.difference = compare(...results);
  if (!(sides.difference <= MOST_DIFFERENCE)) {
    throw new Error(`the outputs differ by ${sides.difference.toExponential(0)}; expected at most ${MOST_DIFFERENCE}`);
  }
  find("again").addEventListener("click", () => measure(sides, feeds));
  await measure(sides, feeds);
}

load().catch((error) => show("failed", `This did not work: ${error?.message ?? error}`, 0));
