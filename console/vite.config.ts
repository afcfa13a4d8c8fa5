import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, gzipSync } from "node:zlib";
import { defineConfig, type Plugin } from "vite";

// Its entry for Node.js would bring streams of files along.
const arrow = fileURLToPath(new URL("./node_modules/apache-arrow/Arrow.dom.mjs", import.meta.url));

/** What is large goes over the line as it is packed here, once, and not by the hub for each browser. */
function packed(): Plugin {
  return {
    name: "packed",
    writeBundle(options, bundle) {
      for (const name of Object.keys(bundle).filter((one) => /\.(js|css)$/.test(one))) {
        const path = join(options.dir ?? "", name);
        const text = readFileSync(path);
        writeFileSync(`${path}.br`, brotliCompressSync(text));
        writeFileSync(`${path}.gz`, gzipSync(text, { level: 9 }));
      }
    },
  };
}

/** What the page asks first stands in the page itself: it runs before any other file has come, and none is waited for. The
 * hub names its digest in the page's policy. A plain script: the browser would put off a module until the others have run. */
function early(): Plugin {
  return {
    name: "early",
    renderChunk: (code, chunk) => (chunk.name === "boot" ? `(() => {${code}})();` : null),
    transformIndexHtml: {
      order: "post",
      handler: (html, { bundle }) => {
        const [name, chunk] = Object.entries(bundle ?? {}).find(([name]) => /^assets\/boot-[^/]+\.js$/.test(name)) ?? [];
        if (bundle === undefined || name === undefined || chunk?.type !== "chunk") return html;
        delete bundle[name];
        // Before the style sheet, which a script behind it would wait for.
        return html.replace("</title>", (end) => `${end}\n    <script>${chunk.code.trim()}</script>`);
      },
    },
  };
}

/** Nearly all of what the first picture needs is called at once: Chromium then reads all of it while the file is still coming,
 * beside the page's own thread, and not function by function when each is called first. Others take it for a comment. */
function readAtOnce(): Plugin {
  return {
    name: "read-at-once",
    generateBundle: {
      order: "post",
      handler: (_options, bundle) => {
        const first = Object.values(bundle).find((one) => one.type === "chunk" && one.isEntry && one.name === "index");
        if (first?.type !== "chunk") throw new Error("no chunk of the page itself");
        for (const name of [first.fileName, ...first.imports]) {
          const chunk = bundle[name];
          if (chunk.type === "chunk") chunk.code = `//# allFunctionsCalledOnLoad\n${chunk.code}`;
        }
      },
    },
  };
}

export default defineConfig({
  base: "./",
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  resolve: { alias: { "apache-arrow": arrow } },
  plugins: [early(), readAtOnce(), packed()],
  build: {
    target: "es2022",
    outDir: "../src/millstream/api/console",
    emptyOutDir: true,
    license: { fileName: "assets/licenses.md" },
    modulePreload: { polyfill: false },
    rolldownOptions: { input: { index: fileURLToPath(new URL("./index.html", import.meta.url)), boot: fileURLToPath(new URL("./src/boot.ts", import.meta.url)) } },
  },
});
