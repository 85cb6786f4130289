"""Run the demo with many seeds and count how often its answer is right: own images win, or, with --null, nothing is claimed."""

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

ROOT = Path(__file__).parents[2]


def main(
    seeds: Annotated[int, typer.Option(help="How many seeds, from --first on.")] = 5,
    first: Annotated[int, typer.Option(help="The first seed.")] = 1,
    null: Annotated[bool, typer.Option("--null", help="Participants whose tuning is unrelated to the images.")] = False,
    size: Annotated[str, typer.Option(help="standard or smallest.")] = "standard",
    image_sets: Annotated[
        int, typer.Option(min=1, help="Seeds that make images of their own; later ones scan new participants on them in turn.")
    ] = 1000,
    jobs: Annotated[int, typer.Option(min=1, help="Demos at a time, each on one core where there are several.")] = 2,
    out: Annotated[Path, typer.Option(help="Folder for the demos and the table.")] = Path("out/demo_seeds"),
) -> None:
    """Run the demo for each seed and print, per seed: ROIs won by own images per participant and on average, and claims.

    A demo that is already there, finished, is read instead of run again.
    """
    kind = f"{size}_{'null' if null else 'true'}"
    (out / kind).mkdir(parents=True, exist_ok=True)
    threads = None if jobs == 1 else "1"
    rows: list[dict[str, object]] = []
    with ThreadPoolExecutor(jobs) as pool:
        pending = [pool.submit(_run_seed, seed, null, size, out / kind, threads, image_sets) for seed in range(first, first + seeds)]
        for one in pending:
            rows.append(one.result())
            print(pd.DataFrame(rows).to_string(index=False), flush=True)
    table = pd.DataFrame(rows)
    table.to_csv(out / f"{kind}.tsv", sep="\t", index=False)
    _print_count(table, null)


def _run_seed(seed: int, null: bool, size: str, folder: Path, threads: str | None, image_sets: int) -> dict[str, object]:
    """Run the demo's commands, their output into a log beside its folder, and read its answer."""
    demo = folder / f"seed{seed:02d}"
    start = time.perf_counter()
    if not (demo / "report.html").is_file():
        settings = {"SEED": str(seed), "NULL": str(int(null)), "SIZE": size, "DEMO": str(demo), "IMAGES": "", "WINDOW": "0"}
        if seed > image_sets:
            settings["REUSE"] = str(folder / f"seed{(seed - 1) % image_sets + 1:02d}")
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, **settings, "PATH": path, **({"OMP_NUM_THREADS": threads} if threads else {})}
        with demo.with_suffix(".log").open("w") as log:
            subprocess.run(["bash", "tests/examples/demo.sh"], cwd=ROOT, env=environment, stdout=log, stderr=log, check=True)
    return {"seed": seed, **_read_answer(demo / "group"), "minutes": round((time.perf_counter() - start) / 60, 1)}


def _read_answer(group: Path) -> dict[str, object]:
    wins = json.loads((group / "group.json").read_text(encoding="utf-8"))["own_wins"]
    tests = pd.read_csv(group / "group.tsv", sep="\t")
    gate = tests["family"] == "gate"
    return {
        **{f"wins_{subject}": count for subject, count in wins["per_subject"].items()},
        "wins_mean": wins["mean"],
        "rois": wins["rois"],
        "specificity_p": round(float(tests.loc[gate, "p"].iloc[0]), 4),
        "specific": bool(tests.loc[gate, "claimed"].iloc[0]),
        "claims": int(tests.loc[~gate, "claimed"].sum()),
    }


def _print_count(table: pd.DataFrame, null: bool) -> None:
    fewest = table[[column for column in table if column.startswith("wins_") and column != "wins_mean"]].min(axis=1)
    print(f"nothing claimed of any ROI: {(table['claims'] == 0).sum()} of {len(table)} seeds")
    print(f"nor specificity over all ROIs: {((table['claims'] == 0) & ~table['specific']).sum()} of {len(table)} seeds")
    if not null:
        print(f"all ROIs but at most one, in every participant: {(fewest >= table['rois'] - 1).sum()} of {len(table)} seeds")
        print(f"all ROIs on average: {(table['wins_mean'] == table['rois']).sum()} of {len(table)} seeds")


if __name__ == "__main__":
    typer.run(main)
