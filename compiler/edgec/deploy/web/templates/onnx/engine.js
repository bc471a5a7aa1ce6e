// A sentence encoder in this tab: loading with progress, texts as tokens, one vector of length 1 for each text.
// Nothing here touches the page.
import { bertTokenizer } from "./bert.js";
import { InBrowser } from "./browser.js";
import * as ort from "./onnxruntime/ort.wasm.min.js";

const KEPT = "edgec-models";
const WARM_UP = "A first text takes longer than those after it.";
// The smallest module with a SIMD instruction, which this onnxruntime is compiled for.
const SIMD = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11,
]);

export class Engine extends InBrowser {
  constructor(settings) {
    super(settings);
    this.session = null;
    this.tokenize = null;
  }

  // What stands against running here at all; null if nothing does.
  obstacle() {
    if (typeof WebAssembly === "undefined") return "This browser has no WebAssembly.";
    if (!WebAssembly.validate(SIMD)) return "This browser has no WebAssembly SIMD. Chrome 91, Firefox 89 and Safari 16.4 have it.";
    return null;
  }

  canKeep() {
    return Boolean(globalThis.caches);
  }

  async keptModel() {
    try {
      return (await (await caches.open(KEPT)).match(this.urls()[0])) ?? null;
    } catch {
      return null;
    }
  }

  async download(onProgress) {
    const kept = await this.keptModel();
    if (kept !== null) {
      const blob = await kept.blob();
      if (blob.size === this.settings.size_bytes) return [blob];
    }
    const blobs = await this.fetchAll(onProgress);
    try {
      const cache = await caches.open(KEPT);
      await this.forgetOthers(cache);
      await cache.put(this.urls()[0], new Response(blobs[0]));
    } catch {
      // Storage that fills up meanwhile spoils no visit.
      this.isKept = false;
    }
    return blobs;
  }

  // Weights of an earlier version of this site would fill the visitor's disk.
  async forgetOthers(cache) {
    const [own] = this.urls();
    for (const { url } of await cache.keys()) {
      if (url !== own && url.split("?")[0] === own.split("?")[0]) await cache.delete(url);
    }
  }

  async begin([blob]) {
    const answer = await fetch(this.settings.tokenizer, { cache: "no-cache" });
    if (!answer.ok) throw new Error(`the server answers ${answer.status} to ${this.settings.tokenizer}`);
    this.tokenize = bertTokenizer(await answer.json(), this.settings.context);
    const beside = (file) => new URL(`onnxruntime/${file}`, document.baseURI).href;
    ort.env.wasm.wasmPaths = { mjs: beside("ort-wasm-simd-threaded.js"), wasm: beside("ort-wasm-simd-threaded.wasm") };
    ort.env.wasm.numThreads = this.threadCount();
    // What was proven is the CPU's arithmetic.
    const options = { executionProviders: ["wasm"] };
    this.session = await ort.InferenceSession.create(new Uint8Array(await blob.arrayBuffer()), options);
    await this.embed(WARM_UP);
  }

  threadCount() {
    return this.oneThreadReason() === null ? this.threads() : 1;
  }

  // The tokens of a text and its vector. One text at a time: neighbours and padding change nothing.
  async embed(text) {
    const ids = this.tokenize(text);
    const row = (values) => new ort.Tensor("int64", BigInt64Array.from(values, BigInt), [1, ids.length]);
    const given = { input_ids: row(ids), attention_mask: row(ids.map(() => 1)), token_type_ids: row(ids.map(() => 0)) };
    const feeds = Object.fromEntries(this.session.inputNames.map((name) => [name, given[name]]));
    const { last_hidden_state: hidden } = await this.session.run(feeds);
    const [, tokens, width] = hidden.dims;
    const vector = normalized(pooled(await hidden.getData(), tokens, width, this.settings.pooling));
    hidden.dispose();
    return { ids, vector };
  }

  // Cosine of two texts, and how fast they were embedded.
  async compare(one, other) {
    const began = performance.now();
    const vectors = [await this.embed(one), await this.embed(other)];
    const seconds = (performance.now() - began) / 1000;
    const [a, b] = vectors;
    return {
      cosine: a.vector.reduce((sum, value, i) => sum + value * b.vector[i], 0),
      tokens: a.ids.length + b.ids.length,
      perSecond: vectors.length / seconds,
    };
  }
}

function pooled(values, tokens, width, pooling) {
  const vector = new Float64Array(width);
  const counted = pooling === "cls" ? 1 : tokens;
  for (let i = 0; i < counted * width; i += 1) vector[i % width] += values[i] / counted;
  return vector;
}

function normalized(vector) {
  const length = Math.hypot(...vector);
  return vector.map((value) => value / (length || 1));
}
