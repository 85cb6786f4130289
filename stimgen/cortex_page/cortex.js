// Voxels, the places where they are, what lies beside what, and whose the images are. A place is a vertex, left hemisphere first, or without
// surfaces a voxel's own point; several voxels may share a vertex (subjects, overlapping regions).
"use strict";

class Cortex {
  constructor(data) {
    const { voxels, images, natural } = data;
    Object.assign(this, { ids: voxels.id, rois: data.rois, subjects: data.subjects, layers: data.layers, naturalNames: natural.name });
    this.count = voxels.id.length;
    this.index = new Map(voxels.id.map((id, voxel) => [id, voxel]));
    for (const name of ["subject", "roi", "layer"]) this[name] = Decode.array(voxels[name]);
    this.numbers = new Map(data.numbers.map(one => [one.key, { ...one, values: Decode.array(one.values) }]));
    this.contrasts = new Map(data.contrasts.map(one => [one.key, { ...one, values: Decode.array(one.values) }]));
    this.best = { rows: Decode.array(natural.best), z: Decode.array(natural.z), count: natural.count };
    this.images = { id: images.id, ...Object.fromEntries(["voxel", "subject", "roi", "predicted", "judged"].map(name => [name, Decode.array(images[name])])) };
    this.hemispheres = this.#readHemispheres(data.surfaces);
    this.onSurface = this.hemispheres.length > 0;
    this.places = this.onSurface ? this.hemispheres.reduce((sum, one) => sum + one.count, 0) : this.count;
    this.placeOf = this.#findPlaces(voxels);
    this.points = this.onSurface ? null : Decode.array(voxels.points);
    this.inMillimeters = this.onSurface || voxels.unit === "mm";
    this.#indexImages();
  }

