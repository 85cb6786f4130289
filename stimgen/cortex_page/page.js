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
