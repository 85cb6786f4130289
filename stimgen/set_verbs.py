"""The verbs `pool` and `check`: natural crops out of photographs, and the report on a stimulus set."""

from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from protocols.errors import InputError
from protocols.output_folder import refuse_non_empty, staged_folder
from protocols.provenance import Provenance
from protocols.stimulus_set import StimulusSet
from stimgen.console import progress_console


def pool(
    out: Annotated[Path, typer.Option(help="Pool folder to write.")],
    images: Annotated[
        Path | None, typer.Option(help="Folder of photographs; those in scikit-image's and scikit-learn's wheels otherwise.")
    ] = None,
    count: Annotated[int, typer.Option(min=2, help="Crops to cut.")] = 420,
    size_px: Annotated[int, typer.Option(min=32, help="Side of a crop in pixels.")] = 256,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the crops' places and sizes.")] = 1,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace this command's files in OUT.")] = False,
) -> None:
    """Cut a pool of natural images out of photographs: what models are fitted on and controls are chosen from.

    Example: stimgen pool --images photos/ --count 500 --out pool/
    """
    from stimgen.pool import NaturalPool, cut_crops, find_photographs, find_public_photographs

    refuse_non_empty(out, overwrite)
    photographs = find_photographs(images) if images else find_public_photographs()
    licenses = dict(zip(photographs["source"], photographs["license"], strict=True))
    settings = {"images": str(images) if images else "scikit-image and scikit-learn", "count": count, "size_px": size_px}
    provenance = Provenance.collect("stimgen pool", settings, {"images": images} if images else {}, {"seed": seed})
    rows = []
    with staged_folder(out, provenance, overwrite) as folder:
        crops = cut_crops(photographs, count, size_px, np.random.default_rng(seed))
        for number, (source, crop) in enumerate(track(crops, total=count, description="crops", console=progress_console()), start=1):
            stim_id = f"nat{number:05d}"
            crop.save(folder / f"{stim_id}.png")
            rows.append({"stim_id": stim_id, "image_file": f"{stim_id}.png", "source": source, "license": licenses[source]})
        NaturalPool(folder, pd.DataFrame(rows)).write(folder)
    typer.echo(f"wrote {out}: {count} crops of {len(photographs)} photographs")


def check(set_folder: Annotated[Path, typer.Argument(metavar="SET", help="StimulusSet folder.")]) -> None:
    """Check a stimulus set: every file against its hash, photometry by condition, drive by the models and the judges.

    Exit status 1 where a rule of the set is broken. Example: stimgen check stimuli/set
    """
    from stimgen.set_check import find_broken_rules, measure_set, summarize_conditions

    stimulus_set = StimulusSet.read(set_folder)
    stimulus_set.verify()
    measured = measure_set(stimulus_set)
    _print_summary(summarize_conditions(stimulus_set, measured))
    broken = find_broken_rules(stimulus_set, measured)
    if broken:
        raise InputError("\n".join([f"{set_folder}: {len(broken)} rule(s) broken", *broken]))
    typer.echo(f"{set_folder}: {len(stimulus_set.table)} images, every file matches its hash, no rule broken")


def _print_summary(summary: pd.DataFrame) -> None:
    table = Table(title="means by condition; drive of the image's own target in z units of natural images")
    for column in summary.columns:
        table.add_column(column.replace("_", " "), justify="left" if column in ("condition", "target") else "right")
    for row in summary.itertuples(index=False):
        table.add_row(*(("n/a" if np.isnan(value) else f"{value:.3f}") if isinstance(value, float) else str(value) for value in row))
    Console().print(table)
