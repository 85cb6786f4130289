"""Our first level against nilearn's FirstLevelModel: `python -m tests.benchmarks.bench_first_level` prints tables.

One contrast of one subject, 10 runs x 200 volumes x 64 x 64 x 36 voxels, from the same files to the same z map, each in a process of its
own that reports its wall time and highest memory; then how our fit grows with voxels, volumes and regressors.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from tests.benchmarks.first_level_data import TASK, TR_S, write_study
from tests.benchmarks.report import print_table

CONTRAST = "c00 - c01"
GROWTH = (  # voxels, volumes, confounds
    *((voxels, 200, 6) for voxels in (10_000, 46_000, 200_000)),
    *((46_000, volumes, 6) for volumes in (100, 400, 800)),
    *((46_000, 200, confounds) for confounds in (24, 60)),
)


def read_files(folder: Path, out: Path) -> np.ndarray:
    """Read every BOLD file once, as nibabel does."""
    import nibabel

    for path in sorted(folder.glob("derivatives/fmriprep/**/*_bold.nii.gz")):
        nibabel.load(path).get_fdata(dtype=np.float32)
    return np.zeros(1)


def run_ours(folder: Path, out: Path, noise: str = "ar1") -> np.ndarray:
    """Run `analysis glm`."""
    import nibabel

    from analysis.__main__ import app

    options = ["glm", str(folder), "--task", TASK, "--contrast", CONTRAST, "--noise", noise, "--confounds", "motion6", "--out", str(out)]
    app(options, standalone_mode=False)
    z: np.ndarray = nibabel.load(next(out.glob("sub-01/func/*_stat-z_statmap.nii.gz"))).get_fdata()
    return z


def run_nilearn(folder: Path, out: Path, noise: str = "ar1") -> np.ndarray:
    """Fit nilearn's FirstLevelModel to the same runs and designs."""
    import nibabel
    from nilearn.glm.first_level import FirstLevelModel

    derived = folder / "derivatives" / "fmriprep" / "sub-01" / "func"
    bolds = sorted(str(path) for path in derived.glob("*_bold.nii.gz"))
    confounds = [pd.read_csv(path.replace("preproc_bold.nii.gz", "confounds_timeseries.tsv"), sep="\t") for path in bolds]
    events = [pd.read_csv(path, sep="\t") for path in sorted(folder.glob("sub-01/func/*_events.tsv"))]
    mask = nibabel.load(bolds[0].replace("preproc_bold", "brain_mask"))
    model = FirstLevelModel(
        t_r=TR_S, slice_time_ref=0.5, hrf_model="glover", high_pass=1 / 128, mask_img=mask, noise_model=noise, minimize_memory=True
    )
    model.fit(bolds, events=events, confounds=[table - table.mean() for table in confounds])
    z: np.ndarray = model.compute_contrast(CONTRAST, output_type="z_score").get_fdata()
    out.mkdir()
    return z


JOBS: dict[str, Callable[[Path, Path], np.ndarray]] = {
    "reading the files once (nibabel)": read_files,
    "ours, ar1": run_ours,
    "ours, nilearn-ar1": lambda folder, out: run_ours(folder, out, "nilearn-ar1"),
    "ours, ols": lambda folder, out: run_ours(folder, out, "ols"),
    "nilearn, ar1": run_nilearn,
    "nilearn, ols": lambda folder, out: run_nilearn(folder, out, "ols"),
}


def work(job: str, folder: Path, out: Path) -> None:
    """Do one job and print its time, highest memory and the map's file."""
    import nilearn.glm.first_level  # imports are not what is measured

    import analysis.__main__

    assert analysis.__main__
    assert nilearn.glm.first_level
    start = time.perf_counter()
    z = JOBS[job](folder, out)
    seconds = time.perf_counter() - start
    np.save(out.with_suffix(".npy"), z)
    print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))


def compare(folder: Path, place: Path, jobs: list[str]) -> None:
    """Print time and memory of every job, and how far its z map is from nilearn's with the same noise model."""
    rows, maps = [], {}
    for number, job in enumerate(jobs):
        out = place / f"out{number}"
        command = [sys.executable, "-m", "tests.benchmarks.bench_first_level", "--job", job, "--folder", str(folder), "--out", str(out)]
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1]
        seconds, megabytes = json.loads(printed)
        maps[job] = np.load(out.with_suffix(".npy"))
        rows.append([job, float(seconds), float(megabytes)])
    reading, peer = rows[0][1], next((row for row in rows if row[0] == "nilearn, ar1"), None)
    for row in rows:
        row.append(float(row[1] / reading))
        row.append(float(peer[1] / row[1]) if peer else float("nan"))
        row.append(float(row[2] / peer[2]) if peer else float("nan"))
    print_table(
        "one contrast, 10 runs x 200 volumes",
        ["what", "seconds", "peak MB", "of reading once", "times faster than nilearn ar1", "of its memory"],
        rows,
    )
    for ours, theirs in (("ours, nilearn-ar1", "nilearn, ar1"), ("ours, ols", "nilearn, ols")):
        if ours in maps and theirs in maps:
            print(f"{ours} against {theirs}: largest difference of z {np.abs(maps[ours] - maps[theirs]).max():.1e}")


def measure_growth() -> None:
    """Print the time of one run's fit by voxels, volumes and regressors, arrays already in memory."""
    from analysis.design import DesignSettings, build_design, compute_frame_times
    from analysis.glm import fit_run, weigh_columns
    from tests.benchmarks.first_level_data import draw_events

    rng = np.random.default_rng(1)
    rows = []
    for voxels, volumes, confounds in GROWTH:
        events = draw_events(volumes, rng)
        table = pd.DataFrame(rng.standard_normal((volumes, confounds))).add_prefix("confound")
        design = build_design(events, "trial_type", compute_frame_times(volumes, TR_S, 0.5), table, DesignSettings(), "run")
        weights = weigh_columns(design, ["c00"], ["c01"])
        assert weights is not None
        series = (1000 + rng.standard_normal((volumes, voxels))).astype(np.float32)
        start = time.perf_counter()
        fit_run(series, design, weights[None], "ar1", percent=True)
        rows.append([voxels, volumes, design.matrix.shape[1], float(time.perf_counter() - start)])
    print_table("the fit of one run in memory, ar1", ["voxels", "volumes", "regressors", "seconds"], rows)


def main() -> None:
    """Write the data and print tables; or do one job of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--volumes", type=int, default=200)
    parser.add_argument("--job", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job:
        work(arguments.job, arguments.folder, arguments.out)
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "bids"
        write_study(folder, arguments.runs, arguments.volumes)
        compare(folder, Path(place), list(JOBS))
    measure_growth()


if __name__ == "__main__":
    main()
