"use strict";
// The live view: one stream of news, and the last hour once in a while. Nothing of what strangers say becomes markup: all of it is text.
const at = (id) => document.getElementById(id);
const put = (id, text) => { const place = at(id); if (place.textContent !== text) place.textContent = text; };
const count = (number) => number.toLocaleString("en");
const bytes = (number) => {
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (number < 1024) return (unit === "B" ? Math.round(number) : number.toFixed(1)) + " " + unit;
    number /= 1024;
  }
  return number.toFixed(1) + " TiB";
};
const span = (micros) => micros == null ? "-" : micros < 1000 ? micros + " µs" : micros < 1e6 ? (micros / 1000).toFixed(1) + " ms" : (micros / 1e6).toFixed(1) + " s";
const lasting = (seconds) => seconds < 90 ? seconds + " s" : seconds < 5400 ? Math.round(seconds / 60) + " min" : (seconds / 3600).toFixed(1) + " h";

const columns = [
  { key: "nodeId", name: "Node", text: (peer) => peer.nodeId.slice(0, 12), title: (peer) => peer.nodeId + (peer.isVerified ? " (proven)" : " (claimed)") },
  { key: "remote", name: "Address" },
  { key: "direction", name: "Direction" },
  { key: "userAgent", name: "Agent" },
  { key: "protocolVersion", name: "Version", number: true },
  { key: "roundTripMicros", name: "Round trip", number: true, text: (peer) => span(peer.roundTripMicros) },
  { key: "bytesIn", name: "Received", number: true, text: (peer) => bytes(peer.bytesIn) },
  { key: "bytesOut", name: "Sent", number: true, text: (peer) => bytes(peer.bytesOut) },
  { key: "height", name: "Height", number: true, text: (peer) => count(peer.height) },
  { key: "score", name: "Score", number: true },
  // Sorted by when it came: seconds that are counted from there change places as they are rounded.
  { key: "sinceMicros", name: "Here for", number: true, value: (peer) => -peer.sinceMicros, text: (peer) => lasting(peer.connectedSeconds) },
];
let sortedBy = "sinceMicros", upwards = false;
let peers = [], points = [], last = null;
const rows = new Map();

for (const column of columns) {
  const head = document.createElement("th");
  head.scope = "col";
  if (column.number) head.className = "number";
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = column.name;
  button.addEventListener("click", () => {
    upwards = sortedBy === column.key ? !upwards : !column.number;
    sortedBy = column.key;
    showPeers();
  });
  head.append(button);
  column.head = head;
  at("columns").append(head);
}

function compare(one, other) {
  const of = columns.find((column) => column.key === sortedBy).value ?? ((peer) => peer[sortedBy]);
  const [a, b] = [of(one), of(other)];
  if (a == null || b == null) return (a == null) - (b == null);
  const order = typeof a === "string" ? a.localeCompare(b) : a - b;
  return (upwards ? order : -order) || (one.connection < other.connection ? -1 : 1);
}

function showPeers() {
  for (const column of columns) {
    const is = column.key === sortedBy;
    column.head.setAttribute("aria-sort", is ? (upwards ? "ascending" : "descending") : "none");
  }
  const body = at("rows"), here = new Set();
  let place = body.firstElementChild;
  for (const peer of [...peers].sort(compare)) {
    here.add(peer.connection);
    let row = rows.get(peer.connection);
    if (!row) {
      row = document.createElement("tr");
      for (const column of columns) {
        const cell = document.createElement("td");
        if (column.number) cell.className = "number";
        row.append(cell);
      }
      rows.set(peer.connection, row);
    }
    columns.forEach((column, index) => {
      const text = String(column.text ? column.text(peer) : peer[column.key] ?? "-"), cell = row.cells[index];
      if (cell.textContent !== text) cell.textContent = text;
      if (column.title) cell.title = column.title(peer);
    });
    // A row that stands where it should is not touched: the focus and the scroll stay.
    if (row === place) place = place.nextElementSibling;
    else body.insertBefore(row, place);
  }
  for (const [connection, row] of rows) {
    if (!here.has(connection)) { row.remove(); rows.delete(connection); }
  }
  at("no-peers").hidden = peers.length > 0;
}

