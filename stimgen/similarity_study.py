"""The voxels of a model compared: predictions, and a sweep's images where there are some, in; one row per voxel and a summary out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from jaxtyping import Float, Int

from protocols.errors import InputError
from protocols.tables import Columns
from stimgen.encoding_model import EncodingModel, Readout
from stimgen.features import FeatureSpace
from stimgen.receptive_field import ReceptiveField, locate_field, map_readout
from stimgen.similarity import Nearest, find_nearest, profile_images, profile_readouts, relate_rois, share_own
from stimgen.sweep_reading import SweepReading
from stimgen.sweep_store import SweepStore
from stimgen.voxel_layout import Method, find_clusters, lay_out
from stimgen.voxel_maps import prefer_layers

By = Literal["readouts", "images"]
FEWEST_VOXELS = 3
FEWEST_IMAGES = 3
VOXELS_AT_ONCE = 1000  # whose readout maps are held together
COLUMNS: Columns = {
    "voxel_id": "text",
    "subject": "text",
    "roi": "text",
    "x": "number",
    "y": "number",
    "cluster": "integer",
    "silhouette": "optional number",
    "nearest_roi": "optional text",
    "nearest_roi_r": "optional number",
    "own_roi_r": "optional number",
    "rf_x": "optional number",
    "rf_y": "optional number",
    "rf_sd": "optional number",
    "preferred_layer": "text",
    "cv_r": "number",
    "test_r": "optional number",
    "noise_ceiling": "optional number",
    "sweep_predicted": "optional number",
    "sweep_judged": "optional number",
}
PLACES = ("hemisphere", "i", "j", "k", "x_mm", "y_mm", "z_mm")


@dataclass(frozen=True)
class Choices:
    """How voxels are compared."""

    by: By
    method: Method
    clusters: int | None
    """None: as many as have the highest silhouette."""
    seed: int


@dataclass(frozen=True)
class Study:
    """What came of it.

    Attributes
    ----------
    table
        One row per voxel (`COLUMNS`), and where it lies as far as the model knows (`PLACES`).
    relations
        Mean correlation of the profiles of the voxels of two ROIs, rois x rois.
    summary
        The numbers of `similarity.json`.
    """

    table: pd.DataFrame
    relations: pd.DataFrame
    summary: dict[str, Any]


def choose_voxels(model: EncodingModel, min_r: float) -> npt.NDArray[np.int64]:
    """Return the rows of the voxels whose cross-validated r is at least `min_r`."""
    return np.flatnonzero(model.voxels["cv_r"].to_numpy() >= min_r)


def check_count(rows: Int[np.ndarray, " voxels"], clusters: int | None, where: str) -> None:
    """Refuse fewer voxels than can be compared, or than clusters.

    Raises
    ------
    InputError
        Naming `where` the voxels come from.
    """
    if len(rows) < FEWEST_VOXELS:
        raise InputError(
            f"{where}: {len(rows)} voxel(s) to compare, at least {FEWEST_VOXELS} are needed; give a lower --min-r or more voxels"
        )
    if clusters is not None and clusters >= len(rows):
        raise InputError(f"--clusters {clusters}: {where} has {len(rows)} voxels to compare; ask for fewer clusters")


def compare_voxels(
    model: EncodingModel,
    features: Float[np.ndarray, "images features"],
    rows: Int[np.ndarray, " chosen"],
    choices: Choices,
    sweep: tuple[SweepStore, SweepReading] | None = None,
) -> Study:
    """Compare the voxels in `rows` (of a sweep: its targets, in their order) by their readouts or by the images made for them.

    `features` are those of the natural pool.

    Raises
    ------
    InputError
        When the model predicts NaN.
    """
    readout = model.readout.select(rows)
    if choices.by == "images" and sweep is not None:
        made = sweep[1]
        profiles = profile_images(made.responses, model.readout.select(made.seen_by).predict(features), made.target_of_image)
    else:
        profiles = profile_readouts(readout.predict(features))
    if not np.isfinite(profiles).all():
        raise InputError("the model predicts NaN or infinite responses; fit it again")
    voxels = model.voxels.iloc[rows].reset_index(drop=True)
    clusters = find_clusters(profiles, choices.clusters, choices.seed)
    layout = lay_out(profiles, choices.method, choices.seed)
    nearest = find_nearest(profiles, list(voxels["roi"]))
    fields = sweep[1].fields if sweep is not None else locate_by_readout(readout, features, model.space)
    table = voxels[["voxel_id", "subject", "roi"]].assign(
        x=layout[:, 0],
        y=layout[:, 1],
        cluster=clusters.numbers,
        silhouette=clusters.silhouette,
        **nearest.tabulate(),
        **_tabulate_fields(fields),
        preferred_layer=[model.space.layers[number].name for number in prefer_layers(readout, features, model.space)],
        **{name: voxels[name] for name in ("cv_r", "test_r", "noise_ceiling")},
        **_average_drive(sweep[0] if sweep else None, len(rows)),
        **{name: voxels[name] for name in PLACES if name in voxels.columns},
    )
    summary = {
        "voxels": len(rows),
        "natural_images": len(features),
        **_summarize_nearest(profiles, nearest, voxels),
        "clusters": _describe_clusters(table),
        "silhouette": _or_none(float(np.mean(clusters.silhouette))),
        "silhouettes_tried": {str(count): score for count, score in clusters.tried.items()},
        "adjusted_rand_with_rois": _compare_partitions(list(voxels["roi"]), clusters.numbers),
        "receptive_fields": "images" if sweep is not None else "readouts",
    }
    return Study(table, relate_rois(profiles, list(voxels["roi"])), summary)


def _summarize_nearest(profiles: Float[np.ndarray, "voxels columns"], nearest: Nearest, voxels: pd.DataFrame) -> dict[str, Any]:
    """Return the share of voxels that are nearest to their own ROI: of all, by ROI, and by other subjects' voxels alone."""
    rois, subjects = list(voxels["roi"]), list(voxels["subject"])
    apart = find_nearest(profiles, rois, subjects) if len(set(subjects)) > 1 else None
    return {
        "own_roi_share": share_own(nearest, rois),
        "own_roi_share_by_roi": {roi: share_own(nearest, rois, roi) for roi in dict.fromkeys(rois)},
        "own_roi_share_other_subjects": None if apart is None else share_own(apart, rois),
    }


