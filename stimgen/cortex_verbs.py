"""The verb `cortex`: a folder of images in, a planted brain's responses folder out."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import pandas as pd
import typer

from protocols.config import config_values, parse_config, read_config
from protocols.errors import InputError
from protocols.output_folder import refuse_non_empty, staged_folder
from protocols.provenance import FILE_NAME, Provenance
from protocols.responses import Responses
from protocols.stimulus_set import TABLE, StimulusSet
from stimgen.pool import NaturalPool

if TYPE_CHECKING:
    from stimgen.cortex import Cortex, PlantedRoi


def cortex(
    images: Annotated[Path, typer.Argument(help="Folder of images, natural pool, or stimulus set.")],
    out: Annotated[Path, typer.Option(help="Responses folder to write; with several subjects, one folder OUT/sub-LABEL each.")],
    config: Annotated[Path | None, typer.Option(help="Cortex TOML; defaults otherwise.")] = None,
    subject: Annotated[
        list[str] | None, typer.Option(help="Subject label (01 if absent); each has its own brain; repeat for more.")
    ] = None,
    reference: Annotated[Path | None, typer.Option(help="Natural images that z units refer to; IMAGES otherwise.")] = None,
    tuning_seed: Annotated[int | None, typer.Option(min=0, help="Overrides the configuration's tuning_seed.")] = None,
    noise_free: Annotated[bool, typer.Option("--noise-free", help="True responses: one trial per image, no noise.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace this command's files in OUT.")] = False,
) -> None:
    """Plant a brain and show it images: simulated single-trial responses with known truth.

    Example: stimgen cortex photos/ --subject 01 --subject 02 --out responses/
    """
    subjects = subject or ["01"]
    folders = {label: out if len(subjects) == 1 else out / f"sub-{label}" for label in subjects}
    for folder in folders.values():
        refuse_non_empty(folder, overwrite)
    settings = _resolve(config, tuning_seed, noise_free)
    shown = read_shown_images(images)
    true = _respond(settings, list(folders), shown, read_shown_images(reference) if reference else shown)
    inputs = {"images": images, **({"reference": reference} if reference else {})}
    for label, folder in folders.items():
        recorded = {**config_values(settings), "subject": label}
        provenance = Provenance.collect("stimgen cortex", recorded, inputs, {"tuning_seed": settings.tuning_seed})
        with staged_folder(folder, provenance, overwrite) as staging:
            trials = _write_responses(settings, label, shown, true[label], staging)
        typer.echo(f"wrote {folder}: {trials} trials of {len(shown)} images in {true[label].shape[1]} voxels of {len(settings.rois)} ROIs")


def _write_responses(settings: "Cortex", subject: str, shown: pd.DataFrame, true: np.ndarray, folder: Path) -> int:
    """Add noise and write one subject's responses with a copy of every image; return the number of trials."""
    from stimgen.cortex import add_noise

    betas, index = add_noise(true, settings, subject)
    passes = np.repeat(np.arange(settings.repeats), len(shown))
    trials = pd.DataFrame({"stim_id": shown["stim_id"].to_numpy()[index], "session": "01", "run": passes + 1})
    files = [f"images/{stim_id}{Path(path).suffix.lower()}" for stim_id, path in zip(shown["stim_id"], shown["path"], strict=True)]
    (folder / "images").mkdir()
    for path, name in zip(shown["path"], files, strict=True):
        shutil.copyfile(path, folder / name)
    listed = shown.drop(columns="path").assign(image_file=files)
    Responses(folder, trials, betas, _tabulate_voxels(settings), listed).write(folder)
    return len(trials)


def _resolve(config: Path | None, tuning_seed: int | None, noise_free: bool) -> "Cortex":
    from stimgen.cortex import Cortex

    settings = read_config(config, Cortex) if config else Cortex()
    changes = {} if tuning_seed is None else {"tuning_seed": tuning_seed}
    if noise_free:
        changes.update({"noise_sd": 0, "repeats": 1})
    return parse_config({**config_values(settings), **changes}, Cortex, "cortex")


def read_shown_images(folder: Path) -> pd.DataFrame:
    """Return `stim_id path source` of every image in a stimulus set, a natural pool or a plain folder of images."""
    if (folder / TABLE).is_file() and (folder / FILE_NAME).is_file():
        stimulus_set = StimulusSet.read(folder)
        stimulus_set.verify()
        ids = stimulus_set.table["stim_id"]
        return pd.DataFrame({"stim_id": ids, "path": [stimulus_set.image_path(stim_id) for stim_id in ids], "source": ids})
    pool = NaturalPool.read(folder)
    return pd.DataFrame({"stim_id": pool.table["stim_id"], "path": pool.image_paths(), "source": pool.table["source"]})


def _respond(settings: "Cortex", subjects: list[str], shown: pd.DataFrame, standard: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return each subject's true responses, images x voxels, one block of columns per ROI."""
    from stimgen.planted import pool_files, respond_all

    if len(standard) < 2:
        raise InputError(f"{standard['path'].iloc[0]}: z units need at least 2 reference images; give --reference with more")
    same = shown["path"].tolist() == standard["path"].tolist()
    reference = pool_files(settings, subjects, standard["path"].tolist())
    pooled = reference if same else pool_files(settings, subjects, shown["path"].tolist())
    return {subject: respond_all(settings, subject, reference[subject], pooled[subject]) for subject in subjects}


def _tabulate_voxels(settings: "Cortex") -> pd.DataFrame:
    from stimgen.cortex import place_voxels

    placed = place_voxels(settings)
    tables = [_tabulate_roi(roi, millimeters) for roi, millimeters in zip(settings.rois, placed, strict=True)]
    return pd.concat(tables, ignore_index=True)


def _tabulate_roi(roi: "PlantedRoi", millimeters: np.ndarray) -> pd.DataFrame:
    ids = [f"{roi.name}{number + 1:03d}" for number in range(len(millimeters))]
    x, y, z = millimeters.T
    i, j, k = np.round(millimeters.T / 4).astype(int)
    hemisphere = np.where(x < 0, "L", "R")
    columns = {
        "voxel_id": ids,
        "roi": roi.name,
        "hemisphere": hemisphere,
        "i": i,
        "j": j,
        "k": k,
        "x_mm": x,
        "y_mm": y,
        "z_mm": z,
        "layer": roi.layer,
    }
    return pd.DataFrame(columns)
