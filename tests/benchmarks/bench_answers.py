"""From planted people to the report's sentences: are they true, do clean data raise a flag, and does every fault raise its own?

    python -m tests.benchmarks.bench_answers [--seeds 20] [--clean 50] [--faults] [--rehearsed 20] [--first 1] [--out out/answers]

Each seed has new people, new responses to the images and new orders. `effect`: images made for a ROI add 1.5 z (.75 %) in it, in all five
ROIs. `none`: they are drawn as natural images are. `some`: 1.5 z in EBA and FFA alone. `everywhere`: made images add 1.5 z in every ROI,
so that no region's images are its own. People, images, single responses and voxels vary (`planted_answers.Spread`). A seed is right
where every claim is true (headline, specificity, each contrast in each ROI, reversals) and, where own images do more, at least one ROI is
claimed. Without any effect one of 20 seeds is expected to have a false sentence, since alpha is .05. Seeds and faults that are there,
finished, are read and not run again. About 9 s a seed (15 s with rehearsals) and 12 s a fault, alone on one core.
"""

import argparse
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from protocols.errors import InputError
from protocols.tables import write_text
from tests.benchmarks.planted_answers import GAIN_PSC, ROIS, Answer, Base, Size, Truth, analyze, copy_study, make_base, scan
from tests.benchmarks.planted_faults import REFUSED, Fault, list_faults, mislabel_set
from tests.benchmarks.report import print_table

TRUTHS = (
    Truth("effect", dict.fromkeys(ROIS, 1.5)),
    Truth("none"),
    Truth("some", {"EBA": 1.5, "FFA": 1.5}),
    Truth("everywhere", {}, 1.5),
)
FAULTY = Size(runs=4, repetitions=4)
_WIDTH = 110  # letters of what is raised
COLUMNS = ("truth", "seed", "rehearsed", "ROIs with effect", "said", "specific", "claims", "false", "intervals", "of", "right", "flags")


def judge(truth: Truth, answer: Answer) -> dict[str, Any]:
    """Compare the sentences with the truth; intervals are counted that hold the contrast's true value."""
    true = [roi for roi in ROIS if truth.own.get(roi)]
    wrong = [one for one in answer.claims if truth.tell(*one) <= 0]
    false = len(wrong) + answer.reversed + int(answer.specific and not true) + int(answer.headline > len(true))
    tests = answer.tests[answer.tests["family"] != "gate"]
    values = [GAIN_PSC * truth.tell(expression, roi) for expression, roi in zip(tests["expression"], tests["roi"], strict=True)]
    return {
        "ROIs with effect": len(true),
        "said": answer.headline,
        "specific": answer.specific,
        "claims": len(answer.claims),
        "false": false,
        "intervals": int(((tests["ci_low"] <= values) & (values <= tests["ci_high"])).sum()),
        "of": len(tests),
        "right": false == 0 and (answer.headline > 0 or not true),
        "flags": "; ".join(f"{flag} {place}: {found}" for flag, place, found in answer.flags.itertuples(index=False)) or "-",
    }


def run_seed(base: Base, truth: Truth, seed: int, rehearse: bool) -> dict[str, Any]:
    """Scan and analyze one seed, or read what was found before."""
    place = base.folder.parent / f"{truth.name}{seed:02d}"
    kept = place.with_suffix(".json")
    if not kept.is_file():
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        row = judge(truth, analyze(base, scan(base, place, truth, seed, rehearse), place, page=rehearse))
        write_text(json.dumps({"truth": truth.name, "seed": seed, "rehearsed": rehearse, **row}), kept)
        for name in ("bids", "glm", "plan", "responses"):  # the rest is small
            shutil.rmtree(place / name)
    found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
    return found


def list_seeds(seeds: int, clean: int, first: int) -> Iterator[tuple[Truth, int]]:
    """Go through `seeds` of the first two truths in turn, then through the others until there are `clean` in all."""
    for seed in range(first, first + seeds):
        yield TRUTHS[0], seed
        yield TRUTHS[1], seed
    for number in range(max(clean - 2 * seeds, 0)):
        yield TRUTHS[2 + number % 2], first + number // 2


