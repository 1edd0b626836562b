// Bundles card.src.js and the HPKE packages it imports into ../static/card.js and writes ../static/manifest.json: what the bundle is made
// of and its digests. `--check` builds in memory and fails if the committed files differ.

import { createHash } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const bundlePath = join(here, "../static/card.js");
const manifestPath = join(here, "../static/manifest.json");

const readJson = async (path) => JSON.parse(await readFile(path, "utf8"));

// Whatever a byte of the bundle comes from is named, and nothing else: esbuild says which files it took.
async function bundle() {
  const { outputFiles, metafile } = await run();
  const [output] = Object.values(metafile.outputs);
  const taken = Object.keys(output.inputs).filter((path) => output.inputs[path].bytesInOutput > 0);
  const packages = new Set(taken.map((path) => path.match(/node_modules\/((?:@[^/]+\/)?[^/]+)\//)?.[1]).filter(Boolean));
  const licences = await Promise.all([...packages].sort().map(licenceOf));
  const banner = `/* card.js: built by vault/cleartext/page/build from card.src.js (Apache-2.0) with\n${licences
    .map(({ name, version, licence, copyright }) => ` * ${name} ${version}, ${licence}, ${copyright}`)
    .join("\n")}\n * Licence texts: ../build/LICENSES.txt */\n`;
  return { text: banner + outputFiles[0].text, licences };
}

function run() {
  return build({
    absWorkingDir: here,
    entryPoints: ["card.src.js"],
    bundle: true,
    minify: true,
    charset: "ascii",
    format: "iife",
    target: "es2022",
    legalComments: "none",
    metafile: true,
    outdir: "memory-only",
    write: false,
  });
}

async function licenceOf(name) {
  const folder = join(here, "node_modules", name);
  const { version, license: licence } = await readJson(join(folder, "package.json"));
  const text = await readFile(join(folder, "LICENSE"), "utf8");
  return { name, version, licence, copyright: text.match(/Copyright.*/)[0], text };
}

const digest = (algorithm, text) => createHash(algorithm).update(text).digest("base64");

const { text, licences } = await bundle();
const manifest = {
  "card.js": {
    bytes: Buffer.byteLength(text),
    sha256: createHash("sha256").update(text).digest("hex"),
    integrity: `sha384-${digest("sha384", text)}`,
    source_sha256: createHash("sha256").update(await readFile(join(here, "card.src.js"))).digest("hex"),
    built_with: `esbuild ${(await readJson(join(here, "node_modules/esbuild/package.json"))).version}`,
    contains: licences.map(({ name, version, licence }) => ({ name, version, licence })),
    rebuild: "cd vault/cleartext/page/build && npm ci && npm run build",
  },
};
const outputs = [
  [bundlePath, text],
  [manifestPath, `${JSON.stringify(manifest, null, 2)}\n`],
  [join(here, "LICENSES.txt"), licences.map(({ name, version, text: licence }) => `${name} ${version}\n\n${licence}`).join("\n\n")],
];
for (const [path, content] of outputs) {
  if (!process.argv.includes("--check")) await writeFile(path, content);
  else if ((await readFile(path, "utf8")) !== content) {
    process.exitCode = 1;
    process.stderr.write(`${path} is not what this source builds: run npm run build\n`);
  }
}