function canvas(id) {
  const place = at(id), scale = window.devicePixelRatio || 1;
  const [width, height] = [place.clientWidth, place.clientHeight];
  if (place.width !== Math.round(width * scale) || place.height !== Math.round(height * scale)) {
    [place.width, place.height] = [Math.round(width * scale), Math.round(height * scale)];
  }
  const pen = place.getContext("2d"), style = getComputedStyle(document.documentElement);
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  const colour = (name) => style.getPropertyValue("--" + name).trim();
  return { place, pen, width, height, colour };
}

function chart(id, lines, shown, said) {
  const { place, pen, width, height, colour } = canvas(id);
  const all = lines.flatMap((line) => points.map(line.of)).filter((value) => value != null);
  place.setAttribute("aria-label", said + ": " + (all.length ? "up to " + shown(Math.max(...all)) : "nothing yet"));
  pen.font = "11px system-ui";
  pen.fillStyle = colour("faint");
  if (!all.length) { pen.fillText("nothing yet", 6, height / 2); return; }
  let low = lines[0].fromZero ? 0 : Math.min(...all), high = Math.max(...all);
  if (high === low) { high += 1; }
  const from = points[0].unixMillis, until = Math.max(points[points.length - 1].unixMillis, from + 60000);
  const x = (point) => 4 + (point.unixMillis - from) / (until - from) * (width - 8);
  const y = (value) => height - 16 - (value - low) / (high - low) * (height - 32);
  pen.strokeStyle = colour("line");
  pen.beginPath(); pen.moveTo(4, y(low)); pen.lineTo(width - 4, y(low)); pen.stroke();
  pen.fillText(shown(high), 6, 11);
  pen.fillText(new Date(from).toLocaleTimeString(), 6, height - 3);
  for (const line of lines) {
    pen.strokeStyle = pen.fillStyle = colour(line.colour);
    pen.lineWidth = 1.5;
    pen.beginPath();
    let drawn = false;
    for (const point of points) {
      const value = line.of(point);
      if (value == null) continue;
      if (line.dots) { pen.fillRect(x(point) - 1.5, y(value) - 1.5, 3, 3); continue; }
      if (drawn) pen.lineTo(x(point), y(value)); else pen.moveTo(x(point), y(value));
      drawn = true;
    }
    pen.stroke();
  }
}

function showHour() {
  chart("chart-traffic", [{ of: (p) => p.bytesIn, colour: "a", fromZero: true }, { of: (p) => p.bytesOut, colour: "b" }], (v) => bytes(v) + "/s", "Traffic of the last hour");
  chart("chart-age", [{ of: (p) => p.blockAgeMillis, colour: "a", dots: true, fromZero: true }], (v) => count(Math.round(v)) + " ms", "Age of new blocks");
  chart("chart-height", [{ of: (p) => p.target, colour: "b" }, { of: (p) => p.height, colour: "a" }], (v) => count(Math.round(v)), "Heights of the last hour");
}

// Each peer keeps its direction, by its name, so that the picture stands still.
function angle(name) {
  let hash = 2166136261;
  for (let index = 0; index < name.length; index++) hash = Math.imul(hash ^ name.charCodeAt(index), 16777619);
  return (hash >>> 0) / 4294967296 * 2 * Math.PI;
}

function showNetwork() {
  const { place, pen, width, height, colour } = canvas("network");
  const outbound = peers.filter((peer) => peer.direction === "outbound").length;
  place.setAttribute("aria-label", `This node and ${peers.length} peers, ${outbound} of which it dialed`);
  const [cx, cy] = [width / 2, height / 2], most = Math.min(width, height) / 2 - 12;
  const many = peers.length > 60;
  for (const peer of peers) {
    // From 0.1 ms in the middle to 1 s at the rim.
    const far = Math.min(1, Math.max(0, Math.log10((peer.roundTripMicros ?? 30000) / 100) / 4));
    const [turn, reach] = [angle(peer.connection + peer.nodeId), most * (0.3 + 0.7 * far)];
    const [x, y] = [cx + Math.cos(turn) * reach, cy + Math.sin(turn) * reach];
    pen.strokeStyle = colour("line");
    pen.beginPath(); pen.moveTo(cx, cy); pen.lineTo(x, y); pen.stroke();
    pen.fillStyle = colour(peer.direction === "outbound" ? "a" : "b");
    pen.beginPath(); pen.arc(x, y, many ? 3 : 5, 0, 2 * Math.PI); pen.fill();
  }
  pen.fillStyle = colour("text");
  pen.beginPath(); pen.arc(cx, cy, 7, 0, 2 * Math.PI); pen.fill();
}

