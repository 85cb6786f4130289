"""The verb `reproduce`: images of a set made again from their rows, and how far they are from the saved ones."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.table import Table

from protocols.errors import InputError
from protocols.provenance import describe_code
from protocols.stimulus_set import StimulusSet, image_file_name
from stimgen.console import CacheOption, NoCacheOption, open_cache, table_console

if TYPE_CHECKING:
    from stimgen.reproduce import Image, Recipe

_LARGEST = 1  # of 255 levels: an image that is farther away is another image


def reproduce(
    set_folder: Annotated[Path, typer.Argument(metavar="SET", help="StimulusSet folder.")],
    stim_id: Annotated[list[str], typer.Argument(metavar="STIM_ID...", help="Images to make again.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the images; SET-reproduced otherwise.")] = None,
    model: Annotated[list[Path] | None, typer.Option(help="Generating model, where it has moved; repeat for all.")] = None,
    judge: Annotated[list[Path] | None, typer.Option(help="Judge, where it has moved; repeat for all.")] = None,
    pool: Annotated[Path | None, typer.Option(help="Natural images, where they have moved.")] = None,
    weights: Annotated[list[Path] | None, typer.Option(help="Weights file of a model that was fitted with --weights.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    cache: CacheOption = None,
    no_cache: NoCacheOption = False,
) -> None:
    """Make images of a set again from their rows, and tell the largest difference of a pixel.

    Exit status 1 where an image differs by more than one of 255 levels. Example: stimgen reproduce stimuli/set targetFFA01
    """
    from stimgen.image_files import write_png
    from stimgen.jobs import Workplace
    from stimgen.open_studio import open_studio
    from stimgen.reproduce import check_inputs, find_recipe, list_other_versions, replace_sources
    from stimgen.reproduce import reproduce as remake

    stimulus_set = StimulusSet.read(set_folder)
    rows = [_find_row(stimulus_set, name) for name in dict.fromkeys(stim_id)]
    recipes: dict[str, tuple[Recipe, list[dict[Any, Any]]]] = {}
    for row in rows:
        recipe = find_recipe(stimulus_set, row)
        recipes.setdefault(recipe.provenance.created + str(sorted(recipe.provenance.outputs)), (recipe, []))[1].append(row)
    remade: dict[str, Image] = {}
    for found, own in recipes.values():
        recipe = replace_sources(found, model or (), judge or (), pool, weights or ())
        check_inputs(recipe)
        if others := list_other_versions(recipe.provenance):
            typer.echo(f"made with other versions, so that images may differ: {', '.join(others)}")
        with tempfile.TemporaryDirectory() as work:
            opened = open_studio(recipe.order, recipe.sources, Workplace(Path(work), describe_code()), open_cache(cache, no_cache), device)
            remade |= remake(stimulus_set, own, opened, recipe.provenance.seeds, lambda images: None)
    place = out or set_folder.resolve().with_name(f"{set_folder.resolve().name}-reproduced")
    place.mkdir(parents=True, exist_ok=True)
    for name, image in remade.items():
        write_png(image, place / image_file_name(name))
    typer.echo(f"wrote {place}: {len(remade)} images")
    _tell_differences(stimulus_set, rows, place)


def _find_row(stimulus_set: StimulusSet, stim_id: str) -> dict[Any, Any]:
    stimulus_set.image_path(stim_id)
    found: dict[Any, Any] = stimulus_set.table[stimulus_set.table["stim_id"] == stim_id].to_dict("records")[0]
    return found


def _tell_differences(stimulus_set: StimulusSet, rows: list[dict[Any, Any]], place: Path) -> None:
    """Print how far each image is from the saved one; refuse those that are others."""
    from stimgen.image_files import read_image

    table = Table(title="difference of the saved and the reproduced image, of 255 levels")
    for column in ("stim_id", "condition", "largest", "mean", "pixels that differ"):
        table.add_column(column, justify="left" if column in ("stim_id", "condition") else "right", no_wrap=True)
    far = []
    for row in rows:
        saved, again = (read_image(folder / row["stim_file"], row["width_px"]) for folder in (stimulus_set.folder, place))
        difference = np.abs(np.round(saved * 255) - np.round(again * 255))
        share = float((difference.max(axis=2) > 0).mean())
        table.add_row(row["stim_id"], row["condition"], f"{difference.max():.0f}", f"{difference.mean():.3f}", f"{share:.2%}")
        if difference.max() > _LARGEST:
            far.append(f"{row['stim_id']} ({difference.max():.0f} levels)")
    table_console().print(table)
    if far:
        raise InputError(f"{stimulus_set.folder}: not reproduced within one level of 255: {', '.join(far)}")
