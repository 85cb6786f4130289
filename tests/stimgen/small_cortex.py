"""What a page of a cortex is made from, without networks: meshes of a few vertices, a tiny model of their voxels, a sweep, a pool."""

import hashlib
import io

import numpy as np
import pandas as pd
from PIL import Image
from scipy.spatial import ConvexHull

from protocols.provenance import Provenance
from protocols.stimulus_set import StimulusSet
from stimgen.pool import NaturalPool
from stimgen.surface_files import read_surfaces
from stimgen.sweep_store import SHARDS, SweepStore, write_shard
from stimgen.view_cortex import Given
from tests.stimgen.tiny import make_tiny_model

SIZES = {"L": 60, "R": 50}  # vertices
ROIS = ("V1", "FFA", "none")


def write_gifti(arrays, path):
    """Write arrays as one GIFTI file: points of three coordinates, triangles, or data."""
    from nibabel.gifti import GiftiDataArray, GiftiImage

    image = GiftiImage()
    for array in arrays:
        mesh = {"f": "NIFTI_INTENT_POINTSET", "i": "NIFTI_INTENT_TRIANGLE"}[array.dtype.kind]
        intent = mesh if array.ndim == 2 else "NIFTI_INTENT_SHAPE"
        kind = "NIFTI_TYPE_FLOAT32" if array.dtype.kind == "f" else "NIFTI_TYPE_INT32"
        image.add_gifti_data_array(GiftiDataArray(array, intent=intent, datatype=kind))
    path.write_bytes(image.to_bytes())


def make_sphere(vertices, radius=40.0):
    """Return points spread over a sphere and the triangles between them, their corners counterclockwise from outside."""
    index = np.arange(vertices) + 0.5
    polar, around = np.arccos(1 - 2 * index / vertices), np.pi * (1 + 5**0.5) * index
    points = np.stack([np.cos(around) * np.sin(polar), np.sin(around) * np.sin(polar), np.cos(polar)], axis=1)
    triangles = ConvexHull(points).simplices
    a, b, c = (points[triangles[:, corner]] for corner in range(3))
    inward = (np.cross(b - a, c - a) * a).sum(axis=1) < 0
    triangles[inward] = triangles[inward][:, ::-1]
    return (radius * points).astype(np.float32), triangles.astype(np.int32)


def write_surfaces(folder, sizes=None, prefix=""):
    """Write two hemispheres side by side: spheres; `inflated` ones lie within one another, as FreeSurfer's do."""
    folder.mkdir(parents=True)
    for name, vertices in (sizes or SIZES).items():
        points, triangles = make_sphere(vertices)
        apart = np.array([-45 if name == "L" else 45, 0, 0], dtype=np.float32)
        write_gifti([points, triangles], folder / f"{prefix}hemi-{name}_inflated.surf.gii")
        write_gifti([0.9 * points + apart, triangles], folder / f"{prefix}hemi-{name}_pial.surf.gii")
        write_gifti([points[:, 0].copy()], folder / f"{prefix}hemi-{name}_sulc.shape.gii")
    return folder


def make_vertices(counts=None, subject="01", roi_of=None):
    """Return a model's table of vertices: the first of each hemisphere, the rest of it has no voxel."""
    counts = counts or {"L": 36, "R": 30}
    rows = [(name, vertex) for name, count in counts.items() for vertex in range(count)]
    choose = roi_of or (lambda vertex: ROIS[vertex // 6 % 3])
    rois = [choose(vertex) for _, vertex in rows]
    rng = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "voxel_id": [f"{subject}_{name}{vertex:05d}" for name, vertex in rows],
            "subject": subject,
            "roi": rois,
            "cv_r": rng.uniform(0.05, 0.8, len(rows)),
            "test_r": rng.uniform(0.0, 0.8, len(rows)),
            "noise_ceiling": np.where(rng.uniform(size=len(rows)) < 0.1, np.nan, 0.9),
            "hemisphere": [name for name, _ in rows],
            "i": [vertex for _, vertex in rows],
            "j": 0,
            "k": 0,
        }
    )


def make_points(count=40, subject="01"):
    """Return a model's table of voxels on a lattice of 4 mm."""
    index = np.arange(count)
    x, y, z = (4.0 * values for values in (index % 4 - 2, index // 4 % 4, index // 16))
    table = make_vertices({"L": count}, subject)
    return table.assign(hemisphere=np.where(x < 0, "L", "R"), i=x / 4, j=y / 4, k=z / 4, x_mm=x, y_mm=y, z_mm=z).astype(
        {"i": int, "j": int, "k": int}
    )


def draw_png(rng, side=24):
    """Return the bytes of a PNG: smooth noise in color."""
    small = Image.fromarray(rng.integers(0, 256, (max(2, side // 8), max(2, side // 8), 3), dtype=np.uint8))
    stream = io.BytesIO()
    small.resize((side, side), Image.Resampling.BICUBIC).save(stream, "PNG")
    return stream.getvalue()


def write_sweep(folder, targets, each=1, side=24, per_shard=4, card=None):
    """Write a sweep of `each` images for every row of `targets` (of a model's table)."""
    (folder / SHARDS).mkdir(parents=True)
    rng, rows, shards = np.random.default_rng(2), [], {}
    for place, target in enumerate(targets["voxel_id"]):
        shard = f"{place // per_shard:04d}.zip"
        for number in range(each):
            png, image_id = draw_png(rng, side), f"{target}_{number}"
            shards.setdefault(shard, {})[image_id] = png
            sha256, drives = hashlib.sha256(png).hexdigest(), (float(rng.uniform(3, 6)), float(rng.uniform(1, 4)))
            rows.append((image_id, target, number, None, shard, sha256, *drives))
    for name, images in shards.items():
        write_shard(images, folder / SHARDS / name)
    columns = ["image_id", "target_id", "seed", "start", "shard", "sha256", "predicted", "judged"]
    listed = targets.assign(target_id=targets["voxel_id"], layer="first")
    SweepStore(folder, listed, pd.DataFrame(rows, columns=columns), card or {}).write(folder)
    Provenance.collect("stimgen sweep", {}, {}).write(folder)
    return SweepStore.read(folder)


def write_pool(folder, count=14, side=24):
    """Write a pool of natural images."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(3)
    for number in range(count):
        (folder / f"n{number:03d}.png").write_bytes(draw_png(rng, side))
    return NaturalPool.read(folder)


def make_given(root, voxels=None, surfaces=True, every=3, each=1, stimuli: StimulusSet | None = None):
    """Return all of it: images for every `every`th voxel; a cloud of voxels without `surfaces`."""
    table = voxels if voxels is not None else make_vertices() if surfaces else make_points()
    model = make_tiny_model(voxels=table)
    store = write_sweep(root / "sweep", table.iloc[::every], each)
    meshes = read_surfaces(write_surfaces(root / "surfaces")) if surfaces else None
    return Given("tiny", model, store, write_pool(root / "pool"), meshes, stimuli)
