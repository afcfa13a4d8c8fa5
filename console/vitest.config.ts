import { defineConfig } from "vitest/config";

process.env.TZ = "Asia/Kolkata"; // local time and UTC differ wherever this runs, and not by whole hours

// One worker in this process: the tests wait more than they compute.
export default defineConfig({
  test: { setupFiles: ["test/browser.ts"], pool: "threads", maxWorkers: 1, isolate: false, testTimeout: 120_000, hookTimeout: 120_000, watch: false },
});
