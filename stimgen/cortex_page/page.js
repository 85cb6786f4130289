// What a person asks for, by pointer, finger, keyboard, menus or the address, and what is shown for it.
"use strict";

const get = id => document.getElementById(id);
const cortex = new Cortex(DATA), colors = new Colors(cortex, DATA.palettes);
const stage = get("stage"), canvas = get("canvas"), help = get("help");
const MENUS = ["color", "a", "b", "subject", "surface", "side"];
const state = { color: "", a: "", b: "", subject: "", surface: "", side: "", least: 0, region: "", outlines: true, names: true, place: -1, voxel: -1 };
let scene = null, scale, lie, positions, labels, nameplates = [], traced = "";
const panel = new Panel(get("panel"), cortex, { goTo: voxel => select(cortex.placeOf[voxel], voxel, true), search: searchRegion });

const subjectNumber = () => Math.max(0, cortex.subjects.indexOf(state.subject));
const regionNumber = () => cortex.rois.findIndex(one => one.name === state.region);
const accuracy = cortex.numbers.get("cv_r").values;
const isShown = voxel => accuracy[voxel] >= state.least || state.least <= 0;

function fillMenus() {
  const fill = (id, options) => get(id).replaceChildren(...options.map(([value, text]) => make("option", { value }, text)));
  fill("color", colors.list());
  fill("subject", cortex.subjects.map(one => [one, one]));
  fill("surface", cortex.kinds().map(one => [one, one]));
  for (const [id, few] of [["subject", cortex.subjects.length < 2], ["surface", cortex.kinds().length < 2], ["side", !cortex.onSurface]]) get(id).parentElement.hidden = few;
  get("outlines").parentElement.hidden = !cortex.onSurface;
  get("regions").replaceChildren(...cortex.rois.map(one => make("option", { value: one.name })));
}

function fillContrast() {
  const one = cortex.contrasts.get(state.color);
  get("contrast").hidden = !one;
  if (!one) return;
  const options = () => one.groups.map(name => make("option", { value: name }, name));
  get("a").replaceChildren(...options());
  get("b").replaceChildren(make("option", { value: "" }, "nothing"), ...options());
  if (!one.groups.includes(state.a)) [state.a, state.b] = [one.groups[0], one.groups[1] ?? ""];
  if (!one.groups.includes(state.b)) state.b = "";
  [get("a").value, get("b").value] = [state.a, state.b];
}

// Draw everything anew for the present state.
function show() {
  fillContrast();
  for (const id of MENUS) if (id !== "a" && id !== "b") get(id).value = state[id];
  get("region").value = state.region;
  get("least").value = state.least;
  get("leastShown").textContent = state.least.toFixed(2);
  get("outlines").checked = state.outlines;
  get("names").checked = state.names;
  scale = colors.scale({ ...state, subject: subjectNumber() });
  lie = cortex.lay(subjectNumber());
  labels = labelPlaces();
  for (const one of cortex.hemispheres) one.hidden = state.side !== "" && state.side !== one.name;
  positions = positionsOf(state.surface);
  if (scene) paint();
  drawLegend();
  showPanel();
}

const positionsOf = (made => kind => made[kind] ??= cortex.positions(kind))({});

// The region of each place, -1 where none is drawn.
function labelPlaces() {
  const found = new Int32Array(cortex.places).fill(-1), none = cortex.rois.findIndex(one => one.name === "none");
  for (let place = 0; place < cortex.places; place++) {
    const voxel = lie.first[place];
    if (voxel >= 0 && cortex.roi[voxel] !== none) found[place] = cortex.roi[voxel];
  }
  return found;
}