def locate_by_readout(readout: Readout, features: Float[np.ndarray, "images features"], space: FeatureSpace) -> list[ReceptiveField | None]:
    """Return each voxel's receptive field by its readout, a thousand voxels at a time."""
    fields: list[ReceptiveField | None] = []
    for start in range(0, readout.coefficients.shape[1], VOXELS_AT_ONCE):
        some = np.arange(start, min(start + VOXELS_AT_ONCE, readout.coefficients.shape[1]))
        fields += [locate_field(carried) for carried in map_readout(readout.select(some), features, space.layers)]
    return fields


def _tabulate_fields(fields: Sequence[ReceptiveField | None]) -> dict[str, list[float]]:
    return {f"rf_{name}": [np.nan if field is None else getattr(field, name) for field in fields] for name in ("x", "y", "sd")}


def _average_drive(store: SweepStore | None, count: int) -> dict[str, npt.NDArray[np.float64]]:
    """Return the mean predicted and judged drive of each target's images; NaN without a sweep or a judge."""
    drive = {}
    for name in ("predicted", "judged"):
        values = np.full(count, np.nan)
        if store is not None:
            values = store.images.groupby("target_id")[name].mean().reindex(store.targets["target_id"]).to_numpy(dtype=np.float64)
        drive[f"sweep_{name}"] = values
    return drive


def _describe_clusters(table: pd.DataFrame) -> list[dict[str, Any]]:
    described = []
    for number in range(1, int(table["cluster"].max()) + 1):
        rows = table[table["cluster"] == number]
        rois = {str(roi): int(count) for roi, count in rows["roi"].value_counts().items()}
        described.append({"cluster": number, "voxels": len(rows), "silhouette": _or_none(float(rows["silhouette"].mean())), "rois": rois})
    return described


def _compare_partitions(rois: Sequence[str], numbers: npt.NDArray[np.int64]) -> float:
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(list(rois), numbers))


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else value
