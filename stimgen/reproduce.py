"""An image of a set made again from its row: the recipe from the set's provenance, the job from the row's target and seed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from protocols.config import parse_config
from protocols.errors import InputError
from protocols.provenance import FILE_NAME, Provenance, describe_code, hash_input, list_versions
from protocols.stimulus_set import StimulusSet
from stimgen.assemble import Picture
from stimgen.image_files import read_image
from stimgen.made_controls import COPIED, copy_targets, plan_control
from stimgen.make import Job, Made, Studio, make_images, match_photographs, plan_jobs, round_levels
from stimgen.natural_controls import METHODS
from stimgen.open_studio import OpenStudio
from stimgen.order import SHAM, TARGET, TargetsFile
from stimgen.sham import make_shams
from stimgen.sources import Sources, find_order, find_sources

COMMAND = "stimgen generate"
RECIPES = "provenance"  # folder of a set that was put together of others, with their recipes
Image = Float[np.ndarray, "height width 3"]
Row = Mapping[Any, Any]


@dataclass(frozen=True)
class Recipe:
    """How a set was made: the order, where its inputs lie, and what was recorded of both."""

    order: TargetsFile
    sources: Sources
    provenance: Provenance


def find_recipe(stimulus_set: StimulusSet, row: Row) -> Recipe:
    """Return the recipe of an image's row: the set's own, or that of the set which the image was taken from.

    Raises
    ------
    InputError
        When no recipe lists the image as it is now, or the recipe does not tell where its inputs lie.
    """
    folder = stimulus_set.folder
    recorded = [Provenance.read(folder), *(Provenance.read_file(path) for path in sorted((folder / RECIPES).glob("*.json")))]
    made = [one for one in recorded if one.command == COMMAND and one.outputs.get(row["stim_file"]) == row["sha256"]]
    if not made:
        raise InputError(
            f"{folder}: no provenance tells how {row['stim_id']} was made; only images of 'stimgen generate' can be made again"
        )
    settings = dict(made[0].config)
    if "sources" not in settings:
        raise InputError(f"{folder}: was made by an earlier version, which recorded no places of models and pool; generate it anew")
    sources = find_sources(parse_config(settings.pop("sources"), Sources, str(folder / FILE_NAME)), folder)
    return Recipe(find_order(parse_config(settings, TargetsFile, str(folder / FILE_NAME)), folder), sources, made[0])


def check_inputs(recipe: Recipe) -> None:
    """Refuse inputs that are not what the set was made from.

    Raises
    ------
    InputError
        Naming the first input that is missing or has changed, and the option that gives its place.
    """
    options = {"pool": "--pool", "model": "--model", "judge": "--judge", "validator": "--validate"}
    for name, path in recipe.sources.name_inputs(recipe.order).items():
        kind = " ".join(name.split(" ")[:2])
        expected = next((sha for known, sha in recipe.provenance.inputs.items() if known == name or known.startswith(f"{kind} ")), None)
        option = options.get(name.split(" ")[0])
        advice = f"give its place with {option}" if option else "put it back where it was"
        if not path.exists():
            raise InputError(f"{path}: the set's {name} is not there any more; {advice}")
        if hash_input(path) != expected:
            raise InputError(f"{path}: is not the {name} that the set was made from (its sha256 differs); {advice}")


def list_other_versions(provenance: Provenance) -> list[str]:
    """Return what the set was made with in another version than is installed here."""
    here = {"voxdrive": describe_code(), **list_versions()}
    then = {"voxdrive": provenance.code_version, **provenance.packages}
    return [f"{name} {then[name]} (here {here.get(name, 'none')})" for name in then if then[name] != here.get(name)]


def reproduce(
    stimulus_set: StimulusSet, rows: Sequence[Row], opened: OpenStudio, seeds: Mapping[str, int], on_step: Callable[[int], None]
) -> dict[str, Image]:
    """Make the images of some rows of one recipe again, by stim_id; in whole 8-bit levels, 0-1.

    `seeds` are those that the recipe recorded: they tell which images were kept, and so which controls were climbed together.
    """
    table: dict[str, Row] = {row["stim_id"]: row for row in stimulus_set.table.to_dict("records")}
    planned = plan_jobs(opened.studio, opened.wanted)
    kept = [job for job in planned if job.seed in seeds.values()]
    remade: dict[str, Image] = {}
    for kind in dict.fromkeys(row["condition"] for row in rows):
        own = [row for row in rows if row["condition"] == kind]
        targets = [row if kind == TARGET else table.get(row["control_of"], {}) for row in own]
        if kind == TARGET:
            images = _climb((opened.studio, planned), targets, on_step)
        elif own[0]["method"] in METHODS.values():
            images = _photograph(opened.studio, own)
        elif kind in COPIED:
            pictures = [_as_picture(stimulus_set, row) for row in targets]
            images = [picture.image for picture in copy_targets(kind, opened.studio, pictures)]
        elif kind == SHAM:
            images = _sham(stimulus_set, opened.studio, kept, targets, on_step)
        else:
            images = _climb(plan_control(kind, opened.studio, opened.wanted, kept), own, on_step)
        remade |= {row["stim_id"]: round_levels(image) for row, image in zip(own, images, strict=True)}
    return remade


def _climb(plan: tuple[Studio, list[Job]], rows: Sequence[Row], on_step: Callable[[int], None]) -> list[Image]:
    """Climb the jobs of rows, with all that they were climbed with."""
    studio, planned = plan
    return [one.image for one in make_images(studio, planned, on_step, [_find_job(row, planned) for row in rows])]


def _sham(
    stimulus_set: StimulusSet, studio: Studio, kept: Sequence[Job], targets: Sequence[Row], on_step: Callable[[int], None]
) -> list[Image]:
    """Make all shams of the set and return those of some target images."""
    rows: dict[int, Row] = {int(float(row["seed"])): row for row in stimulus_set.table.to_dict("records") if row["condition"] == TARGET}
    made = [Made(job, _read_saved(stimulus_set, rows[job.seed]), 0, False) for job in kept if job.seed in rows]
    shams = {rows[one.job.seed]["stim_id"]: one.image for one in make_shams(studio, made, on_step)}
    return [shams[row["stim_id"]] for row in targets]


def _find_job(row: Row, planned: Sequence[Job]) -> Job:
    label, seed = row["target"], int(float(row["seed"]))
    found = next((job for job in planned if job.wanted.label == label and job.seed == seed), None)
    if found is None:
        raise InputError(f"{row['stim_id']}: the recipe has no image of target {label!r} with seed {seed}; the row was changed")
    return found


def _photograph(studio: Studio, rows: list[Row]) -> list[Image]:
    places = {str(stim_id): path for stim_id, path in zip(studio.pool.table["stim_id"], studio.pool.image_paths(), strict=True)}
    images = [read_image(places[row["source_image"]], studio.order.size_px) for row in rows]
    return match_photographs(studio, images, [_read_profile(row) for row in rows])[0]


def _read_profile(row: Row) -> int:
    profile = row.get("profile")
    return 0 if profile is None else int(float(profile))


def _read_saved(stimulus_set: StimulusSet, row: Row) -> Image:
    return read_image(stimulus_set.folder / row["stim_file"], row["width_px"])


def _as_picture(stimulus_set: StimulusSet, row: Row) -> Picture:
    image = _read_saved(stimulus_set, row)
    seed = int(float(row["seed"]))
    return Picture(row["stim_id"], TARGET, row["target"], row["method"], seed, row["source_image"], image, None, _read_profile(row))


def replace_sources(recipe: Recipe, models: Sequence[Path], judges: Sequence[Path], pool: Path | None, weights: Sequence[Path]) -> Recipe:
    """Return the recipe with the places that a person gives for what has moved."""
    sources = recipe.sources
    changed = replace(
        sources,
        models=tuple(models) or sources.models,
        judges=tuple(judges) or sources.judges,
        pool=pool or sources.pool,
        weights=tuple(weights) or sources.weights,
    )
    return replace(recipe, sources=changed)
