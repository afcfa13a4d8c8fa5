import { render } from "preact";
import { App } from "./app";
import { keepFocus } from "./state/focus";
import { begin, sessionKnown } from "./state/hub";
import { loadFirst, startTags } from "./state/tags";
import "./style.css";

const FRAME_MS = 200;

/** The frame and its first values are one picture, unless those are long in coming. */
async function start(): Promise<void> {
  startTags();
  void begin(loadFirst);
  await Promise.race([sessionKnown(), new Promise((done) => setTimeout(done, FRAME_MS))]);
  const root = document.getElementById("app") as HTMLElement;
  render(<App />, root);
  keepFocus(root);
}

void start();
