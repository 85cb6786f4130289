// Pointer, finger and keyboard in, what they ask for of page.js out.
"use strict";

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
