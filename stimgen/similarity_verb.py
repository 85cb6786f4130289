"""The verb `similarity`: a model, and at will a sweep of it, in; voxels laid out and clustered by how alike they are, and maps, out."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.table import Table

from protocols.errors import InputError
from protocols.output_folder import refuse_non_empty, staged_folder
from protocols.provenance import Provenance, hash_input
from protocols.tables import write_text, write_tsv
from stimgen.console import CacheOption, NoCacheOption, cache_folder, count_progress, extract_images, open_cache, table_console

if TYPE_CHECKING:
    import numpy as np

    from stimgen.encoding_model import EncodingModel
    from stimgen.export_maps import Space
    from stimgen.similarity_study import Study
    from stimgen.sweep_reading import SweepReading
    from stimgen.sweep_store import SweepStore

FORMAT_VERSION = 1
DECIMALS = 4
AUTO = "auto"


def similarity(
    model: Annotated[Path, typer.Option(help="Model folder.")],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    sweep: Annotated[
        Path | None, typer.Option(help="A sweep of this model: its voxels are compared, and its images say where they look.")
    ] = None,
    by: Annotated[
        Literal["readouts", "images"], typer.Option(help="What is compared: predicted responses to natural images, or the sweep's images.")
    ] = "readouts",
    method: Annotated[Literal["pca", "tsne"], typer.Option(help="How voxels are laid out on a plane.")] = "tsne",
    clusters: Annotated[str, typer.Option(help="Number of clusters, or auto: that of the highest silhouette.")] = AUTO,
    min_r: Annotated[float, typer.Option(max=1, help="Least cross-validated r of a voxel; with a sweep its own.")] = 0.1,
    pool: Annotated[
        Path | None, typer.Option(help="Natural images that responses are predicted for; crops of public photographs otherwise.")
    ] = None,
    reference: Annotated[Path | None, typer.Option(help="NIfTI image of the grid that the voxels' i j k index, for the maps.")] = None,
    vertices: Annotated[
        int | None, typer.Option(min=1, help="Vertices of a hemisphere, for maps on a surface; the smallest fsaverage that fits otherwise.")
    ] = None,
    no_maps: Annotated[bool, typer.Option("--no-maps", help="Write no NIfTI and GIFTI maps.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of layout and clusters.")] = 1,
    weights: Annotated[Path | None, typer.Option(help="Weights file of the backbone; its own otherwise.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    cache: CacheOption = None,
    no_cache: NoCacheOption = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace this command's files in OUT.")] = False,
) -> None:
    """Lay voxels out by how alike their readouts (or the images made for them) are, cluster them, and map every number.

    Two voxels are alike where their predicted responses to natural images correlate.
    Example: stimgen similarity --model models/lite0 --sweep sweeps/lite0 --pool pool/ --out out/similarity
    """
    from stimgen.backbone import choose_device
    from stimgen.default_pool import find_default_pool
    from stimgen.encoding_model import EncodingModel
    from stimgen.export_maps import find_spaces
    from stimgen.similarity_study import Choices, check_count, choose_voxels, compare_voxels
    from stimgen.sweep_reading import find_rows
    from stimgen.sweep_store import SweepStore

    choices = Choices(by, method, _read_count(clusters), seed)
    if by == "images" and sweep is None:
        raise InputError("--by images compares the images of a sweep; give it with --sweep, or leave --by out")
    refuse_non_empty(out, overwrite)
    store = SweepStore.read(sweep) if sweep else None
    loaded = EncodingModel.read(model, weights, choose_device(device))
    rows = find_rows(store, loaded, hash_input(model)) if store else choose_voxels(loaded, min_r)
    check_count(rows, choices.clusters, str(sweep or model))
    spaces = {} if no_maps else find_spaces(loaded.voxels.iloc[rows], f"{model}/voxels.tsv", reference, vertices)
    natural = pool or find_default_pool(cache_folder(cache))
    features = _read_pool(loaded, natural, cache, no_cache)
    read = (store, _read_images(store, loaded, rows)) if store else None
    study = compare_voxels(loaded, features, rows, choices, read)
    inputs = {"model": model, "pool": natural} | {name: path for name, path in (("sweep", sweep), ("reference", reference)) if path}
    settings = {"by": by, "method": method, "clusters": clusters, "min_r": min_r, "vertices": vertices}
    with staged_folder(out, Provenance.collect("stimgen similarity", settings, inputs, {"seed": seed}), overwrite) as folder:
        _write(study, choices, spaces, folder)
    _print_rois(study)
    for subject, space in spaces.items():
        typer.echo(f"maps of sub-{subject}: {space.describe()}")
    typer.echo(f"wrote {out}: {len(rows)} voxels in {len(study.summary['clusters'])} clusters; {_tell_share(study.summary)}")


def _read_count(clusters: str) -> int | None:
    if clusters == AUTO:
        return None
    if not clusters.isascii() or not clusters.isdigit() or int(clusters) < 1:
        raise InputError(f"--clusters {clusters!r}: is no whole number from 1; give one, or {AUTO}")
    return int(clusters)


def _read_pool(model: "EncodingModel", folder: Path, cache: Path | None, no_cache: bool) -> "np.ndarray":
    """Return the features of the natural pool; refuse one of too few images to correlate over."""
    from stimgen.pool import NaturalPool
    from stimgen.similarity_study import FEWEST_IMAGES

    paths = NaturalPool.read(folder).image_paths()
    if len(paths) < FEWEST_IMAGES:
        raise InputError(f"{folder}: {len(paths)} image(s), too few to correlate responses over; give a --pool of {FEWEST_IMAGES} or more")
    return extract_images(model.space, paths, open_cache(cache, no_cache))


def _read_images(store: "SweepStore", model: "EncodingModel", rows: "np.ndarray") -> "SweepReading":
    """Read a sweep's images with a progress bar."""
    from stimgen.sweep_reading import read_sweep

    with count_progress("where images carry their drive", len(store.images)) as on_images:
        return read_sweep(store, model, rows, on_images)


