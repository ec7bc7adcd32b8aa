// The console: every page for organizations and operators, at `/` and `/console`.

import { render } from "preact";

import { App } from "./console/shell";
import { resume } from "./console/state";

const place = document.getElementById("root");
if (place) render(<App />, place);
void resume();
