"""What the published protocols say, written down apart from the code that plans them, and a table of images to plan with."""

from collections import Counter
from itertools import groupby, pairwise
from pathlib import Path

import pandas as pd

import protocols
from experiment.cells import resolve_conditions
from experiment.plan import plan_trials
from protocols.protocol import Protocol
from tests.experiment.conftest import make_table

FOLDER = Path(protocols.__file__).parent
ROIS = ("V1", "V4", "FFA", "PPA", "EBA")
TARGETS = [("target", roi) for roi in ROIS]
TABLES = {
    "roi_validation": make_table([(one, roi) for one in ("target", "natural", "scrambled") for roi in ROIS[:4]], 6),
    "pair_dissociation": make_table([("target", "OFA"), ("target", "FFA"), ("natural", "OFA"), ("natural", "FFA")], 8),
    "nsd_core": make_table([*TARGETS, ("natural", None)], 60),
    "nsd_synthetic": make_table([*TARGETS, ("natural", None), ("scrambled", None)], 40),
    "floc": make_table([(name, None) for name in ("characters", "bodies", "faces", "places", "objects")], 144),
    "bold5000": make_table([("natural", None)], 370),
    "rnc": make_table([*TARGETS, ("natural", None), ("catch", None)], 25),
    "things": make_table([("natural", None), ("catch", None)], 100),
}
RUNS = {"nsd_core": 12, "nsd_synthetic": 8, "floc": 4, "bold5000": 10, "rnc": 10, "things": 10, "roi_validation": 8, "pair_dissociation": 8}
SECONDS_VOLUMES = {"nsd_core": (300, 188), "nsd_synthetic": (428, 268), "floc": (228, 114), "bold5000": (388, 194), "rnc": (436, 436)}
SHOWN_GAP = {  # seconds of image and of background after it
    "nsd_core": (3, 1),
    "nsd_synthetic": (2, 2),
    "floc": (0.4, 0.1),
    "bold5000": (1, 9),
    "rnc": (2, 2),
    "things": (0.5, 4),
    "roi_validation": (2, 2),
    "pair_dissociation": (2, 2),
}
SIZE_DEG = {"nsd_core": 8.4, "nsd_synthetic": 8.4, "bold5000": 4.6, "rnc": 8.4, "things": 10.0, "roi_validation": 8.4}
TR_S = {"nsd_core": 1.6, "nsd_synthetic": 1.6, "bold5000": 2.0, "rnc": 1.0}


def read_protocol(name):
    """Return a shipped protocol, its conditions resolved against the table of `TABLES`."""
    return resolve_conditions(Protocol.read(FOLDER / f"{name}.toml"), TABLES[name])


def plan_subject(name, seed):
    """Return one subject's runs."""
    return list(plan_trials(read_protocol(name), TABLES[name], "0" * 64, 1, seed))


def find_broken_rules(name, runs):
    """Return, in words, which published numbers and rules the runs of one subject break."""
    broken = [f"{len(runs)} runs"] if len(runs) != RUNS[name] else []
    for number, run in enumerate(runs, 1):
        rows = [(row.trial_type, row.stim_id, row.probe) for row in run.trials.itertuples()]
        found = {"timing": check_timing(name, run), "design": DESIGNS[name](rows, number)}
        broken += [f"run {number}: {what}: {words}" for what, words in found.items() if words]
    return broken + CROSS_RUN.get(name, lambda runs: [])(runs)


def check_timing(name, run):
    """Onsets on the published grid, durations, lengths."""
    shown, gap = SHOWN_GAP[name]
    table = run.trials
    images = table[table["trial_type"] != "blank"]
    if set(images["duration"]) != {float(shown)}:
        return f"durations {set(images['duration'])}"
    steps = {round(after - before, 6) for before, after in pairwise(table["onset"])} - {6.0 if name == "floc" else -1}
    if steps != {round(shown + gap, 6)}:
        return f"steps {steps}"
    if name in SECONDS_VOLUMES and (run.plan.duration_s, run.plan.volumes) != SECONDS_VOLUMES[name]:
        return f"{run.plan.duration_s} s, {run.plan.volumes} volumes"
    return ""


def count_kinds(rows):
    """Return images, blanks and probes of a run."""
    return (
        len([1 for kind, _, _ in rows if kind != "blank"]),
        len([1 for kind, _, _ in rows if kind == "blank"]),
        sum(row[2] for row in rows),
    )


def check_nsd_core(rows, number):
    """75 trials; 3 and 4 blanks at the ends; 63 + 5 or 62 + 6 between; streaks of 9 to 14."""
    blanks = [kind == "blank" for kind, _, _ in rows]
    between = (63, 5) if number % 2 else (62, 6)
    if len(rows) != 75 or not all(blanks[:3]) or not all(blanks[-4:]) or any(blanks[3:4]):
        return "ends"
    if (68 - sum(blanks[3:-4]), sum(blanks[3:-4])) != between:
        return "counts"
    streaks = [len(list(group)) for blank, group in groupby(blanks) if not blank]
    return "" if all(9 <= streak <= 14 for streak in streaks) else f"streaks {streaks}"


