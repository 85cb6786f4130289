"""The verb `view`: a page to look through a set, opened from disk."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import track

from protocols.output_folder import refuse_non_empty, staged_folder
from protocols.provenance import Provenance
from protocols.stimulus_set import StimulusSet
from protocols.tables import write_text
from stimgen.console import progress_console


def view(
    set_folder: Annotated[Path, typer.Option("--set", help="StimulusSet folder.")],
    out: Annotated[Path, typer.Option(help="Folder to write; open its index.html.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace this command's files in OUT.")] = False,
) -> None:
    """Write a page of a set's images: filters, drives by every model and judge, controls, drive while an image was made.

    It opens from disk in any browser, without a network. Example: stimgen view --set stimuli/set --out viewer/
    """
    from stimgen.viewer import copy_images, describe_images, render_page

    refuse_non_empty(out, overwrite)
    stimulus_set = StimulusSet.read(set_folder)
    stimulus_set.verify()
    images = describe_images(stimulus_set)
    with staged_folder(out, Provenance.collect("stimgen view", {}, {"set": set_folder}), overwrite) as folder:
        copy_images(stimulus_set, folder, lambda names: track(names, "images", console=progress_console()))
        write_text(render_page(set_folder.resolve().name, images), folder / "index.html")
    typer.echo(f"wrote {out}: open {out / 'index.html'} ({len(images)} images)")
