"""How long the answer of a large study takes: 8 subjects, 10 ROIs, 200 images (10 made for each ROI and 10 natural ones), 2 runs.

    python -m tests.benchmarks.bench_report [--keep FOLDER]

Prints the seconds of `analysis group` and of `analysis report`, each as a command of its own, and the page's size. At most 30 s and 5 MB
are asked for.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from protocols.output_folder import staged_folder
from protocols.provenance import Provenance, hash_file
from protocols.stimulus_set import StimulusSet, image_file_name
from tests.analysis.planted import make_protocol
from tests.analysis.tables import draw_table
from tests.benchmarks.report import print_table

ROIS = ("V1", "V3", "hV4", "LO", "EBA", "OFA", "FFA", "PPA", "OPA", "RSC")
CONDITIONS = ("target", "natural")
PER_SET, SUBJECTS, RUNS, SIZE_PX = 10, 8, 2, 256


def write_study(folder: Path) -> None:
    """Write the ROI table, the plan and a set of smooth random images with scores."""
    rng = np.random.default_rng(0)
    table = draw_table(rng, rois=ROIS, subjects=SUBJECTS, per_set=PER_SET, effect=0.6, conditions=CONDITIONS, runs=RUNS)
    table.write(folder / "roi_table.tsv")
    protocol = make_protocol(conditions=list(CONDITIONS), contrasts=list_contrasts())
    protocol.write(folder / "plan.json")
    images = table.table.drop_duplicates("stim_id")[["stim_id", "condition", "target"]].reset_index(drop=True)
    with staged_folder(folder / "set", Provenance.collect("bench_report", {}, {})) as staging:
        rows = [write_image(staging, row, rng) for row in images.to_dict("records")]
        StimulusSet(staging, pd.DataFrame(rows), {}).write(staging)


def list_contrasts() -> list[dict[str, str]]:
    """Return one primary and one secondary contrast."""
    return [
        {"name": "own_vs_other", "expression": "target - other"},
        {"name": "own_vs_natural", "expression": "target - natural", "family": "secondary"},
    ]


def write_image(folder: Path, row: dict[str, str], rng: np.random.Generator) -> dict[str, object]:
    """Write one image and return its row of the set."""
    path = folder / image_file_name(row["stim_id"])
    Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).resize((SIZE_PX, SIZE_PX), Image.Resampling.BICUBIC).save(path)
    fixed = {"method": "random", "seed": 1, "source_image": None, "mean_luminance": 0.5, "rms_contrast": 0.2}
    scores = {f"{kind}{roi}": float(rng.standard_normal()) for kind in ("predicted_", "judged_") for roi in ROIS}
    return {**row, "stim_file": path.name, **fixed, "sha256": hash_file(path), "width_px": SIZE_PX, "height_px": SIZE_PX, **scores}


def time_command(*arguments: object) -> float:
    """Run a command of `analysis` and return its seconds."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "analysis", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    """Write the study, time both commands, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path, help="folder to leave everything in")
    keep = parser.parse_args().keep
    with tempfile.TemporaryDirectory() as temporary:
        folder = keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        write_study(folder)
        plan = ("--protocol", folder / "plan.json", "--set", folder / "set")
        group = time_command("group", folder / "roi_table.tsv", *plan, "--out", folder / "group")
        report = time_command("report", folder / "group", "--set", folder / "set", "--out", folder / "report.html")
        size = (folder / "report.html").stat().st_size / 1e6
    images = len(ROIS) * PER_SET * len(CONDITIONS)
    columns = ("subjects x images x ROIs", "analysis group, s", "analysis report, s", "page, MB")
    print_table("The answer of a large study", columns, [(f"{SUBJECTS} x {images} x {len(ROIS)}", group, report, size)])


if __name__ == "__main__":
    main()
