// The page of a language model: a visitor's text, and the model's answer as it is written.
import { Engine } from "./engine.js";
import { at, enter, fail, start } from "./page.js";

let engine = null;
let stopper = null;

async function write() {
  const maxTokens = Math.max(1, Number(at("tokens").value) || engine.settings.max_tokens);
  stopper = new AbortController();
  at("run").disabled = true;
  at("stop").disabled = false;
  at("error").hidden = true;
  at("answer").textContent = "";
  enter("writing");
  try {
    const { tokens, perSecond } = await engine.write(at("prompt").value, {
      maxTokens,
      chat: at("chat")?.checked ?? false,
      onText: (piece) => { at("answer").textContent += piece; },
      signal: stopper.signal,
    });
    at("speed").textContent = `${perSecond.toFixed(1)} tokens/s (${tokens} tokens)`;
    enter("ready");
  } catch (error) {
    if (error.name === "AbortError") enter("ready");
    else fail("The model stopped", error);
  } finally {
    at("run").disabled = false;
    at("stop").disabled = true;
  }
}

start((settings) => new Engine(settings), (made) => {
  engine = made;
  at("tokens").value = engine.settings.max_tokens;
  at("tokens").max = engine.settings.context;
  at("run").addEventListener("click", write);
  at("stop").addEventListener("click", () => stopper?.abort());
});