function paint() {
  if (scene.positions !== positions) scene.setPositions(positions);
  const wanted = regionNumber();
  for (let place = 0; place < cortex.places; place++) {
    const voxel = lie.first[place], base = colorBare(place);
    let color = voxel >= 0 && isShown(voxel) ? scale.color(voxel) ?? base : base;
    if (wanted >= 0 && (voxel < 0 || cortex.roi[voxel] !== wanted)) color = color.map((value, channel) => 0.25 * value + 0.75 * base[channel]);
    scene.colors.set(color, place * 3);
  }
  scene.updateColors();
  if (cortex.onSurface) scene.setHidden(cortex.hemispheres.map(one => one.hidden));
  else scene.setShown([...positions.keys()].filter(at => at % 3 === 0).map(at => at / 3).filter(place => lie.first[place] >= 0 && isShown(lie.first[place])));
  if (cortex.onSurface) traceOutlines(wanted);
  nameplates = state.names ? Outlines.nameplates(cortex, positions, labels).filter(([label]) => wanted < 0 || label === wanted) : [];
  makeNames();
}

// Outlines are traced anew where they are other ones.
function traceOutlines(wanted) {
  const asked = [state.outlines, state.subject, state.surface, state.side, wanted].join(" ");
  if (asked === traced) return;
  traced = asked;
  scene.setOutlines(state.outlines ? Outlines.trace(cortex, positions, scene.normals, labels, wanted) : []);
}

// Gray: light on gyri, dark in sulci.
function colorBare(place) {
  if (!cortex.onSurface) return GRAY;
  const one = cortex.hemisphereAt(place), level = one.sulc[place - one.start] > 0 ? 0.56 : 0.72;
  return [level, level, level];
}

function makeNames() {
  get("labels").replaceChildren(...nameplates.map(([label]) => make("span", { className: label === regionNumber() ? "chosen" : "" }, cortex.rois[label].name)));
}

// After each drawing: names and the ring follow, and names that would cover another are left out.
function placeOverlays() {
  const taken = [];
  [...get("labels").children].forEach((name, number) => {
    const place = nameplates[number][1], at = scene.project(place), half = 4 + 3.6 * name.textContent.length;
    const hidden = at.behind || cortex.onSurface && cortex.hemisphereAt(place).hidden || taken.some(one => Math.abs(one.x - at.x) < one.half + half && Math.abs(one.y - at.y) < 18);
    name.hidden = hidden;
    if (hidden) return;
    taken.push({ x: at.x, y: at.y, half });
    [name.style.left, name.style.top] = [`${at.x}px`, `${at.y}px`];
  });
  placeCompass();
  const ring = get("ring");
  ring.hidden = state.place < 0 || cortex.onSurface && cortex.hemisphereAt(state.place).hidden;
  if (ring.hidden) return;
  const at = scene.project(state.place);
  ring.classList.toggle("behind", at.behind);
  [ring.style.left, ring.style.top] = [`${at.x}px`, `${at.y}px`];
}

// Letters for the ends of the axes: right and left, anterior and posterior, superior and inferior; indices where no more is known.
function placeCompass() {
  const letters = cortex.inMillimeters ? ["R", "L", "A", "P", "S", "I"] : ["+i", "−i", "+j", "−j", "+k", "−k"], reach = 24;
  get("compass").replaceChildren(...scene.directions().map(({ axis, sign, across, up, toward }) => {
    const letter = make("span", {}, letters[2 * axis + (sign > 0 ? 0 : 1)]);
    Object.assign(letter.style, { left: `${reach * across}px`, top: `${-reach * up}px`, opacity: Math.abs(toward) > 0.85 ? 0 : toward < -0.05 ? 0.5 : 1 });
    return letter;
  }));
}