def check_nsd_synthetic(rows, _):
    """107 trials, 93 with images, of which 10 repeat the one before."""
    repeats = sum(one[1] is not None and one[1] == following[1] for one, following in pairwise(rows))
    images, blanks, probes = count_kinds(rows)
    return "" if (len(rows), images, blanks, probes, repeats) == (107, 93, 14, 10, 10) else f"{(images, blanks, probes, repeats)}"


def check_floc(rows, _):
    """38 blocks: 6 of each of 5 conditions and baseline, one more baseline at each end; first-order counterbalanced; 18 probes."""
    blocks = [(kind, list(group)) for kind, group in groupby(rows, key=lambda row: row[0])]
    kinds = [kind for kind, group in blocks for _ in range(len(group) // (1 if kind == "blank" else 12))]
    if len(kinds) != 38 or set(Counter(kinds[1:-1]).values()) != {6} or kinds[0] != "blank" or kinds[-1] != "blank":
        return f"blocks {Counter(kinds)}"
    if set(Counter(pairwise(kinds[:-1])).values()) != {1} or len(set(pairwise(kinds[:-1]))) != 36:
        return "transitions"
    stimulus = [rows_of for kind, rows_of in blocks if kind != "blank"]
    twelves = [rows_of[start : start + 12] for rows_of in stimulus for start in range(0, len(rows_of), 12)]
    per_block = [sum(row[2] for row in twelve) for twelve in twelves]
    return "" if sum(per_block) == 18 and max(per_block) == 1 else f"probes {per_block}"


def check_bold5000(rows, _):
    """37 images, each rated, none twice in the run."""
    return "" if count_kinds(rows) == (37, 0, 37) and len({stim for _, stim, _ in rows}) == 37 else "counts"


def check_rnc(rows, _):
    """Catch images, marked as probes; nothing follows itself."""
    catches = sum(kind == "catch" for kind, _, _ in rows)
    return "" if (len(rows), catches) == (102, 6) and all((kind == "catch") == bool(probe) for kind, _, probe in rows) else "counts"


def check_things(rows, _):
    """92 trials, 10 of them oddballs."""
    catches = [kind == "catch" for kind, _, _ in rows]
    return "" if (len(rows), sum(catches)) == (92, 10) and catches == [bool(row[2]) for row in rows] else "counts"


def check_one_back(blanks):
    """Return the check of our own designs: blanks apart, 10 % repeats, cells in rounds."""

    def check(rows, _):
        kinds = [kind for kind, _, _ in rows]
        if kinds.count("blank") != blanks or any(one == following == "blank" for one, following in pairwise(kinds)):
            return "blanks"
        first = [row for row in rows if row[0] != "blank" and not row[2]]
        if sum(row[2] for row in rows) != round(0.1 * len(first)):
            return "probes"
        cells = [kind for kind, _, _ in first]
        size = len(set(cells))
        rounds = [cells[start : start + size] for start in range(0, len(cells), size)]
        return "" if all(len(set(one)) == size for one in rounds) else "rounds"

    return check


def check_old(runs):
    """An image is old where it was shown before, in this run or an earlier one."""
    seen, wrong = set(), 0
    for run in runs:
        for stim_id, probe in zip(run.trials["stim_id"], run.trials["probe"], strict=True):
            if stim_id is not None:
                wrong += (stim_id in seen) != bool(probe)
                seen.add(stim_id)
    return [f"{wrong} images wrongly old or new"] if wrong else []


def check_square(runs):
    """Over as many rounds as cells every cell stands at every place equally often (to one, where the rounds are no multiple)."""
    kinds = [row for run in runs for row in run.trials.itertuples() if row.trial_type != "blank" and not row.probe]
    cells = [row.trial_type for row in kinds]
    size = len(set(cells))
    rows = 2 * size if size % 2 else size
    whole = len(cells) // size // rows * rows
    rounds = [cells[start : start + size] for start in range(0, whole * size, size)]
    for place in range(size):
        if len(set(Counter(one[place] for one in rounds).values())) != 1 or len({one[place] for one in rounds}) != size:
            return [f"place {place} is not balanced"]
    return []


DESIGNS = {
    "nsd_core": check_nsd_core,
    "nsd_synthetic": check_nsd_synthetic,
    "floc": check_floc,
    "bold5000": check_bold5000,
    "rnc": check_rnc,
    "things": check_things,
    "roi_validation": check_one_back(5),
    "pair_dissociation": check_one_back(6),
}
CROSS_RUN = {"nsd_core": check_old, "roi_validation": check_square, "pair_dissociation": check_square}


def count_presentations(runs, added):
    """Return how often each image is shown; `added` says whether probes are further trials."""
    table = pd.concat([run.trials for run in runs])
    return Counter(table["stim_id"][(table["stim_id"].notna()) & ~((table["probe"] == 1) & added)])