def _write(study: "Study", choices: Any, spaces: "dict[str, Space]", folder: Path) -> None:
    """Write the table, the numbers, the picture and the maps."""
    from stimgen.export_maps import write_maps
    from stimgen.similarity_plot import draw_similarity
    from stimgen.similarity_study import PLACES

    write_tsv(study.table.round(DECIMALS), folder / "voxels.tsv")
    maps = {f"sub-{subject}": space.describe() for subject, space in spaces.items()}
    card = {
        "format_version": FORMAT_VERSION,
        "by": choices.by,
        "method": choices.method,
        "seed": choices.seed,
        **study.summary,
        "maps": maps,
    }
    write_text(json.dumps(card, indent=2) + "\n", folder / "similarity.json")
    compared = "the images made for them" if choices.by == "images" else "predicted responses to natural images"
    title = f"{len(study.table)} voxels by {compared}; {_tell_share(study.summary)}"
    draw_similarity(study.table, study.relations, choices.method, title, folder / "similarity.png")
    if spaces:
        shown = [name for name in study.table.columns if name not in ("voxel_id", *PLACES)]
        table = study.table[shown].dropna(axis="columns", how="all").assign(cluster=study.table["cluster"].astype(str))  # a label
        write_maps(table, spaces, folder / "maps")


def _print_rois(study: "Study") -> None:
    """Print how alike the voxels of each ROI are, and how many are nearest to their own ROI."""
    table = Table(title="how many voxels are nearest to their own ROI")
    for heading in ("ROI", "voxels", "nearest to their own", "r with its mean", "clusters"):
        table.add_column(heading, justify="left" if heading == "ROI" else "right")
    for roi, rows in study.table.groupby("roi", sort=False):
        share = study.summary["own_roi_share_by_roi"][roi]
        own = rows["own_roi_r"].median()
        in_clusters = ", ".join(f"{number}: {count}" for number, count in rows["cluster"].value_counts().sort_index().items())
        table.add_row(str(roi), str(len(rows)), _show(share, "{:.0%}"), _show(own, "{:.2f}"), in_clusters)
    table_console().print(table)


def _tell_share(summary: dict[str, Any]) -> str:
    share = summary["own_roi_share"]
    return "no ROI has two of them" if share is None else f"{share:.0%} are nearest to their own ROI"


def _show(value: float | None, pattern: str) -> str:
    return "n/a" if value is None or math.isnan(value) else pattern.format(value)