function drawLegend() {
  const parts = [make("div", {}, scale.label)];
  if (scale.kind === "number") {
    const bar = make("canvas", { width: 256, height: 1, role: "img", "aria-label": `from ${scale.low.toFixed(2)} to ${scale.high.toFixed(2)}` });
    const paintBar = bar.getContext("2d");
    for (let at = 0; at < 256; at++) { paintBar.fillStyle = cssOf(colors.pick(scale.palette, at / 255)); paintBar.fillRect(at, 0, 1, 1); }
    const middle = scale.palette === "diverging" ? [make("span", {}, "0")] : [];
    parts.push(bar, make("div", { className: "ends" }, make("span", {}, scale.low.toFixed(2)), ...middle, make("span", {}, scale.high.toFixed(2))));
  } else if (scale.kind === "layer") parts.push(make("div", { className: "list" }, ...cortex.layers.map((name, number) => make("span", {}, swatchOf(cssOf(scale.paint(number))), name))));
  else parts.push(make("div", { className: "list" }, ...cortex.rois.map((one, roi) => {
    const button = make("button", { type: "button" }, panel.swatch(roi), one.name);
    button.addEventListener("click", () => searchRegion(one.name));
    return button;
  })));
  get("legend").replaceChildren(...parts);
}

const cssOf = color => `rgb(${color.map(value => Math.round(value * 255)).join(" ")})`;

function swatchOf(color) {
  const swatch = make("span", { className: "swatch" });
  swatch.style.background = color;
  return swatch;
}

function showPanel() {
  const told = { lie, positions: positionsOf(cortex.metricKind() ?? ""), shownIn: scale };
  if (state.voxel >= 0) {
    panel.showVoxel(state.voxel, told);
    get("told").textContent = `${cortex.ids[state.voxel]}, ${cortex.rois[cortex.roi[state.voxel]].name}: ${scale.label} ${colors.describe(scale, state.voxel)}`;
  } else if (state.place >= 0 && cortex.onSurface) {
    panel.showEmptyPlace(state.place, told);
    get("told").textContent = "no voxel here";
  } else {
    if (regionNumber() >= 0) panel.showRegion(regionNumber(), subjectNumber()); else panel.showNothing(DATA.title);
    get("told").textContent = "";
  }
}

// Go to a place; to one voxel of it where several are there.
function select(place, voxel = -1, facing = false) {
  state.place = place;
  state.voxel = place < 0 ? -1 : voxel >= 0 ? voxel : lie.first[place];
  if (state.voxel >= 0 && cortex.subject[state.voxel] !== subjectNumber()) {
    state.subject = cortex.subjects[cortex.subject[state.voxel]];
    show();
  } else showPanel();
  if (scene) {
    if (facing && place >= 0) bringIntoView(place);
    placeOverlays();
  }
  remember();
}

function bringIntoView(place) {
  if (cortex.onSurface && cortex.hemisphereAt(place).hidden) { state.side = ""; show(); }
  if (!scene.project(place).behind) return;
  scene.face(place);
  if (!cortex.onSurface || !scene.project(place).behind || state.side) return;
  state.side = cortex.hemisphereAt(place).name;  // the medial side of one hemisphere lies behind the other
  show();
}

function searchRegion(name) {
  const known = cortex.rois.find(one => one.name.toLowerCase() === name.trim().toLowerCase());
  const voxel = cortex.index.get(name.trim());
  if (!known && voxel !== undefined) { state.region = ""; show(); select(cortex.placeOf[voxel], voxel, true); return; }
  get("region").setCustomValidity(known || !name.trim() ? "" : "no region or voxel of this name");
  get("region").reportValidity();
  if (!known && name.trim()) return;
  Object.assign(state, { region: known?.name ?? "", place: -1, voxel: -1 });
  show();
  const plates = scene && known ? Outlines.nameplates(cortex, positions, labels).filter(([label]) => label === regionNumber()) : [];
  if (plates.length && plates.every(([, place]) => scene.project(place).behind)) bringIntoView(plates[0][1]);
  remember();
}

