// What lies over the drawing: names of regions, the ring around the chosen place, the compass, and the legend. The state is page.js's.
"use strict";

function makeNames() {
  get("labels").classList.toggle("cloud", !cortex.onSurface);
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
