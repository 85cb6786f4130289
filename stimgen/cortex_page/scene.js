// The drawing: meshes or a cloud of points, outlines, the camera; and what lies under the pointer. Colors are shown as they are given: the
// renderer converts none. Nothing is drawn but when something changed.
"use strict";

const FIELD_DEG = 24, MARGIN = 1.12;
const VIEWS = { left: [-1, 0, 0], right: [1, 0, 0], front: [0, 1, 0], back: [0, -1, 0], top: [0, -0.001, 1], bottom: [0, -0.001, -1] };

class Scene {
  constructor(canvas, cortex, onDraw) {
    Object.assign(this, { canvas, cortex, onDraw, scene: new THREE.Scene(), pending: false });
    this.renderer = new THREE.WebGLRenderer({ canvas, antialias: true, alpha: true });
    this.renderer.outputColorSpace = THREE.LinearSRGBColorSpace;
    this.camera = new THREE.PerspectiveCamera(FIELD_DEG, 1, 1, 5000);
    this.camera.up.set(0, 0, 1);
    const headlight = new THREE.DirectionalLight(0xffffff, 0.42 * Math.PI);
    this.camera.add(headlight);
    this.scene.add(this.camera, new THREE.AmbientLight(0xffffff, 0.6 * Math.PI));
    this.controls = new THREE.OrbitControls(this.camera, canvas);
    this.controls.zoomToCursor = true;
    this.controls.addEventListener("change", () => this.draw());
    this.colors = new Float32Array(cortex.places * 3).fill(0.6);
    this.normals = new Float32Array(cortex.places * 3);
    this.lines = [[4.5, 0x111111], [1.6, 0xffffff]].map(([linewidth, color]) => this.#makeLines(linewidth, color));
    this.drawn = cortex.onSurface ? cortex.hemispheres.map(one => this.#makeMesh(one)) : [this.#makeCloud()];
    new ResizeObserver(() => this.resize()).observe(canvas.parentElement);
  }

  #makeLines(linewidth, color) {
    const lines = new THREE.LineSegments2(new THREE.LineSegmentsGeometry(), new THREE.LineMaterial({ linewidth, color, depthWrite: false }));
    lines.visible = false;
    lines.renderOrder = linewidth > 2 ? 1 : 2;
    this.scene.add(lines);
    return lines;
  }

  #makeMesh(one) {
    const geometry = new THREE.BufferGeometry();
    geometry.setIndex(new THREE.BufferAttribute(Uint32Array.from(one.triangles), 1));
    const colors = this.colors.subarray(one.start * 3, (one.start + one.count) * 3);
    geometry.setAttribute("color", new THREE.BufferAttribute(colors, 3));
    const material = new THREE.MeshLambertMaterial({ vertexColors: true, polygonOffset: true, polygonOffsetFactor: 1, polygonOffsetUnits: 1 });
    const mesh = new THREE.Mesh(geometry, material);
    this.scene.add(mesh);
    return mesh;
  }