function remember() {
  const told = new URLSearchParams();
  for (const name of MENUS) if (state[name] && !(["subject", "surface"].includes(name) && get(name).parentElement.hidden)) told.set(name, state[name]);
  if (!cortex.contrasts.has(state.color)) { told.delete("a"); told.delete("b"); }
  if (state.least > 0) told.set("least", state.least);
  if (state.region) told.set("region", state.region);
  if (!state.outlines) told.set("outlines", "no");
  if (!state.names) told.set("names", "no");
  if (state.voxel >= 0) told.set("at", cortex.ids[state.voxel]);
  else if (state.place >= 0 && cortex.onSurface) told.set("at", `${cortex.hemisphereAt(state.place).name}:${state.place - cortex.hemisphereAt(state.place).start}`);
  if (scene) told.set("camera", scene.getCamera().join(","));
  history.replaceState(null, "", `#${told}`);
}

// Take up what the address says; what it does not know keeps its default.
function recall() {
  const told = new URLSearchParams(location.hash.slice(1));
  const known = (name, list, otherwise) => list.includes(told.get(name)) ? told.get(name) : otherwise;
  state.color = known("color", colors.list().map(([value]) => value), "cv_r");
  [state.a, state.b] = [told.get("a") ?? "", told.get("b") ?? ""];
  state.subject = known("subject", cortex.subjects, cortex.subjects[0]);
  state.surface = known("surface", cortex.kinds(), cortex.kinds()[0] ?? "");
  state.side = known("side", cortex.hemispheres.map(one => one.name), "");
  state.least = Math.min(0.9, Math.max(0, Number(told.get("least")) || 0));
  state.region = known("region", cortex.rois.map(one => one.name), "");
  [state.outlines, state.names] = ["outlines", "names"].map(name => told.get(name) !== "no");
  [state.place, state.voxel] = findPlace(told.get("at") ?? "");
  if (state.voxel >= 0) state.subject = cortex.subjects[cortex.subject[state.voxel]];
  show();
  if (!scene) return;
  const camera = (told.get("camera") ?? "").split(",").map(Number);
  if (camera.length === 6 && camera.every(Number.isFinite)) scene.setCamera(camera);
  else { scene.look("back"); if (state.place >= 0) bringIntoView(state.place); }
}

function findPlace(at) {
  const voxel = cortex.index.get(at) ?? -1;
  if (voxel >= 0) return [cortex.placeOf[voxel], voxel];
  const [side, vertex] = at.split(":"), one = cortex.hemispheres.find(hemisphere => hemisphere.name === side);
  return one && Number.isInteger(Number(vertex)) && Number(vertex) >= 0 && Number(vertex) < one.count ? [one.start + Number(vertex), -1] : [-1, -1];
}

// From the present place to the nearest voxel that lies in a direction of the screen (x to the right, y down).
function step(x, y) {
  if (state.place < 0) { select(firstPlace()); return; }
  const from = scene.project(state.place), wanted = place => lie.first[place] >= 0 && isShown(lie.first[place]);
  const near = cortex.near(state.place, positions, wanted, 16).map(([place]) => [place, scene.project(place)]);
  let best = -1, least = Infinity;
  for (const [place, at] of near) {
    const along = (at.x - from.x) * x + (at.y - from.y) * y, across = Math.abs((at.x - from.x) * y - (at.y - from.y) * x);
    if (along > 0.5 && along >= across && along + 2 * across < least) [best, least] = [place, along + 2 * across];
  }
  if (best >= 0) select(best, -1, true);
}

const firstPlace = () => cortex.placeOf[cortex.withImage.find(voxel => cortex.subject[voxel] === subjectNumber()) ?? 0];

function stepImage(offset) {
  const list = cortex.withImage.filter(voxel => cortex.subject[voxel] === subjectNumber() && isShown(voxel) && (regionNumber() < 0 || cortex.roi[voxel] === regionNumber()));
  if (!list.length) return;
  const at = list.indexOf(state.voxel), voxel = list[at < 0 ? (offset > 0 ? 0 : list.length - 1) : (at + offset + list.length) % list.length];
  select(cortex.placeOf[voxel], voxel, true);
}

function lookFrom(name) {
  scene.look(name);
  get("view").value = "";
  remember();
}

function pressKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || help.open && event.key !== "?") return;
  const typing = event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement;
  if (typing) { if (event.key === "Escape") event.target.blur(); return; }
  const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }, numbered = Object.keys(VIEWS)[Number(event.key) - 1];
  if (event.key === "/") get("region").focus();
  else if (event.key === "?") { if (!help.open) help.showModal(); }
  else if (event.key === "n" || event.key === "p") stepImage(event.key === "n" ? 1 : -1);
  else if (event.key === "Escape") { state.region = ""; select(-1); show(); }
  else if (!scene) return;
  else if (event.key in arrows) {
    if (document.activeElement !== stage && document.activeElement !== document.body) return;  // the panel scrolls
    const [x, y] = arrows[event.key];
    if (event.shiftKey) scene.turn(-x * 0.2, -y * 0.2); else step(x, y);
  } else if (event.key === "+" || event.key === "=") scene.zoom(0.85);
  else if (event.key === "-") scene.zoom(1 / 0.85);
  else if (event.key === "0") lookFrom("back");
  else if (numbered) lookFrom(numbered);
  else return;
  event.preventDefault();
  if (scene) remember();
}

// A tap or click is a press that ends where it began; everything else turns the cortex.
function listenToPointer() {
  let pressed = null, hovering = false;
  const at = event => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
  canvas.addEventListener("pointerdown", event => { pressed = event.isPrimary ? at(event) : null; stage.focus({ preventScroll: true }); });
  canvas.addEventListener("pointerup", event => {
    const [x, y] = at(event);
    if (pressed && event.button === 0 && Math.hypot(x - pressed[0], y - pressed[1]) < 6) {
      const place = scene.pick(x, y);
      select(place);
      if (event.pointerType === "touch" && place >= 0 && getComputedStyle(get("panel").parentElement).display === "block") get("panel").scrollIntoView({ block: "nearest" });
    }
    pressed = null;
  });
  canvas.addEventListener("pointermove", event => {
    if (hovering || event.buttons || event.pointerType === "touch" || cortex.places > 60000) return;
    hovering = true;
    requestAnimationFrame(() => {
      hovering = false;
      const place = scene.pick(...at(event)), voxel = place < 0 ? -1 : lie.first[place];
      canvas.style.cursor = voxel >= 0 ? "pointer" : "grab";
      canvas.title = voxel < 0 ? "" : `${cortex.ids[voxel]}, ${cortex.rois[cortex.roi[voxel]].name}: ${colors.describe(scale, voxel)}`;
    });
  });
  scene.controls.addEventListener("end", remember);
}

function listen() {
  for (const id of MENUS) {
    get(id).addEventListener("change", () => {
      state[id] = get(id).value;
      if (id === "subject") Object.assign(state, { place: -1, voxel: -1 });
      show();
      if (id === "side" && scene) scene.look({ L: "left", R: "right", "": "back" }[state.side]);
      remember();
    });
  }
  get("view").addEventListener("change", () => { if (scene && get("view").value) lookFrom(get("view").value); });
  get("region").addEventListener("change", () => searchRegion(get("region").value));
  get("least").addEventListener("input", () => { state.least = Number(get("least").value); show(); remember(); });
  for (const id of ["outlines", "names"]) get(id).addEventListener("change", () => { state[id] = get(id).checked; show(); remember(); });
  document.addEventListener("keydown", pressKey);
  window.addEventListener("hashchange", recall);
  get("keys").addEventListener("click", () => help.showModal());
  help.querySelector("button").addEventListener("click", () => help.close());
  if (scene) listenToPointer();
}

function start() {
  fillMenus();
  if (document.createElement("canvas").getContext("webgl2")) {
    scene = new Scene(canvas, cortex, placeOverlays);
    scene.resize();
  } else get("without").hidden = false;
  listen();
  recall();
  document.documentElement.dataset.ready = "yes";
  setTimeout(() => cortex.edges(), 500);  // before the first click, so that it need not wait for them
}

start();
