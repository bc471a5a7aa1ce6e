// What every page does: it shows how loading goes, and says aloud what is slower or missing.
export const at = (id) => document.getElementById(id);
const mib = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
let engine = null;

export function say(id, text, { good = false } = {}) {
  at(id).textContent = text;
  at(id).hidden = false;
  at(id).classList.toggle("good", good);
}

export function enter(state) {
  document.body.dataset.state = state;
}

export function fail(what, error) {
  const tail = (engine?.log ?? []).filter((line) => line.startsWith("E")).slice(-5).join("\n");
  say("error", [`${what}: ${error?.message ?? error}`, tail].filter(Boolean).join("\n"));
  at("status").textContent = "";
  at("progress").hidden = true;
  enter("failed");
}

async function showMemory() {
  at("memory").textContent = "measuring";
  const measured = await engine.memory();
  at("memory").textContent = measured === null
    ? `not told by this browser; about ${engine.settings.needed_mib} MiB planned`
    : `${measured.toFixed(0)} MiB, as the browser counts it${engine.memoryNote()}`;
}

function showThreads() {
  const reason = engine.oneThreadReason();
  if (reason !== null) say("threads", `One thread only, and slower than it could be: ${reason}.`);
}

async function showStorage() {
  const { fits, isKept, free } = await engine.storage();
  const size = mib(engine.settings.size_bytes);
  if (fits === null) {
    say("storage", `The model (${size}) is loaded again at every visit: this browser offers the page no storage.`);
  } else if (!fits) {
    say("storage", `The model (${size}) is loaded again at every visit: the browser's storage has ${mib(free)} left.`);
  } else if (isKept) {
    say("storage", `The model (${size}) is kept in this browser from an earlier visit.`, { good: true });
  } else {
    say("storage", `The model (${size}) will be kept in this browser, which has ${mib(free)} left for it.`, { good: true });
  }
}

async function load() {
  at("load").disabled = true;
  at("progress").hidden = false;
  enter("loading");
  try {
    await engine.load((loaded, total) => {
      at("progress").value = loaded / total;
      at("status").textContent = loaded < total ? `Loading: ${mib(loaded)} of ${mib(total)}` : "Starting the model";
    });
  } catch (error) {
    fail("The model cannot be loaded", error);
    return;
  }
  const threads = engine.threadCount();
  at("count").textContent = `${threads} of ${navigator.hardwareConcurrency || 1}`;
  if (threads === 1 && engine.oneThreadReason() === null) {
    say("threads", "One thread only, and slower than it could be: this browser cannot run WebAssembly threads.");
  }
  at("status").textContent = `Ready after ${(engine.loadMs / 1000).toFixed(1)} s.`;
  at("progress").hidden = true;
  at("load").hidden = true;
  at("asking").hidden = false;
  enter("ready");
  showMemory().catch((error) => { at("memory").textContent = `not measured: ${error.message}`; });
}

// `prepare(engine)`: what the page sets up before a visitor can do anything.
export async function start(makeEngine, prepare) {
  try {
    await open(makeEngine, prepare);
  } catch (error) {
    fail("The page cannot start", error);
  }
}

async function open(makeEngine, prepare) {
  // Settings of an earlier version would ask for weights that are no longer there.
  const answer = await fetch("model.json", { cache: "no-cache" });
  if (!answer.ok) throw new Error(`the server answers ${answer.status} to model.json`);
  const settings = await answer.json();
  engine = makeEngine(settings);
  // For whoever tries the site from outside.
  globalThis.edgec = engine;
  at("runtime").textContent = settings.runtime;
  prepare(engine);
  at("load").addEventListener("click", load);
  const obstacle = engine.obstacle();
  if (obstacle !== null) throw new Error(obstacle);
  showThreads();
  await showStorage();
  at("load").disabled = false;
  at("status").textContent = `${mib(settings.size_bytes)} to load, about ${settings.needed_mib} MiB of memory.`;
  enter("asked");
}
