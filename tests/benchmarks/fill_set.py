"""A large set for timing: photographs at the size of a small set's images, its columns filled in turn."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from protocols.output_folder import staged_folder
from protocols.provenance import Provenance, hash_file
from protocols.stimulus_set import StimulusSet, image_file_name
from stimgen.image_files import read_image, write_png
from stimgen.look import read_viewing


def fill_set(small: StimulusSet, photographs: Sequence[Path], count: int, out: Path) -> Path:
    """Write a set of `count` photographs whose rows repeat those of `small`, unless it is there; return its folder."""
    if (out / "provenance.json").exists():
        return out
    side = int(small.table["width_px"][0])
    viewing = read_viewing(small.description, side)
    table = pd.concat([small.table] * (count // len(small.table) + 1), ignore_index=True).head(count)
    repeats = [f"r{row // len(small.table):02d}" for row in range(count)]
    names = [f"{stim_id}{repeat}" for stim_id, repeat in zip(table["stim_id"], repeats, strict=True)]
    table = table.assign(
        stim_id=names,
        stim_file=[image_file_name(name) for name in names],
        control_of=[one and f"{one}{repeat}" for one, repeat in zip(table["control_of"], repeats, strict=True)],
    )
    with staged_folder(out, Provenance.collect("benchmark", {}, {})) as folder:
        measured = []
        for row, name in enumerate(table["stim_file"]):
            write_png(read_image(photographs[row % len(photographs)], side), folder / name)
            measured.append({**viewing.measure_light(read_image(folder / name, side)), "sha256": hash_file(folder / name)})
        StimulusSet(folder, table.assign(**pd.DataFrame(measured)), small.description).write(folder)
    return out
