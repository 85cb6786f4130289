// What is asked for in, a color per voxel and the legend's contents out.
"use strict";

const GRAY = [0.55, 0.55, 0.55];

class Colors {
  constructor(cortex, palettes) {
    this.cortex = cortex;
    this.palettes = Object.fromEntries(Object.entries(palettes).map(([name, steps]) => [name, Decode.array(steps)]));
    this.ofRoi = cortex.rois.map(one => one.name === "none" ? null : [1, 3, 5].map(at => parseInt(one.color.slice(at, at + 2), 16) / 255));
  }

  // All that voxels can be colored by, in the order of the menu: [value, label].
  list() {
    const { cortex } = this, numbers = [...cortex.numbers.values()].map(one => [one.key, one.label]);
    const contrasts = [...cortex.contrasts.values()].filter(one => one.groups.length).map(one => [one.key, one.label]);
    return [...numbers, ["roi", "region"], ["layer", "preferred layer"], ...contrasts];
  }

  pick(palette, share) {
    const steps = this.palettes[palette], last = steps.length / 3 - 1, row = 3 * Math.round(Math.min(1, Math.max(0, share)) * last);
    return [steps[row] / 255, steps[row + 1] / 255, steps[row + 2] / 255];
  }

  // A scale: `value` and `color` of a voxel (null where it has none), and what the legend says.
  scale({ color, a, b, subject }) {
    if (this.cortex.contrasts.has(color)) return this.#contrast(color, a, b, subject);
    if (color === "roi") return { kind: "roi", label: "region", value: voxel => this.cortex.roi[voxel], color: voxel => this.ofRoi[this.cortex.roi[voxel]] ?? null };
    if (color === "layer") return this.#layers();
    const { values, low, high, label } = this.cortex.numbers.get(color);
    const paint = voxel => Number.isNaN(values[voxel]) ? null : this.pick("sequential", (values[voxel] - low) / (high - low));
    return { kind: "number", palette: "sequential", label, low, high, value: voxel => values[voxel], color: paint };
  }

  #layers() {
    const { layer, layers } = this.cortex, share = number => layers.length > 1 ? number / (layers.length - 1) : 0;
    const paint = number => this.pick("ordered", share(number));
    return { kind: "layer", label: "preferred layer", value: voxel => layer[voxel], color: voxel => layer[voxel] < 0 ? null : paint(layer[voxel]), paint };
  }

  #contrast(key, a, b, subject) {
    const { values, groups, label } = this.cortex.contrasts.get(key), { count } = this.cortex;
    const first = Math.max(0, groups.indexOf(a)) * count, second = groups.indexOf(b);
    const value = voxel => values[first + voxel] - (second < 0 ? 0 : values[second * count + voxel]);
    const sizes = [];
    for (let voxel = 0; voxel < count; voxel++) if (this.cortex.subject[voxel] === subject) sizes.push(Math.abs(value(voxel)));
    const high = Math.max(Decode.quantile(sizes, 0.98), 1e-3);
    const paint = voxel => Number.isFinite(value(voxel)) ? this.pick("diverging", (value(voxel) / high + 1) / 2) : null;
    const named = second < 0 ? groups[first / count] : `${groups[first / count]} − ${groups[second]}`;
    return { kind: "number", palette: "diverging", label: `${named}: ${label}`, low: -high, high, value, color: paint };
  }

  // Words for a voxel's value.
  describe(scale, voxel) {
    const value = scale.value(voxel);
    if (scale.kind === "roi") return this.cortex.rois[value].name;
    if (scale.kind === "layer") return value < 0 ? "no layer" : this.cortex.layers[value];
    return Number.isFinite(value) ? value.toFixed(2) : "no value";
  }
}
