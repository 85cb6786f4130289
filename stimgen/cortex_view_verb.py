"""What `view --sweep` does: a model and a sweep in, a page of the cortex out."""

from pathlib import Path

import typer
from rich.progress import track

from protocols.output_folder import refuse_non_empty, staged_folder
from protocols.provenance import Provenance
from protocols.stimulus_set import StimulusSet
from stimgen.console import cache_folder, open_cache, progress_console


def view_cortex(
    model: Path,
    sweep: Path,
    out: Path,
    set_folder: Path | None,
    surfaces: Path | None,
    pool: Path | None,
    subjects: tuple[str, ...],
    weights: Path | None,
    device: str,
    cache: Path | None,
    no_cache: bool,
    overwrite: bool,
) -> None:
    """Check all inputs, then write the page; everything that costs little is refused before a network runs."""
    from stimgen.backbone import choose_device
    from stimgen.default_pool import find_default_pool
    from stimgen.encoding_model import EncodingModel
    from stimgen.pool import NaturalPool
    from stimgen.surface_files import read_surfaces
    from stimgen.sweep_store import SweepStore
    from stimgen.view_cortex import Given, check_model, choose_subjects, find_pool, write_cortex

    refuse_non_empty(out, overwrite)
    store = SweepStore.read(sweep)
    check_model(store, model)
    stimuli = StimulusSet.read(set_folder) if set_folder else None
    if stimuli is not None:
        stimuli.verify()
    natural = find_pool(store, pool, lambda: find_default_pool(cache_folder(cache)))
    meshes = read_surfaces(surfaces) if surfaces else None
    loaded = choose_subjects(EncodingModel.read(model, weights, choose_device(device)), subjects)
    given = Given(model.resolve().name, loaded, store, NaturalPool.read(natural), meshes, stimuli)
    inputs = {"model": model, "sweep": sweep, "pool": natural, "set": set_folder, "surfaces": surfaces}
    provenance = Provenance.collect(
        "stimgen view", {"subjects": list(subjects)}, {name: path for name, path in inputs.items() if path is not None}
    )
    with staged_folder(out, provenance, overwrite) as folder:
        view = write_cortex(given, open_cache(cache, no_cache), folder, lambda names: track(names, "shards", console=progress_console()))
    typer.echo(f"wrote {out}: open {out / 'index.html'} ({len(view.voxels)} voxels, {len(view.images)} images)")
