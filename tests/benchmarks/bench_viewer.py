"""The page of a cortex at full size, opened and clicked in a headless browser with software graphics.

20,484 vertices of fsaverage5, an image for 2,000 of them and 420 natural images: seconds until the page has drawn, milliseconds from a
click to the image on the screen, megabytes of the folder, errors on the console. Nothing of it is a test: times depend on the machine.

    python -m tests.benchmarks.bench_viewer [--keep out/viewer]
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.template_meshes import write_meshes
from protocols.tables import read_tsv
from stimgen.pool import find_public_photographs, write_crops
from stimgen.surface_files import Surfaces, read_surfaces
from stimgen.view_cortex import Given, write_cortex
from tests.stimgen.browser import SOFTWARE_GRAPHICS, start_browser, watch
from tests.stimgen.small_cortex import write_sweep
from tests.stimgen.tiny import make_tiny_model

IMAGES, CLICKS, REACH_MM, SIDE_PX = 2000, 30, 15, 256
ROOT = Path(__file__).resolve().parents[2]
WATCH = """
window.waited = [];
document.getElementById("canvas").addEventListener("pointerup", () => {
  const pressed = performance.now(), before = document.querySelector("h2").textContent;
  const look = () => {
    const image = document.querySelector(".own img");
    const same = document.querySelector("h2").textContent === before;
    if (same || !image) { if (performance.now() - pressed < 3000) setTimeout(look, 1); return; }
    image.decode().then(() => requestAnimationFrame(() => requestAnimationFrame(() => window.waited.push(performance.now() - pressed))));
  };
  setTimeout(look, 0);
}, true);
"""


AIM = """
id => {
  const place = cortex.placeOf[cortex.index.get(id)];
  bringIntoView(place);
  scene.camera.updateMatrixWorld();
  const at = scene.project(place);
  return { ...at, free: scene.pick(at.x, at.y) === place };
}
"""


def tabulate_vertices(surfaces: Surfaces) -> pd.DataFrame:
    """Return a voxel for every vertex: regions around the peaks of data/roi_peaks.tsv, accuracy highest there."""
    peaks = read_tsv(ROOT / "data" / "roi_peaks.tsv", {"x_mm": "number", "y_mm": "number", "z_mm": "number"})
    tables = []
    for one in surfaces.hemispheres:
        here = peaks[peaks["hemisphere"] == one.name]
        far = np.linalg.norm(one.positions["pial"][:, None] - here[["x_mm", "y_mm", "z_mm"]].to_numpy()[None], axis=2)
        rois = np.where(far.min(axis=1) < REACH_MM, here["roi"].to_numpy()[far.argmin(axis=1)], "none")
        ids = [f"01_{one.name}{vertex:05d}" for vertex in range(one.vertices)]
        accuracy = 0.7 * np.exp(-((far.min(axis=1) / 40) ** 2))
        columns = {"voxel_id": ids, "subject": "01", "roi": rois, "cv_r": accuracy, "test_r": 0.9 * accuracy, "noise_ceiling": 0.8}
        tables.append(pd.DataFrame({**columns, "hemisphere": one.name, "i": range(one.vertices), "j": 0, "k": 0}))
    return pd.concat(tables, ignore_index=True)


def make_given(root: Path) -> Given:
    """Return all that a page at full size is made from."""
    for name in ("surfaces", "pool"):
        (root / name).mkdir()
    write_meshes(root / "surfaces")
    surfaces = read_surfaces(root / "surfaces")
    voxels = tabulate_vertices(surfaces)
    best = voxels["cv_r"].nlargest(IMAGES).index
    pool = write_crops(find_public_photographs(), 420, 256, np.random.default_rng(1), root / "pool")
    store = write_sweep(root / "sweep", voxels.loc[sorted(best)], side=SIDE_PX, per_shard=100)
    return Given("bench", make_tiny_model(voxels=voxels), store, pool, surfaces)


def drive(page_folder: Path, targets: list[str]) -> tuple[float, list[float], list[str]]:
    """Open the page and click at places that have an image; return seconds to open, milliseconds of each click, complaints."""
    with start_browser(*SOFTWARE_GRAPHICS) as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        wrong = watch(page)
        began = time.perf_counter()
        page.goto((page_folder / "index.html").as_uri())
        page.wait_for_function("document.documentElement.dataset.ready && scene.renderer.info.render.frame > 0")
        opened = time.perf_counter() - began
        page.evaluate(WATCH)
        rng = np.random.default_rng(0)
        clicks: list[float] = []
        box = page.locator("#canvas").bounding_box()
        assert box is not None
        for target in rng.choice(targets, CLICKS, replace=False).tolist():
            at = page.evaluate(AIM, target)
            if not at["free"]:  # another part of the cortex lies before it
                continue
            page.wait_for_timeout(500)  # what the turned camera shows is drawn
            page.mouse.click(box["x"] + at["x"], box["y"] + at["y"])
            page.wait_for_timeout(500)
            clicks = page.evaluate("waited")
    return opened, clicks, wrong


def main() -> None:
    """Make the page and print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, help="Folder that keeps the page.")
    kept = parser.parse_args().keep
    with tempfile.TemporaryDirectory() as scratch:
        root = kept or Path(scratch)
        root.mkdir(parents=True, exist_ok=True)
        given, page = make_given(root), root / "page"
        began = time.perf_counter()
        page.mkdir()
        view = write_cortex(given, None, page)
        made = time.perf_counter() - began
        megabytes = sum(file.stat().st_size for file in page.rglob("*") if file.is_file()) / 1e6
        opened, clicks, wrong = drive(page, list(given.store.targets["target_id"]))
    print(f"{len(view.voxels)} vertices, {len(view.images)} images of {SIDE_PX} px, {len(view.natural)} natural: made in {made:.0f} s")
    print(f"folder {megabytes:.1f} MB; open and drawn after {opened:.2f} s")
    print(f"click to image, {len(clicks)} of {CLICKS} clicks: median {np.median(clicks):.0f} ms, longest {max(clicks):.0f} ms")
    print(f"complaints on the console and requests beyond the disk: {len(wrong)} {wrong[:3]}")


if __name__ == "__main__":
    main()