def run_fault(base: Base, bids: Path, fault: Fault, place: Path) -> str:
    """Spoil a copy of a clean data set, analyze it, and say which flags were raised, or why it was refused."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    copy = copy_study(bids, place / "bids")
    try:
        fault.spoil(copy)
        labeled = mislabel_set(base.stimuli, place / "mislabeled") if fault.mislabeled else None
        answer = analyze(base, copy, place, page=False, labeled=labeled, locked=fault.locked)
    except InputError as problem:
        return f"{REFUSED}: {str(problem).splitlines()[0].replace(str(place), '')}"
    finally:
        shutil.rmtree(place)
    return "; ".join(f"{flag} {where}" for flag, where in answer.flags[["flag", "place"]].itertuples(index=False)) or "-"


def show_faults(out: Path, seed: int, only: str) -> None:
    """Plant each fault into one clean data set."""
    base = _find_base(out / "base_faults", FAULTY)
    place = out / f"faults{seed:02d}"
    if not (place / "bids" / "derivatives" / "rois" / "provenance.json").is_file():
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        scan(base, place, TRUTHS[0], seed)
    rows = []
    for fault in (one for one in list_faults() if only in one.name):
        kept = place / f"{fault.name.replace(' ', '_')}.txt"
        if not kept.is_file():
            write_text(run_fault(base, place / "bids", fault, place / "spoiled"), kept)
        raised = kept.read_text(encoding="utf-8")
        found = any(one.startswith(fault.flag) and fault.place in one for one in raised.split("; "))
        rows.append((fault.name, fault.flag, fault.place, found, raised if len(raised) < _WIDTH else f"{raised[:_WIDTH]} ..."))
        print(*rows[-1], flush=True)
    title = f"Planted faults, seed {seed}: {sum(row[3] for row in rows)} of {len(rows)} named"
    print_table(title, ("fault", "flag expected", "where", "found", "all that was raised"), rows)


def _find_base(folder: Path, size: Size) -> Base:
    base = Base(folder, size)
    return base if base.protocol.with_suffix(".lock.json").is_file() else make_base(folder, size)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20, help="of an effect, and of none")
    parser.add_argument("--clean", type=int, default=50, help="clean data sets in all")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument(
        "--rehearsed", type=int, default=20, help="seeds whose sessions are rehearsed and whose page is made; the others' go as planned"
    )
    parser.add_argument("--faults", action="store_true", help="also plant the faults")
    parser.add_argument("--fault", default="", help="only faults whose name has this in it")
    parser.add_argument("--out", type=Path, default=Path("out/answers"), help="folder; what is there is read, not run again")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for truth, seed in list_seeds(given.seeds, given.clean, given.first):
        base = _find_base(given.out / "base", Size())
        rows.append(run_seed(base, truth, seed, seed < given.first + given.rehearsed))
        print(json.dumps(rows[-1]), flush=True)
    if rows:
        print_table("What the reports say", COLUMNS, [[row[name] for name in COLUMNS] for row in rows])
        _print_counts(rows)
    if given.faults:
        show_faults(given.out, given.first, given.fault)


def _print_counts(rows: list[dict[str, Any]]) -> None:
    counted = []
    for truth in TRUTHS:
        own = [row for row in rows if row["truth"] == truth.name]
        if own:
            held = sum(row["intervals"] for row in own) / sum(row["of"] for row in own)
            said = sum(row["said"] for row in own) / len(own)
            right, clean = (sum(test(row) for row in own) for test in (lambda row: row["right"], lambda row: row["flags"] == "-"))
            counted.append((truth.name, len(own), right, said, sum(row["false"] > 0 for row in own), held, clean))
    columns = ("truth", "seeds", "right", "ROIs claimed, mean", "a false sentence", "intervals that hold the truth", "no flag")
    print_table("In all", columns, counted)


if __name__ == "__main__":
    main()
