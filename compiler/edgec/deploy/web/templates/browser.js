// What every model in a tab needs of its browser: threads, room in its storage, pieces of files as they come, memory.
// Nothing here touches the page.
const MIB = 2 ** 20;

export class InBrowser {
  constructor(settings) {
    this.settings = settings;
    this.log = [];
    this.isKept = false;
    this.loadMs = 0;
  }

  // Why there will be one thread only; null if there can be more.
  oneThreadReason() {
    if (!globalThis.isSecureContext) {
      return "this address is neither HTTPS nor localhost, and browsers share memory between threads only there";
    }
    if (!globalThis.crossOriginIsolated) {
      return "the server does not send the headers Cross-Origin-Opener-Policy: same-origin and " +
        "Cross-Origin-Embedder-Policy: require-corp (see nginx.conf and Caddyfile beside this page)";
    }
    if (this.threads() < 2) return "this machine offers the page one core";
    return null;
  }

  threads() {
    return Math.max(1, Math.min(this.settings.threads, navigator.hardwareConcurrency || 1));
  }

  urls() {
    return this.settings.files.map((file) => `${new URL(file, document.baseURI).href}?v=${this.settings.weights}`);
  }

  // Room in the browser's storage. `fits`: null where the browser does not say.
  async storage() {
    if (!navigator.storage?.estimate || !this.canKeep()) return { fits: null };
    const { quota = 0, usage = 0 } = await navigator.storage.estimate();
    const kept = await this.keptModel();
    const free = Math.max(0, quota - usage);
    return { fits: kept !== null || free > this.settings.size_bytes, isKept: kept !== null, free, quota };
  }

  // `onProgress(loaded, total)` in bytes.
  async load(onProgress) {
    const began = performance.now();
    const { fits } = await this.storage();
    this.isKept = fits === true;
    const model = this.isKept ? await this.download(onProgress) : await this.fetchAll(onProgress);
    onProgress(this.settings.size_bytes, this.settings.size_bytes);
    await this.begin(model);
    this.loadMs = performance.now() - began;
  }

  async fetchAll(onProgress) {
    const blobs = [];
    let loaded = 0;
    for (const url of this.urls()) {
      const response = await fetch(url);
      if (!response.ok) throw new Error(`the server answers ${response.status} to ${url}`);
      const parts = [];
      const reader = response.body.getReader();
      for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
        parts.push(piece.value);
        loaded += piece.value.length;
        onProgress(loaded, this.settings.size_bytes);
      }
      blobs.push(new Blob(parts));
    }
    if (loaded !== this.settings.size_bytes) {
      throw new Error(`the server sent ${loaded} bytes of ${this.settings.size_bytes}`);
    }
    return blobs;
  }

  // What to know of that number.
  memoryNote() {
    return "";
  }

  // MiB of the tab with its workers, null where the browser does not say.
  async memory() {
    if (!globalThis.crossOriginIsolated || !performance.measureUserAgentSpecificMemory) return null;
    const { bytes } = await performance.measureUserAgentSpecificMemory();
    return bytes / MIB;
  }
}
