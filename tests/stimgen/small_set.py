"""A stimulus set on disk without networks: images of noise, target images with their controls, drives as given."""

import numpy as np
import pandas as pd

from protocols.output_folder import staged_folder
from protocols.provenance import Provenance, hash_file
from protocols.stimulus_set import StimulusSet, image_file_name
from stimgen.display import load_display
from stimgen.image_files import read_image, write_png
from stimgen.look import Viewing
from stimgen.set_tables import write_ascent, write_scores


def write_set(out, targets=("V3", "LO"), count=3, side=16, description=None, seed=1, **columns):
    """Write a set of `count` target images and natural controls of each target; return it as it is read."""
    rng, rows = np.random.default_rng(seed), []
    with staged_folder(out, Provenance("stimgen generate", {"targets": list(targets)})) as folder:
        for condition in ("target", "natural"):
            for target in targets:
                for number in range(count):
                    rows.append(_write_image(folder, condition, target, number, rng.uniform(0.2, 0.8, (side, side, 3))))
        table = pd.DataFrame(rows).assign(**columns)
        scores = [(name, "m", "maker", drive) for name, drive in zip(table["stim_id"], table["drive_judged"], strict=True)]
        write_scores(pd.DataFrame(scores, columns=["stim_id", "model", "role", "drive"]), folder)
        write_ascent(pd.DataFrame({"stim_id": table["stim_id"][:1], "step": 10, "drive": 1.5}), folder)
        StimulusSet(folder, table, description or {"models": ["m"], "judges": ["j"], "diversity": dict.fromkeys(targets, 0.5)}).write(
            folder
        )
    return StimulusSet.read(out)


def _write_image(folder, condition, target, number, image):
    stim_id = f"{condition}{target}{number + 1:02d}"
    path = folder / image_file_name(stim_id)
    write_png(image.astype(np.float32), path)
    side = image.shape[0]
    return {
        "stim_id": stim_id,
        "stim_file": path.name,
        "condition": condition,
        "target": target,
        "method": "noise",
        "seed": number,
        "source_image": None,
        "sha256": hash_file(path),
        "width_px": side,
        "height_px": side,
        **Viewing(load_display()).measure_light(read_image(path, side)),
        "control_of": None if condition == "target" else f"target{target}{number + 1:02d}",
        "judged_V3": 1.0,
        "drive_predicted": 3.0 + number,
        "drive_judged": 2.0 + number,
        "drive_ratio": 0.5,
        "drive_percentile": 99.0,
        "gate": "pass",
    }
