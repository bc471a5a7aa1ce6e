// The page of a sentence encoder: how alike two texts of a visitor are.
import { Engine } from "./engine.js";
import { at, enter, fail, start } from "./page.js";

let engine = null;

async function compare() {
  at("run").disabled = true;
  at("error").hidden = true;
  at("answer").textContent = "";
  enter("writing");
  try {
    const { cosine, tokens, perSecond } = await engine.compare(at("one").value, at("other").value);
    at("answer").textContent = `Similarity ${cosine.toFixed(4)} (cosine; 1 is the same)`;
    at("speed").textContent = `${perSecond.toFixed(1)} sentences/s (2 texts, ${tokens} tokens)`;
    enter("ready");
  } catch (error) {
    fail("The model stopped", error);
  } finally {
    at("run").disabled = false;
  }
}

start((settings) => new Engine(settings), (made) => {
  engine = made;
  at("run").addEventListener("click", compare);
});
