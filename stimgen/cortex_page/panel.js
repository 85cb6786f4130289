// A voxel, a region, or nothing in; what the panel beside the cortex says of it out. All text goes in as text, never as markup.
"use strict";

const MOST_NEIGHBORS = 8, MOST_OF_REGION = 30;

function make(tag, values = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(values)) {
    if (key in element) element[key] = value; else element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

// A picture; where its file is gone, a box that says so.
function picture(source, alt) {
  const image = make("img", { alt, decoding: "async" });
  image.addEventListener("error", () => image.replaceWith(make("span", { className: "missing", role: "img", "aria-label": `${alt}: image is missing` }, "image is missing")));
  image.src = source;
  return image;
}

const signed = value => Number.isFinite(value) ? value.toFixed(2) : "–";

class Panel {
  constructor(element, cortex, { goTo, search }) {
    Object.assign(this, { element, cortex, goTo, search });
  }

  swatch(roi) {
    const swatch = make("span", { className: "swatch" });
    swatch.style.background = this.cortex.rois[roi].color;
    return swatch;
  }

  showNothing(text) {
    this.#fill(make("h2", {}, text), make("p", { className: "of" }, "Click a place of the cortex, or search a region, to see the images made for it."));
  }

  // A voxel: `lie` is how voxels lie at places, `positions` where places are for distances, `shownIn` the present color scale.
  showVoxel(voxel, { lie, positions, shownIn }) {
    const { cortex } = this, place = cortex.placeOf[voxel];
    const region = make("button", { type: "button" }, this.swatch(cortex.roi[voxel]), cortex.rois[cortex.roi[voxel]].name);
    region.addEventListener("click", () => this.search(cortex.rois[cortex.roi[voxel]].name));
    const parts = [make("h2", {}, cortex.ids[voxel]), make("p", { className: "of" }, region, ` subject ${cortex.subjects[cortex.subject[voxel]]}`)];
    parts.push(...this.#own(voxel), make("h3", {}, "what is known of it"), this.#facts(voxel, positions, shownIn));
    parts.push(...this.#natural(voxel));
    const here = this.#others(lie, place).filter(other => other !== voxel);
    if (here.length) parts.push(make("h3", {}, "also at this place"), this.#tiles(here.map(other => [other, ""])));
    const near = this.cortex.near(place, positions, other => lie.first[other] >= 0, MOST_NEIGHBORS);
    const words = cortex.onSurface ? "neighbors along the surface" : "neighbors in space";
    if (near.length) parts.push(make("h3", {}, words), this.#tiles(near.map(([other, far]) => [lie.first[other], `${far.toFixed(0)} ${cortex.inMillimeters ? "mm" : "voxels"}`])));
    this.#fill(...parts);
  }

  showEmptyPlace(place, { lie, positions }) {
    const one = this.cortex.hemisphereAt(place), near = this.cortex.near(place, positions, other => lie.first[other] >= 0, MOST_NEIGHBORS);
    const parts = [make("h2", {}, `vertex ${place - one.start}, hemisphere ${one.name}`), make("p", { className: "of" }, "The model has no voxel here.")];
    if (near.length) parts.push(make("h3", {}, "nearest voxels along the surface"), this.#tiles(near.map(([other, far]) => [lie.first[other], `${far.toFixed(0)} mm`])));
    this.#fill(...parts);
  }

  showRegion(roi, subject) {
    const { cortex } = this, accuracy = cortex.numbers.get("cv_r").values, own = [];
    for (let voxel = 0; voxel < cortex.count; voxel++) if (cortex.roi[voxel] === roi && cortex.subject[voxel] === subject) own.push(voxel);
    const mean = own.reduce((sum, voxel) => sum + accuracy[voxel], 0) / Math.max(1, own.length);
    const best = [...own].sort((one, other) => accuracy[other] - accuracy[one]);
    const shown = [...best.filter(voxel => cortex.imagesOf(voxel).length), ...best.filter(voxel => !cortex.imagesOf(voxel).length)].slice(0, MOST_OF_REGION);
    const withImages = own.filter(voxel => cortex.imagesOf(voxel).length).length;
    this.#fill(make("h2", {}, this.swatch(roi), cortex.rois[roi].name),
      make("p", { className: "of" }, `${own.length} voxels, ${withImages} with images; mean accuracy r ${mean.toFixed(2)}`),
      make("h3", {}, "its most accurate voxels"), this.#tiles(shown.map(voxel => [voxel, accuracy[voxel].toFixed(2)])));
  }

  #fill(...parts) {
    this.element.replaceChildren(...parts);
    this.element.scrollTop = 0;
  }

  #others(lie, place) {
    const found = [];
    for (let voxel = lie.first[place]; voxel >= 0; voxel = lie.next[voxel]) found.push(voxel);
    return found;
  }

  #own(voxel) {
    const { cortex } = this, found = cortex.imagesOf(voxel);
    if (!found.length) return [make("p", { className: "of" }, "The sweep has no image for this voxel.")];
    const whole = cortex.images.voxel[found[0]] < 0, title = whole ? "images made for its whole region" : found.length > 1 ? "images made for it" : "the image made for it";
    const figures = found.map(image => make("figure", {}, picture(Decode.picture("images", image), `image ${cortex.images.id[image]}`),
      make("figcaption", {}, ["predicted", "judged"].map(role => [role, cortex.images[role][image]]).filter(([, drive]) => Number.isFinite(drive)).map(([role, drive]) => `${role} ${signed(drive)} z`).join(", "))));
    return [make("h3", {}, title), make("div", { className: found.length > 1 ? "own" : "own one" }, ...figures)];
  }

  #facts(voxel, positions, shownIn) {
    const { cortex } = this, place = cortex.placeOf[voxel], rows = [];
    if (shownIn.kind !== "roi" && shownIn.kind !== "layer" && shownIn.palette === "diverging") rows.push([shownIn.label, signed(shownIn.value(voxel))]);
    for (const { label, values } of cortex.numbers.values()) rows.push([label, signed(values[voxel])]);
    rows.push(["preferred layer", cortex.layer[voxel] < 0 ? "–" : cortex.layers[cortex.layer[voxel]]]);
    if (cortex.onSurface) {
      const one = cortex.hemisphereAt(place);
      rows.push(["hemisphere and vertex", `${one.name}\u00a0${place - one.start}`]);
    } else rows.push(["place", [0, 1, 2].map(axis => Number(positions[place * 3 + axis].toFixed(1))).join(", ")]);
    return make("table", {}, make("tbody", {}, ...rows.map(([name, value]) => make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, value)))));
  }

  #natural(voxel) {
    const { best, naturalNames } = this.cortex, figures = [];
    for (let rank = 0; rank < best.count; rank++) {
      const row = best.rows[voxel * best.count + rank];
      if (row < 0) break;
      figures.push(make("figure", {}, picture(Decode.picture("natural", row), `natural image ${naturalNames[row]}`), make("figcaption", { title: naturalNames[row] }, `${signed(best.z[voxel * best.count + rank])} z`)));
    }
    return figures.length ? [make("h3", {}, "natural images it likes best, as predicted"), make("div", { className: "tiles" }, ...figures)] : [];
  }

  #tiles(list) {
    const { cortex } = this;
    return make("div", { className: "tiles" }, ...list.map(([voxel, note]) => {
      const [image] = cortex.imagesOf(voxel), shown = image === undefined ? make("span", { className: "missing" }, "no image") : picture(Decode.picture("images", image), `image of ${cortex.ids[voxel]}`);
      const tile = make("button", { type: "button", title: cortex.ids[voxel] }, shown, make("span", {}, this.swatch(cortex.roi[voxel]), cortex.rois[cortex.roi[voxel]].name), make("span", {}, note || cortex.ids[voxel]));
      tile.dataset.voxel = cortex.ids[voxel];
      tile.addEventListener("click", () => this.goTo(voxel));
      return tile;
    }));
  }
}
