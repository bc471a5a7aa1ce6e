// A language model in this tab: loading with progress, answers as they are written.
// Nothing here touches the page.
import { InBrowser } from "./browser.js";
import { Wllama } from "./wllama/index.min.js";

// The smallest module with a memory of 64-bit addresses, which this wllama is compiled for.
const MEMORY64 = new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0, 5, 3, 1, 4, 1]);

export class Engine extends InBrowser {
  constructor(settings) {
    super(settings);
    this.wllama = null;
  }

  // What stands against running here at all; null if nothing does.
  obstacle() {
    if (typeof WebAssembly === "undefined") return "This browser has no WebAssembly.";
    if (!WebAssembly.validate(MEMORY64)) {
      return "This browser has no 64-bit WebAssembly memory. Chrome 133, Edge 133 and Firefox 134 have it, Safari does not.";
    }
    return null;
  }

  canKeep() {
    return Boolean(navigator.storage.getDirectory);
  }

  async keptModel() {
    const [first] = this.urls();
    try {
      const models = await this.runtime().modelManager.getModels();
      return models.find((model) => model.url === first) ?? null;
    } catch {
      return null;
    }
  }

  runtime() {
    if (this.wllama === null) {
      const say = (level) => (...words) => {
        this.log.push(`${level} ${words.map(String).join(" ")}`);
        if (this.log.length > 200) this.log.shift();
      };
      const logger = { debug: () => {}, log: say(" "), warn: say("W"), error: say("E") };
      this.wllama = new Wllama({ default: new URL("wllama/wllama.wasm", document.baseURI).href }, { logger });
      // Its default would load another build from a CDN.
      this.wllama.setCompat(null);
    }
    return this.wllama;
  }

  async begin(model) {
    await this.runtime().loadModel(model, {
      n_ctx: this.settings.context,
      n_threads: this.threads(),
      n_parallel: 1,
      // What was proven is the CPU's arithmetic.
      n_gpu_layers: 0,
      jinja: true,
    });
  }

  threadCount() {
    return this.wllama.isMultithread() ? this.wllama.getNumThreads() : 1;
  }

  memoryNote() {
    return this.threadCount() > 1 ? ": what threads share, once for each" : "";
  }

  async download(onProgress) {
    const manager = this.runtime().modelManager;
    await this.forgetOthers(manager);
    const model = await manager.downloadModel(this.urls()[0], {
      progressCallback: ({ loaded }) => onProgress(loaded, this.settings.size_bytes),
    });
    if (model.size !== this.settings.size_bytes) {
      await model.remove();
      throw new Error(`the server sent ${model.size} bytes of ${this.settings.size_bytes}`);
    }
    return model;
  }

  // Weights of an earlier version of this site would fill the visitor's disk.
  async forgetOthers(manager) {
    for (const { name, metadata } of await manager.cacheManager.list()) {
      const other = metadata?.originalURL ?? "";
      if (this.urls().some((url) => other.split("?")[0] === url.split("?")[0] && other !== url)) {
        await manager.cacheManager.delete(name);
      }
    }
  }

  // Writes on; `onText(piece)` as it comes. Returns how many tokens and how fast.
  async write(prompt, { maxTokens, chat, onText, signal }) {
    const options = { max_tokens: maxTokens, temperature: 0, stream: true, abortSignal: signal };
    const stream = chat
      ? await this.wllama.createChatCompletion({ ...options, messages: [{ role: "user", content: prompt }] })
      : await this.wllama.createCompletion({ ...options, prompt });
    const began = performance.now();
    let tokens = 0;
    let timings = null;
    for await (const chunk of stream) {
      const [choice] = chunk.choices ?? [];
      const piece = choice?.delta?.content ?? choice?.text ?? "";
      if (piece !== "") {
        tokens += 1;
        onText(piece);
      }
      timings = chunk.timings ?? timings;
    }
    const perSecond = timings?.predicted_per_second ?? (1000 * tokens) / (performance.now() - began);
    return { tokens: timings?.predicted_n ?? tokens, perSecond };
  }

  // The most likely tokens of a greedy continuation, step by step, with their log-probabilities.
  // wllama 3.8.1 loses an answer that names a token which is part of a character: then fewer are asked for.
  async trace(prompt, { maxTokens, top }) {
    const tries = [[maxTokens, top], [maxTokens, 1], [Math.ceil(maxTokens / 2), 1], [1, 1]];
    let lost = null;
    for (const [tokens, likeliest] of tries) {
      try {
        return await this.traceOnce(prompt, tokens, likeliest);
      } catch (error) {
        lost = error;
      }
    }
    throw lost;
  }

  async traceOnce(prompt, maxTokens, top) {
    const answer = await this.wllama.createCompletion({
      prompt, max_tokens: maxTokens, temperature: 0, top_k: 1, logprobs: top, cache_prompt: false,
    });
    const [choice] = answer.choices;
    const steps = (choice.logprobs?.content ?? []).map((step) => ({
      id: step.id,
      top: step.top_logprobs.map(({ id, logprob }) => [id, logprob]),
    }));
    return { steps, finish: choice.finish_reason, promptTokens: answer.usage.prompt_tokens };
  }
}
