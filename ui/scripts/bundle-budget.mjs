// Prints what a first visit downloads and fails when it is more than the budget. Pages that are loaded on demand
// (the SQL editor) are listed, but are not part of the budget.
import { readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';

const BUDGET_KB = 250;
const dist = new URL('../dist/', import.meta.url);
const manifest = JSON.parse(readFileSync(new URL('.vite/manifest.json', dist), 'utf8'));
const kilobytes = (file) => gzipSync(readFileSync(new URL(file, dist))).length / 1000;

const initial = new Set();
const visit = (key) => {
  const chunk = manifest[key];
  if (chunk === undefined || initial.has(chunk.file)) return;
  initial.add(chunk.file);
  for (const imported of chunk.imports ?? []) visit(imported);
};
for (const [key, chunk] of Object.entries(manifest)) if (chunk.isEntry) visit(key);

let total = 0;
for (const chunk of Object.values(manifest)) {
  if (!chunk.file.endsWith('.js')) continue;
  const size = kilobytes(chunk.file);
  if (initial.has(chunk.file)) total += size;
  console.log(
    `${initial.has(chunk.file) ? 'initial  ' : 'on demand'} ${size.toFixed(1).padStart(7)} kB gzip  ${chunk.file}`,
  );
}
console.log(`initial JavaScript: ${total.toFixed(1)} kB gzip of a budget of ${BUDGET_KB} kB`);
if (total > BUDGET_KB) {
  console.error('Over budget: load what the first page does not need on demand, or drop a dependency.');
  process.exit(1);
}
