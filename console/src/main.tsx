import { render } from "preact";
import { App } from "./app";
import { begin } from "./state/hub";
import { loadFirst, startTags } from "./state/tags";
import "./style.css";

startTags();
void begin(loadFirst); // what it asks for is on its way while the frame is drawn
render(<App />, document.getElementById("app") as HTMLElement);
