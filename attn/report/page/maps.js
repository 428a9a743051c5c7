// ---- colour: paper at 0, the family's hue, ink at 1, as in the pictures ----
function colour(name) {
  const text = getComputedStyle(document.documentElement).getPropertyValue(`--${name}`);
  return [1, 3, 5].map((at) => parseInt(text.trim().slice(at, at + 2), 16));
}

function ramp(family) {
  const [paper, ink] = [colour("paper"), colour("ink")];
  const hues = [colour(family), colour("negative")];
  return (root) => {
    const size = Math.min(1, Math.abs(root));
    const hue = hues[root < 0 ? 1 : 0];
    const [from, to, part] = size < 0.6
      ? [paper, hue, size / 0.6] : [hue, ink, (size - 0.6) / 0.4];
    return from.map((start, i) => Math.round(start + (to[i] - start) * part));
  };
}

function pixels(layer, head, bytes, family) {
  const small = document.createElement("canvas");
  [small.width, small.height] = [layer.cols, layer.rows];
  const context = small.getContext("2d");
  const image = context.createImageData(layer.cols, layer.rows);
  const shade = ramp(family);
  const table = Array.from({ length: 256 }, (_, byte) => shade(rootOf(layer, byte)));
  const start = head * layer.rows * layer.cols;
  for (let i = 0; i < layer.rows * layer.cols; i++) {
    image.data.set(table[bytes[start + i]], 4 * i);
    image.data[4 * i + 3] = 255;
  }
  context.putImageData(image, 0, 0);
  return small;
}

// ---- what is on show ----
let shown = null; // {run, layer, head, bytes, query, key, picture}
const labelOf = (names, layer, index) => layer.pool > 1
  ? `${index * layer.pool}-${(index + 1) * layer.pool - 1}`
  : `${index} ${names[index] ?? ""}`.trim();

async function choose(run, layer, head, at) {
  const bytes = await bytesOf(layer);
  const query = Math.min(at ?? shown?.query ?? layer.rows - 1, layer.rows - 1);
  shown = { run, layer, head, bytes, query, key: 0 };
  shown.key = ranked(query)[0];
  for (const thumb of $("thumbs").querySelectorAll("button"))
    thumb.setAttribute("aria-pressed", String(thumb.title === `${layer.name}, head ${head}`));
  $("chosen").textContent = `${run.name}: ${layer.name}, head ${head}`;
  $("map").setAttribute("aria-label", `Attention of ${run.name}, ${layer.name}, head ${head}`);
  redraw();
}

function ranked(query) {
  const keys = Array.from({ length: shown.layer.cols }, (_, key) => key);
  const sizes = keys.map((key) => Math.abs(weightAt(shown, query, key)));
  return keys.sort((a, b) => sizes[b] - sizes[a]);
}

async function showRun(run) {
  $("thumbs").replaceChildren();
  for (const layer of run.layers) {
    const line = document.createElement("div");
    line.className = "layer";
    line.append(Object.assign(document.createElement("span"), { textContent: layer.name }));
    for (let head = 0; head < layer.heads; head++) {
      const button = document.createElement("button");
      Object.assign(button, { type: "button", className: "thumb" });
      button.title = `${layer.name}, head ${head}`;
      button.setAttribute("aria-label", button.title);
      button.addEventListener("click", () => choose(run, layer, head));
      button.append(document.createElement("canvas"));
      line.append(button);
    }
    $("thumbs").append(line);
  }
  shown = null;
  await Promise.all(run.layers.map(bytesOf));
  const { layer, head, query } = telling(run);
  await choose(run, layer, head, query);
}

// The largest weight on a key that is neither the query itself nor the first.
function telling(run) {
  let best = { layer: run.layers[0], head: 0, query: run.layers[0].rows - 1, size: 0 };
  for (const layer of run.layers)
    for (let head = 0; head < layer.heads; head++)
      for (let query = 0; query < layer.rows; query++)
        for (let key = 1; key < layer.cols; key++) {
          const size = Math.abs(weightAt({ layer, head, bytes: layer.bytes }, query, key));
          if (key !== query && size > best.size) best = { layer, head, query, size };
        }
  return best;
}

function redraw() {
  const canvases = $("thumbs").querySelectorAll("canvas");
  let at = 0;
  for (const layer of shown.run.layers)
    for (let head = 0; head < layer.heads; head++) {
      const small = pixels(layer, head, layer.bytes, shown.run.family);
      const canvas = canvases[at++];
      [canvas.width, canvas.height] = [112, 112];
      canvas.getContext("2d").drawImage(small, 0, 0, 112, 112);
    }
  shown.picture = pixels(shown.layer, shown.head, shown.bytes, shown.run.family);
  drawMap();
  drawReading();
  drawStrip();
}

function geometry() {
  const { layer } = shown;
  const room = Math.min(560, document.body.clientWidth - 60);
  const most = Math.max(layer.rows, layer.cols);
  const labelled = layer.pool === 1 && most <= 128; // every token has its label
  const cell = Math.max(labelled ? 10 : 1, Math.floor(room / most));
  const margin = labelled ? 72 : 4;
  return { cell, margin };
}

