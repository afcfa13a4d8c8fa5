import { render } from "preact";
import { App } from "./app";
import { begin } from "./state/hub";
import { startTags } from "./state/tags";
import "./style.css";

startTags();
render(<App />, document.getElementById("app") as HTMLElement);
void begin();
