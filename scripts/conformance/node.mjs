// onnxruntime-node on every model of a folder: `node node.mjs MODULES FOLDER OUT`. MODULES is the folder
// node_modules that holds the package; the rest is as in worker.py.

import { appendFile, readFile, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";

import { runAll } from "./runner.mjs";

const [modules, folder, out] = process.argv.slice(2);
const require = createRequire(join(resolve(modules), "package.json"));
const ort = require("onnxruntime-node");

const files = {
  read: (name) => readFile(join(folder, name)),
  write: (name, bytes) => writeFile(join(out, name), bytes),
  append: (name, line) => appendFile(join(out, name), JSON.stringify(line) + "\n"),
};
await runAll(ort, files, `onnxruntime-node ${ort.env.versions.node}`, {
  executionProviders: ["cpu"],
  intraOpNumThreads: 2,
  logSeverityLevel: 4,
});