  #readHemispheres(surfaces) {
    let first = 0;
    return surfaces.map(one => {
      const sulc = Decode.array(one.sulc), start = first;
      first += sulc.length;
      const positions = Object.fromEntries(Object.entries(one.positions).map(([kind, points]) => [kind, Decode.array(points)]));
      return { name: one.hemisphere, triangles: Decode.array(one.triangles), sulc, positions, start, count: sulc.length };
    });
  }

  #findPlaces(voxels) {
    if (!this.onSurface) return Int32Array.from({ length: this.count }, (_, voxel) => voxel);
    const hemisphere = Decode.array(voxels.hemisphere), vertex = Decode.array(voxels.vertex);
    return vertex.map((one, voxel) => this.hemispheres[hemisphere[voxel]].start + one);
  }

  #indexImages() {
    this.imagesOfVoxel = new Map();
    this.imagesOfParcel = new Map();
    this.images.voxel.forEach((voxel, image) => {
      const [map, key] = voxel >= 0 ? [this.imagesOfVoxel, voxel] : [this.imagesOfParcel, `${this.images.subject[image]} ${this.images.roi[image]}`];
      map.set(key, [...(map.get(key) ?? []), image]);
    });
    this.withImage = [...Array(this.count).keys()].filter(voxel => this.imagesOf(voxel).length).sort((one, other) => this.roi[one] - this.roi[other] || one - other);
  }

  // A voxel's own images; those of its whole parcel where it has none of its own.
  imagesOf(voxel) {
    return this.imagesOfVoxel.get(voxel) ?? this.imagesOfParcel.get(`${this.subject[voxel]} ${this.roi[voxel]}`) ?? [];
  }

  // For a subject, the first voxel at each place (-1: none), and of each voxel the next one at its place.
  lay(subject) {
    const first = new Int32Array(this.places).fill(-1), next = new Int32Array(this.count).fill(-1);
    for (let voxel = this.count - 1; voxel >= 0; voxel--) {
      if (this.subject[voxel] !== subject) continue;
      const place = this.placeOf[voxel];
      next[voxel] = first[place];
      first[place] = voxel;
    }
    return { first, next };
  }

  hemisphereAt(place) {
    return this.hemispheres.find(one => place < one.start + one.count);
  }

  kinds() {
    return this.onSurface ? Object.keys(this.hemispheres[0].positions) : [];
  }

  // Positions of all places. Hemispheres that lie within one another (inflated ones do) are moved apart.
  positions(kind) {
    if (!this.onSurface) return this.points;
    const all = new Float32Array(this.places * 3);
    for (const one of this.hemispheres) all.set(one.positions[kind], one.start * 3);
    const edges = this.hemispheres.map(one => {
      let low = Infinity, high = -Infinity;
      for (let place = one.start; place < one.start + one.count; place++) { low = Math.min(low, all[place * 3]); high = Math.max(high, all[place * 3]); }
      return { one, low, high };
    });
    if (edges.length === 2 && edges[0].high > edges[1].low + 20) {
      for (const { one, low, high } of edges) {
        const shift = one.name === "L" ? -high - 2 : -low + 2;
        for (let place = one.start; place < one.start + one.count; place++) all[place * 3] += shift;
      }
    }
    return all;
  }

  // The surface on which distances mean something: an inflated one stretches them.
  metricKind() {
    return ["midthickness", "white", "pial"].find(kind => this.kinds().includes(kind)) ?? this.kinds()[0];
  }

  // Places joined by an edge, as a list of starts and a list of ends (an edge of two triangles stands there twice); built once.
  edges() {
    if (this.linked) return this.linked;
    const degree = new Int32Array(this.places + 1), each = visit => {
      for (const { triangles, start } of this.hemispheres) {
        for (let corner = 0; corner < triangles.length; corner += 3) {
          const [a, b, c] = [triangles[corner] + start, triangles[corner + 1] + start, triangles[corner + 2] + start];
          for (const [one, other] of [[a, b], [b, c], [c, a]]) { visit(one, other); visit(other, one); }
        }
      }
    };
    each(from => { degree[from + 1]++; });
    for (let place = 0; place < this.places; place++) degree[place + 1] += degree[place];
    const ends = new Int32Array(degree[this.places]), filled = degree.slice();
    each((from, to) => { ends[filled[from]++] = to; });
    this.linked = { starts: degree, ends };
    return this.linked;
  }

  // The nearest `count` places that are `wanted`, nearest first, as [place, distance in mm]: along the surface's edges (Dijkstra), or in space.
  near(place, positions, wanted, count, reach = 60) {
    return this.onSurface ? this.#nearAlong(place, positions, wanted, count, reach) : this.#nearInSpace(place, positions, wanted, count);
  }

  #nearAlong(place, positions, wanted, count, reach) {
    const { starts, ends } = this.edges(), best = new Map([[place, 0]]), done = new Set(), found = [];
    const heap = new Heap();
    heap.push(0, place);
    while (heap.size && found.length < count) {
      const [far, here] = heap.pop();
      if (done.has(here)) continue;
      if (far > reach) break;
      done.add(here);
      if (here !== place && wanted(here)) found.push([here, far]);
      for (let edge = starts[here]; edge < starts[here + 1]; edge++) {
        const there = ends[edge], total = far + distance(positions, here, there);
        if (total < (best.get(there) ?? Infinity)) { best.set(there, total); heap.push(total, there); }
      }
    }
    return found;
  }

  #nearInSpace(place, positions, wanted, count) {
    const all = [];
    for (let other = 0; other < this.places; other++) if (other !== place && wanted(other)) all.push([other, distance(positions, place, other)]);
    return all.sort((one, other) => one[1] - other[1]).slice(0, count);
  }
}

function distance(positions, one, other) {
  return Math.hypot(positions[one * 3] - positions[other * 3], positions[one * 3 + 1] - positions[other * 3 + 1], positions[one * 3 + 2] - positions[other * 3 + 2]);
}

// A binary heap of [key, value], smallest key first.
class Heap {
  #items = [];

  get size() { return this.#items.length; }

  push(key, value) {
    const items = this.#items;
    let place = items.push([key, value]) - 1;
    while (place > 0) {
      const above = (place - 1) >> 1;
      if (items[above][0] <= items[place][0]) break;
      [items[above], items[place]] = [items[place], items[above]];
      place = above;
    }
  }

  pop() {
    const items = this.#items, top = items[0], last = items.pop();
    if (items.length) {
      items[0] = last;
      for (let place = 0; ;) {
        let least = place;
        for (const below of [2 * place + 1, 2 * place + 2]) if (below < items.length && items[below][0] < items[least][0]) least = below;
        if (least === place) break;
        [items[least], items[place]] = [items[place], items[least]];
        place = least;
      }
    }
    return top;
  }
}
