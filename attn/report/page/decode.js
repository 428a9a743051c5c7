// ---- maps: uint8 of the square root of the weight, deflated, base64 ----
async function inflate(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function bytesOf(layer) {
  layer.bytes ??= await inflate(layer.data);
  return layer.bytes;
}

/** The root of |weight| / scale, with the weight's sign: from -1 to 1. */
function rootOf(layer, byte) {
  return layer.signed ? (byte - 128) / 127 : byte / 255;
}

function weightOf(layer, byte) {
  const root = rootOf(layer, byte);
  return layer.scale * Math.sign(root) * root * root;
}

function weightAt(view, query, key) {
  const { layer, head, bytes } = view;
  return weightOf(layer, bytes[(head * layer.rows + query) * layer.cols + key]);
}

// ---- #selftest: are the decoded maps the ones that were written? ----
async function selftest() {
  let [maps, rows, widest, wrong] = [0, 0, 0, ""];
  for (const run of data.runs)
    for (const layer of run.layers) {
      const bytes = await bytesOf(layer);
      if (bytes.length !== layer.heads * layer.rows * layer.cols)
        wrong ||= `${run.name} ${layer.name} has ${bytes.length} bytes`;
      for (let row = 0; row < layer.heads * layer.rows; row++) {
        const gap = Math.abs(sumOf(layer, bytes, row) - layer.sums[row]);
        if (!(gap <= roundingOf(layer, bytes, row)))
          wrong ||= `${run.name} ${layer.name} row ${row} is off by ${gap}`;
        widest = Math.max(widest, gap);
        rows++;
      }
      maps += layer.heads;
    }
  const seen = `${maps} maps, ${rows} rows, widest gap ${widest.toFixed(4)}`;
  $("selftest").hidden = false;
  $("selftest").textContent = wrong ? `FAIL ${wrong}` : `PASS ${seen}`;
}

function sumOf(layer, bytes, row) {
  let sum = 0;
  for (let i = row * layer.cols; i < (row + 1) * layer.cols; i++) sum += weightOf(layer, bytes[i]);
  return sum;
}

/** The most that rounding every root to a byte can move a row's sum. */
function roundingOf(layer, bytes, row) {
  const half = layer.signed ? 0.5 / 127 : 0.5 / 255;
  let most = 2e-4;
  for (let i = row * layer.cols; i < (row + 1) * layer.cols; i++)
    most += layer.scale * (2 * Math.abs(rootOf(layer, bytes[i])) * half + half * half);
  return most;
}
