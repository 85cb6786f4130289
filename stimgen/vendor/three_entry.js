// What the page of the cortex uses of three.js; esbuild bundles it into three.min.js (README.md).
export {
  AmbientLight, BufferAttribute, BufferGeometry, CanvasTexture, DirectionalLight, LinearSRGBColorSpace, Mesh, MeshLambertMaterial, PerspectiveCamera, Points, PointsMaterial,
  Raycaster, Scene, Vector2, Vector3, WebGLRenderer,
} from "three";
export { OrbitControls } from "three/addons/controls/OrbitControls.js";
export { LineMaterial } from "three/addons/lines/LineMaterial.js";
export { LineSegments2 } from "three/addons/lines/LineSegments2.js";
export { LineSegmentsGeometry } from "three/addons/lines/LineSegmentsGeometry.js";