function drawMap() {
  const { layer, run, query, key } = shown;
  const { cell, margin } = geometry();
  const canvas = $("map");
  const density = devicePixelRatio || 1;
  const [width, height] = [margin + cell * layer.cols + 4, margin + cell * layer.rows + 4];
  [canvas.width, canvas.height] = [width * density, height * density];
  canvas.style.width = `${width}px`;
  const context = canvas.getContext("2d");
  context.scale(density, density);
  context.imageSmoothingEnabled = false;
  const [ink, soft, faint] = ["ink", "soft", "faint"].map((name) => `rgb(${colour(name)})`);
  context.drawImage(shown.picture, margin, margin, cell * layer.cols, cell * layer.rows);
  context.strokeStyle = faint;
  context.strokeRect(margin - 0.5, margin - 0.5, cell * layer.cols + 1, cell * layer.rows + 1);
  context.strokeStyle = ink;
  context.strokeRect(margin - 0.5, margin + query * cell - 0.5, cell * layer.cols + 1, cell + 1);
  context.lineWidth = 2;
  context.strokeRect(margin + key * cell - 1, margin + query * cell - 1, cell + 2, cell + 2);
  if (margin < 10) return;
  context.font = `${Math.min(12, cell)}px system-ui, "DejaVu Sans", sans-serif`;
  context.textBaseline = "middle";
  const write = (text, chosen) => {
    context.fillStyle = chosen ? ink : soft;
    context.fillText(text.length > 11 ? `${text.slice(0, 10)}…` : text, 0, 0);
  };
  for (let i = 0; i < layer.rows; i++) {
    context.save();
    context.textAlign = "right";
    context.translate(margin - 4, margin + (i + 0.5) * cell);
    write(layer.queries[i] ?? String(i), i === query);
    context.restore();
  }
  for (let i = 0; i < layer.cols; i++) {
    context.save();
    context.textAlign = "left";
    context.translate(margin + (i + 0.5) * cell, margin - 4);
    context.rotate(-Math.PI / 2);
    write(layer.keys[i] ?? String(i), i === key);
    context.restore();
  }
}

function drawReading() {
  const { run, layer, query, key } = shown;
  const weight = weightAt(shown, query, key);
  $("reading").textContent =
    `query ${labelOf(layer.queries, layer, query)} → key ${labelOf(layer.keys, layer, key)}: ${weight.toFixed(3)}`;
  const items = ranked(query).slice(0, 8).map((other) => {
    const size = weightAt(shown, query, other);
    const item = document.createElement("li");
    const [name, bar, number] = ["span", "span", "span"].map((tag) => document.createElement(tag));
    name.textContent = labelOf(layer.keys, layer, other);
    bar.className = "bar";
    bar.style.width = `${Math.min(100, (100 * Math.abs(size)) / layer.scale)}%`;
    bar.style.background = `var(--${size < 0 ? "negative" : run.family})`;
    number.textContent = size.toFixed(3);
    item.append(name, bar, number);
    return item;
  });
  $("top").replaceChildren(...items);
}

function drawStrip() {
  const { run, layer, query } = shown;
  const readable = layer.pool === 1 && layer.rows === layer.cols && layer.rows <= 512;
  $("strip").hidden = !readable;
  if (!readable) return;
  const had = [...$("strip").children].indexOf(document.activeElement);
  const tokens = Array.from({ length: layer.cols }, (_, key) => {
    const weight = weightAt(shown, query, key);
    const part = Math.round(75 * Math.sqrt(Math.min(1, Math.abs(weight) / layer.scale)));
    const button = document.createElement("button");
    Object.assign(button, { type: "button", textContent: layer.keys[key] ?? String(key) });
    const hue = weight < 0 ? "negative" : run.family;
    button.style.background = `color-mix(in srgb, var(--${hue}) ${part}%, transparent)`;
    button.setAttribute("aria-pressed", String(key === query));
    button.tabIndex = key === query ? 0 : -1;
    button.addEventListener("click", () => move(key, ranked(key)[0]));
    return button;
  });
  $("strip").replaceChildren(...tokens);
  if (had >= 0) tokens[query].focus();
}

function move(query, key) {
  const clip = (value, count) => Math.max(0, Math.min(count - 1, value));
  const before = shown.query;
  shown.query = clip(query, shown.layer.rows);
  shown.key = clip(key, shown.layer.cols);
  drawMap();
  drawReading();
  if (shown.query !== before) drawStrip();
}

const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
$("map").addEventListener("keydown", (event) => {
  const step = ARROWS[event.key];
  if (!step) return;
  event.preventDefault();
  move(shown.query + step[0], shown.key + step[1]);
});
$("strip").addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!step) return;
  event.preventDefault();
  const query = Math.max(0, Math.min(shown.layer.rows - 1, shown.query + step));
  move(query, ranked(query)[0]);
});
$("map").addEventListener("pointermove", (event) => {
  const { cell, margin } = geometry();
  const zoom = $("map").clientWidth / (margin + cell * shown.layer.cols + 4);
  const at = (offset) => Math.floor((offset / zoom - margin) / cell);
  const [query, key] = [at(event.offsetY), at(event.offsetX)];
  const inside = query >= 0 && key >= 0 && query < shown.layer.rows && key < shown.layer.cols;
  if (inside) move(query, key);
});

async function start() {
  setTheme(dark.matches ? "dark" : "light");
  const test = () => location.hash === "#selftest" && selftest();
  addEventListener("hashchange", test);
  await test();
  if (!data.runs.length) return;
  $("maps").hidden = false;
  for (const run of data.runs) $("run").append(new Option(run.name));
  $("run").addEventListener("change", () => showRun(data.runs[$("run").selectedIndex]));
  await showRun(data.runs[0]);
}

start()
  .catch((error) => {
    $("selftest").hidden = false;
    $("selftest").textContent = `FAIL the maps cannot be shown: ${error.message}`;
  })
  .finally(() => { window.__ready = true; });
