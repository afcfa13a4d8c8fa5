import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

// Its entry for Node.js would bring streams of files along.
const arrow = fileURLToPath(new URL("./node_modules/apache-arrow/Arrow.dom.mjs", import.meta.url));

export default defineConfig({
  base: "./",
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  resolve: { alias: { "apache-arrow": arrow } },
  build: {
    target: "es2022",
    outDir: "../src/millstream/api/console",
    emptyOutDir: true,
    license: { fileName: "assets/licenses.md" },
    modulePreload: { polyfill: false },
  },
});
