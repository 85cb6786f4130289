// Regions on a mesh in, their outlines as line segments and a place for each one's name out.
"use strict";

const Outlines = {
  // Segments (six numbers each) that run between places of different labels; -1 is no region. Where `only` is a label, its outline alone.
  trace(cortex, positions, normals, labels, only, lift = 0.35) {
    const segments = [], counts = label => label >= 0 && (only < 0 || label === only);
    const middle = (one, other) => [0, 1, 2].map(axis => (positions[one * 3 + axis] + positions[other * 3 + axis]) / 2 + lift * (normals[one * 3 + axis] + normals[other * 3 + axis]) / 2);
    for (const { triangles, start, hidden } of cortex.hemispheres) {
      if (hidden) continue;
      for (let corner = 0; corner < triangles.length; corner += 3) {
        const place = [triangles[corner] + start, triangles[corner + 1] + start, triangles[corner + 2] + start];
        const cut = [];
        for (let side = 0; side < 3; side++) {
          const one = place[side], other = place[(side + 1) % 3];
          if (labels[one] !== labels[other] && (counts(labels[one]) || counts(labels[other]))) cut.push(middle(one, other));
        }
        if (cut.length === 2) segments.push(...cut[0], ...cut[1]);
        else if (cut.length === 3) {
          const center = [0, 1, 2].map(axis => (cut[0][axis] + cut[1][axis] + cut[2][axis]) / 3);
          for (const point of cut) segments.push(...point, ...center);
        }
      }
    }
    return new Float32Array(segments);
  },

  // For each region and side, the place of it that is nearest to its middle: [label, place], the largest regions first.
  nameplates(cortex, positions, labels) {
    const groups = new Map();
    for (let place = 0; place < cortex.places; place++) {
      if (labels[place] < 0) continue;
      const side = cortex.onSurface ? cortex.hemisphereAt(place).name : positions[place * 3] < 0 ? "L" : "R";
      const key = `${labels[place]} ${side}`;
      if (!groups.has(key)) groups.set(key, []);
      groups.get(key).push(place);
    }
    return [...groups.values()].sort((one, other) => other.length - one.length).map(places => {
      const center = [0, 1, 2].map(axis => places.reduce((sum, place) => sum + positions[place * 3 + axis], 0) / places.length);
      const far = place => Math.hypot(...center.map((value, axis) => positions[place * 3 + axis] - value));
      return [labels[places[0]], places.reduce((best, place) => far(place) < far(best) ? place : best)];
    });
  },
};