  #makeCloud() {
    const ball = document.createElement("canvas"), size = 64;
    ball.width = ball.height = size;
    const paint = ball.getContext("2d"), shade = paint.createRadialGradient(size * 0.42, size * 0.38, 0, size / 2, size / 2, size / 2);
    for (const [at, level] of [[0, 255], [0.6, 232], [0.9, 160], [1, 90]]) shade.addColorStop(at, `rgb(${level} ${level} ${level})`);
    paint.fillStyle = shade;
    paint.arc(size / 2, size / 2, size / 2 - 1, 0, 2 * Math.PI);
    paint.fill();
    const geometry = new THREE.BufferGeometry();
    geometry.setAttribute("color", new THREE.BufferAttribute(this.colors, 3));
    const material = new THREE.PointsMaterial({ vertexColors: true, map: new THREE.CanvasTexture(ball), alphaTest: 0.5, sizeAttenuation: true });
    const points = new THREE.Points(geometry, material);
    this.scene.add(points);
    return points;
  }

  setPositions(positions) {
    this.positions = positions;
    this.drawn.forEach((object, number) => {
      const one = this.cortex.hemispheres[number] ?? { start: 0, count: this.cortex.places };
      const geometry = object.geometry, own = positions.subarray(one.start * 3, (one.start + one.count) * 3);
      geometry.setAttribute("position", new THREE.BufferAttribute(own, 3));
      geometry.computeBoundingSphere();
      geometry.computeBoundingBox();
      if (!this.cortex.onSurface) { object.material.size = this.#ballSize(); return; }
      geometry.computeVertexNormals();
      this.normals.set(geometry.getAttribute("normal").array, one.start * 3);
    });
    this.draw();
  }

  // The diameter of a ball, so that nearest neighbors just touch.
  #ballSize() {
    const { cortex, positions } = this, gaps = [], stride = Math.max(1, Math.floor(cortex.places / 100));
    for (let place = 0; place < cortex.places; place += stride) {
      let gap = Infinity;
      for (let other = 0; other < cortex.places; other++) {
        const far = other === place ? 0 : distance(positions, place, other);
        if (far > 0 && far < gap) gap = far;
      }
      if (Number.isFinite(gap)) gaps.push(gap);
    }
    this.ball = Decode.quantile(gaps, 0.5) || 1;
    return this.ball / Math.tan(FIELD_DEG * Math.PI / 360);
  }

  setHidden(hidden) {
    this.drawn.forEach((object, number) => { object.visible = !hidden[number]; });
    this.draw();
  }

  // Which points of a cloud are drawn.
  setShown(places) {
    this.shown = places;
    this.drawn[0].geometry.setIndex(places);
    this.draw();
  }

  updateColors() {
    for (const object of this.drawn) object.geometry.getAttribute("color").needsUpdate = true;
    this.draw();
  }

  setOutlines(segments) {
    for (const lines of this.lines) {
      lines.visible = segments.length > 0;
      if (!lines.visible) continue;
      lines.geometry.dispose();
      lines.geometry = new THREE.LineSegmentsGeometry().setPositions(segments);
    }
    this.draw();
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.canvas.parentElement;
    if (!width || !height) return;
    this.renderer.setPixelRatio(Math.min(2, devicePixelRatio));
    this.renderer.setSize(width, height, false);
    this.camera.aspect = width / height;
    this.camera.updateProjectionMatrix();
    this.draw();
  }

  // Look from a side at all that is drawn, as near as it fits.
  look(name) {
    const toward = new THREE.Vector3(...VIEWS[name]).normalize(), { center } = this.#bounds();
    const right = new THREE.Vector3().crossVectors(this.camera.up, toward).normalize(), up = new THREE.Vector3().crossVectors(toward, right);
    const slope = Math.tan(FIELD_DEG * Math.PI / 360), at = new THREE.Vector3();
    let away = 1;
    for (let place = 0; place < this.cortex.places; place++) {
      if (!this.#isDrawn(place)) continue;
      at.fromArray(this.positions, place * 3).sub(center);
      away = Math.max(away, at.dot(toward) + MARGIN * Math.max(Math.abs(at.dot(up)), Math.abs(at.dot(right)) / this.camera.aspect) / slope);
    }
    this.controls.target.copy(center);
    this.camera.position.copy(toward.multiplyScalar(away + (this.ball ?? 0)).add(center));
    this.controls.update();
    this.draw();
  }

  #isDrawn(place) {
    return !this.cortex.onSurface || this.drawn[this.cortex.hemispheres.indexOf(this.cortex.hemisphereAt(place))].visible;
  }

  #bounds() {
    const visible = this.drawn.filter(object => object.visible).map(object => object.geometry.boundingSphere);
    const all = visible.length ? visible[0].clone() : this.drawn[0].geometry.boundingSphere.clone();
    for (const one of visible.slice(1)) all.union(one);
    return all;
  }

  // Turn so that a place faces the viewer.
  face(place) {
    const offset = this.camera.position.clone().sub(this.controls.target), away = offset.length();
    const outward = this.cortex.onSurface ? this.#vector(this.normals, place) : this.#vector(this.positions, place).sub(this.#bounds().center);
    if (outward.length() < 1e-6) return;
    outward.normalize();
    if (Math.abs(outward.z) > 0.98) outward.y -= 0.2;
    this.camera.position.copy(outward.normalize().multiplyScalar(away).add(this.controls.target));
    this.controls.update();
    this.draw();
  }

  turn(sideways, up) {
    const offset = this.camera.position.clone().sub(this.controls.target), axis = new THREE.Vector3(0, 0, 1);
    const across = new THREE.Vector3().crossVectors(axis, offset).normalize();
    const raised = offset.clone().applyAxisAngle(axis, sideways).applyAxisAngle(across.applyAxisAngle(axis, sideways), -up);
    if (Math.abs(raised.z) < 0.995 * raised.length()) offset.copy(raised);
    this.camera.position.copy(offset.add(this.controls.target));
    this.controls.update();
    this.draw();
  }

  zoom(factor) {
    this.camera.position.sub(this.controls.target).multiplyScalar(factor).add(this.controls.target);
    this.controls.update();
    this.draw();
  }

  getCamera() {
    return [...this.camera.position.toArray(), ...this.controls.target.toArray()].map(value => Number(value.toFixed(1)));
  }

  setCamera(values) {
    this.camera.position.fromArray(values);
    this.controls.target.fromArray(values, 3);
    this.controls.update();
    this.draw();
  }

  #vector(array, place) {
    return new THREE.Vector3(array[place * 3], array[place * 3 + 1], array[place * 3 + 2]);
  }

  // Where a place is on the canvas, in CSS pixels; `behind` where it faces away, is off the screen, or the other hemisphere is before it.
  project(place) {
    const at = this.#vector(this.positions, place), turned = this.cortex.onSurface && this.#isTurned(at, place);
    at.project(this.camera);
    const { clientWidth, clientHeight } = this.canvas;
    return { x: (at.x + 1) / 2 * clientWidth, y: (1 - at.y) / 2 * clientHeight, depth: at.z, behind: turned || Math.abs(at.x) > 1 || Math.abs(at.y) > 1 || at.z > 1 };
  }

  // Where the ends of the axes point on the screen: across, up, and toward the viewer, each from -1 to 1.
  directions() {
    const [right, up, toward] = [0, 1, 2].map(column => new THREE.Vector3().setFromMatrixColumn(this.camera.matrixWorld, column).toArray());
    return [0, 1, 2].flatMap(axis => [1, -1].map(sign => ({ axis, sign, across: sign * right[axis], up: sign * up[axis], toward: sign * toward[axis] })));
  }

  #isTurned(at, place) {
    const toward = this.camera.position.clone().sub(at).normalize();
    if (toward.dot(this.#vector(this.normals, place)) < 0.05) return true;
    const own = this.cortex.hemispheres.indexOf(this.cortex.hemisphereAt(place)), { ray } = new THREE.Raycaster(at, toward);
    return this.drawn.some((other, number) => number !== own && other.visible && ray.intersectsBox(other.geometry.boundingBox));
  }

  // The place under a point of the canvas, -1 where there is none.
  pick(x, y) {
    this.camera.updateMatrixWorld();
    return this.cortex.onSurface ? this.#pickVertex(x, y) : this.#pickPoint(x, y);
  }

  #pickVertex(x, y) {
    const caster = new THREE.Raycaster(), { clientWidth, clientHeight } = this.canvas;
    caster.setFromCamera(new THREE.Vector2(2 * x / clientWidth - 1, 1 - 2 * y / clientHeight), this.camera);
    const [hit] = caster.intersectObjects(this.drawn.filter(object => object.visible), false);
    if (!hit) return -1;
    const { start } = this.cortex.hemispheres[this.drawn.indexOf(hit.object)];
    const corners = [hit.face.a, hit.face.b, hit.face.c].map(corner => corner + start);
    const far = place => this.#vector(this.positions, place).distanceTo(hit.point);
    return corners.reduce((best, place) => far(place) < far(best) ? place : best);
  }

  #pickPoint(x, y) {
    let best = -1, nearest = Infinity;
    const scale = this.canvas.clientHeight / 2 / Math.tan(FIELD_DEG * Math.PI / 360);
    for (const place of this.shown ?? []) {
      const at = this.project(place);
      const radius = Math.max(5, this.ball / 2 * scale / this.camera.position.distanceTo(this.#vector(this.positions, place)));
      if (Math.hypot(at.x - x, at.y - y) <= radius && at.depth < nearest) [best, nearest] = [place, at.depth];
    }
    return best;
  }

  draw() {
    if (this.pending) return;
    this.pending = true;
    requestAnimationFrame(() => {
      this.pending = false;
      this.renderer.render(this.scene, this.camera);
      this.onDraw();
    });
  }
}
