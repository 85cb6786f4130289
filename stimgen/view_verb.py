"""The verb `view`: a page to look through a set, or a model's cortex with the images of a sweep, opened from disk."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import track

from protocols.output_folder import refuse_non_empty, staged_folder
from protocols.provenance import Provenance
from protocols.stimulus_set import StimulusSet
from protocols.tables import write_text
from stimgen.console import CacheOption, NoCacheOption, progress_console
from stimgen.cortex_view_verb import view_cortex


def view(
    out: Annotated[Path, typer.Option(help="Folder to write; open its index.html.")],
    set_folder: Annotated[Path | None, typer.Option("--set", help="StimulusSet folder; with --sweep, what contrasts are shown of.")] = None,
    sweep: Annotated[Path | None, typer.Option(help="Sweep folder: show the cortex of --model with these images.")] = None,
    model: Annotated[Path | None, typer.Option(help="Model that the sweep was made with.")] = None,
    surfaces: Annotated[
        Path | None, typer.Option(help="Folder of GIFTI surfaces, for vertices (analysis surfaces); a cloud of voxels otherwise.")
    ] = None,
    pool: Annotated[Path | None, typer.Option(help="Natural images that voxels choose from, where the sweep's have been moved.")] = None,
    subject: Annotated[list[str] | None, typer.Option(help="Only this subject's voxels; repeat for more.")] = None,
    weights: Annotated[Path | None, typer.Option(help="Weights file of the model's backbone; its own otherwise.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    cache: CacheOption = None,
    no_cache: NoCacheOption = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace this command's files in OUT.")] = False,
) -> None:
    """Write a page of a set's images: filters, drives by every model and judge, controls, drive while an image was made.

    With --model and --sweep, a page of the cortex: maps of accuracy, regions, layers and contrasts; a click shows a place's images.
    stimgen view --model models/lite0 --sweep sweeps/lite0 --out cortex/

    It opens from disk in any browser, without a network. Example: stimgen view --set stimuli/set --out viewer/
    """
    if sweep is not None:
        if model is None:
            raise typer.BadParameter("--sweep: give the model that the sweep was made with, too (--model)")
        chosen = tuple(subject or ())
        view_cortex(model, sweep, out, set_folder, surfaces, pool, chosen, weights, device, cache, no_cache, overwrite)
        return
    if set_folder is None:
        raise typer.BadParameter("give --set, or --model and --sweep")
    alone = [name for name, value in (("model", model), ("surfaces", surfaces), ("pool", pool), ("subject", subject)) if value]
    if alone:
        raise typer.BadParameter(f"--{alone[0]}: belongs to the page of a sweep; give --sweep, or leave it out")
    _view_set(set_folder, out, overwrite)


def _view_set(set_folder: Path, out: Path, overwrite: bool) -> None:
    from stimgen.viewer import copy_images, describe_images, render_page

    refuse_non_empty(out, overwrite)
    stimulus_set = StimulusSet.read(set_folder)
    stimulus_set.verify()
    images = describe_images(stimulus_set)
    with staged_folder(out, Provenance.collect("stimgen view", {}, {"set": set_folder}), overwrite) as folder:
        copy_images(stimulus_set, folder, lambda names: track(names, "images", console=progress_console()))
        write_text(render_page(set_folder.resolve().name, images), folder / "index.html")
    typer.echo(f"wrote {out}: open {out / 'index.html'} ({len(images)} images)")