function showBlocks(blocks) {
  const list = at("blocks");
  if (blocks.length && list.firstElementChild?.dataset.hash === blocks[0].hash) return;
  list.replaceChildren(...blocks.map((block) => {
    const item = document.createElement("li"), height = document.createElement("b"), hash = document.createElement("code");
    const time = document.createElement("time"), more = document.createElement("span");
    item.dataset.hash = block.hash;
    height.textContent = count(block.height);
    hash.textContent = block.hash;
    time.textContent = new Date(block.unixMillis).toLocaleTimeString();
    more.className = "more";
    more.textContent = `${count(block.transactions)} ${block.transactions === 1 ? "transaction" : "transactions"}, ${bytes(block.bytes)}, by ${block.miner || "-"}, ${count(block.ageMillis)} ms old`;
    item.append(height, hash, time, more);
    return item;
  }));
}

function show(news) {
  const { status } = news;
  const seconds = last ? (status.unixMillis - last.unixMillis) / 1000 : 0;
  const rate = (field) => seconds > 0 && status[field] >= last[field] ? bytes((status[field] - last[field]) / seconds) + "/s" : "-";
  put("node", status.nodeId);
  put("height", count(status.height));
  const left = status.secondsLeft != null ? ", about " + lasting(status.secondsLeft) + " left" : "";
  put("sync", status.isSyncing ? `catching up with ${count(status.target)}${left}` : "nobody has more");
  at("progress").hidden = !status.isSyncing;
  at("progress").value = status.target ? status.height / status.target : 0;
  put("peer-count", count(status.peers));
  const clients = status.clients ? `, and ${status.clients} clients without a handshake` : "";
  put("peer-kinds", `${status.outbound} dialed, ${status.inbound} dialed us${clients}`);
  put("rate-in", rate("bytesIn"));
  put("rate-out", rate("bytesOut"));
  put("bytes-in", bytes(status.bytesIn) + " in all");
  put("bytes-out", bytes(status.bytesOut) + " in all");
  put("pool", count(status.pendingTransactions));
  put("pool-bytes", bytes(status.pendingBytes) + " of transactions");
  put("turn", span(status.turnP99Micros));
  put("turn-longest", `99 of 100; longest lately ${span(status.turnLongestMicros)}`);
  last = status;
  peers = news.peers;
  showPeers();
  showNetwork();
  showBlocks(news.blocks);
  const log = at("log"), isAtEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 4;
  put("log", news.log.join("\n"));
  if (isAtEnd) log.scrollTop = log.scrollHeight;
}

function live(state, text) {
  at("live").dataset.state = state;
  put("live", text);
}

const headers = () => {
  const token = sessionStorage.getItem("token");
  return token ? { Authorization: "Bearer " + token } : {};
};

async function hour() {
  try {
    const answer = await fetch("api/node/history", { headers: headers() });
    if (answer.ok) { points = (await answer.json()).points; showHour(); }
  } catch { /* The stream says that it is gone. */ }
}

async function listen() {
  const answer = await fetch("api/node/events", { headers: headers() });
  if (answer.status === 401) {
    at("ask").hidden = false;
    at("token").focus();
    throw new Error("it wants its token");
  }
  if (!answer.ok) throw new Error((await answer.json()).error);
  at("ask").hidden = true;
  hour();
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Error("the node is gone");
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    const news = parts.filter((part) => part.startsWith("event: state\ndata: ")).pop();
    if (news) {
      live("on", "live");
      show(JSON.parse(news.slice(news.indexOf("\ndata: ") + 7)));
    }
  }
}

async function run() {
  for (let pause = 500; ; pause = Math.min(pause * 2, 5000)) {
    try {
      await listen();
    } catch (error) {
      if (at("live").dataset.state === "on") pause = 500;
      live("off", "not connected: " + (error.message || "the node does not answer"));
      last = null;
      if (!at("ask").hidden) return;
    }
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

const enter = () => { sessionStorage.setItem("token", at("token").value.trim()); at("ask").hidden = true; run(); };
at("show").addEventListener("click", enter);
at("token").addEventListener("keydown", (event) => { if (event.key === "Enter") enter(); });
addEventListener("resize", () => { showHour(); showNetwork(); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { showHour(); showNetwork(); });
setInterval(hour, 10000);
showPeers();
run();
