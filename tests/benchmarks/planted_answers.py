"""A study whose truth is known, from plan to report by the commands that a lab would type: images and protocol once, then people by seed.

Rules and timing are those of protocols/roi_validation.toml without scrambled images. A session is rehearsed (`experiment run --rehearse`:
as at the scanner, with a simulated clock, participant and triggers, but without a window), or its events are those that `experiment plan`
planned, exactly. Events and the people's true responses become BOLD (`analysis simulate`), and BOLD an answer (`glm`, `qc`, `rois`,
`lock`, `group`, `report`).
"""

import contextlib
import dataclasses
import html
import io
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd

from analysis.flags import COLUMNS as FLAG_COLUMNS
from analysis.group_files import read_group
from analysis.sentences import answer_question, describe_claims, describe_gate, describe_rest
from protocols.protocol import Protocol
from protocols.stimulus_set import StimulusSet
from protocols.tables import read_tsv
from tests.analysis.planted import make_set, write_responses
from tests.analysis.program import run_analysis
from tests.experiment.conftest import run_command

ROIS = ("V3", "LO", "EBA", "FFA", "RSC")
PROTOCOL = Path(__file__).parents[2] / "protocols" / "roi_validation.toml"
GAIN_PSC = 0.5  # of `analysis simulate`, per z
WORDS = {"the other images": "target - other", "natural images": "target - natural"}
_CLAIM = re.compile(r"(\w+): own images more than ([\w -]+), by ")
_HEADLINE = re.compile(r"images made for (\d+) of \d+ ROIs drive their own ROI more than the other images")


@dataclass(frozen=True)
class Size:
    """How much is scanned."""

    subjects: int = 4
    runs: int = 3
    repetitions: int = 3
    per_cell: int = 10
    voxels: int = 10
    rois: tuple[str, ...] = ROIS
    tr_s: float = 2.0


@dataclass(frozen=True)
class Truth:
    """What is true of all people and images: z that an ROI's own images add, and that all made images add in every ROI."""

    name: str
    own: Mapping[str, float] = field(default_factory=dict)
    everywhere: float = 0.0

    def tell(self, expression: str, roi: str) -> float:
        """Return a contrast's true value in z."""
        own = self.own.get(roi, 0.0)
        return own if expression == "target - other" else own + self.everywhere


@dataclass(frozen=True)
class Spread:
    """Standard deviations in z: how images, people and voxels differ."""

    image: float = 0.6
    """Of an image's response in a ROI, in all people."""
    image_everywhere: float = 0.3
    """The part of it that all ROIs share."""
    person_image: float = 0.5
    """A person's own response to an image in a ROI."""
    person_set: float = 0.1
    """A person's own response to all images of a condition and target in a ROI."""
    person_effect: float = 0.25
    """Of a person's effect, as a share of it."""
    voxel: float = 0.5
    level: float = 1.5
    """Mean response of a ROI to any image."""


@dataclass(frozen=True)
class Base:
    """What all seeds share: stimulus set, protocol, its lock."""

    folder: Path
    size: Size

    @property
    def stimuli(self) -> Path:
        """The set's folder."""
        return self.folder / "set"

    @property
    def protocol(self) -> Path:
        """Protocol with the size's timing."""
        return self.folder / "roi_validation.json"

    @property
    def unlocked(self) -> Path:
        """The same without a lock beside it."""
        return self.folder / "unlocked.json"

    @property
    def mapless(self) -> Path:
        """The same without contrasts, for `glm`: no claim rests on its maps, and writing them takes longest."""
        return self.folder / "mapless.json"


@dataclass(frozen=True)
class Answer:
    """What the report says, and what stands behind it.

    Attributes
    ----------
    claims
        Contrast and ROI of every sentence that claims one.
    headline
        Number of ROIs that the first sentence claims.
    specific
        Whether the report says that specificity passed.
    reversed
        Number of sentences that tell an effect against the plan.
    flags
        `flags.tsv`.
    tests
        `group.tsv`.
    """

    claims: list[tuple[str, str]]
    headline: int
    specific: bool
    reversed: int
    flags: pd.DataFrame
    tests: pd.DataFrame


def make_base(folder: Path, size: Size) -> Base:
    """Write the set and the protocol, and lock the plan."""
    base = Base(folder, size)
    make_set(base.stimuli, size.rois, size.per_cell, scored=False)
    written = Protocol.read(PROTOCOL)
    contrasts = tuple(one for one in written.contrasts if "scrambled" not in one.expression)
    timing = dataclasses.replace(written.timing, tr_s=size.tr_s, runs=size.runs, repetitions=size.repetitions)
    screen = dataclasses.replace(written.screen, width_px=256, height_px=192, refresh_hz=10.0)  # a rehearsal goes from flip to flip
    fixed = {"conditions": ("target", "natural"), "contrasts": contrasts, "timing": timing, "screen": screen}
    protocol = dataclasses.replace(written, **fixed)
    protocol.write(base.protocol)
    protocol.write(base.unlocked)
    dataclasses.replace(protocol, contrasts=()).write(base.mapless)
    run_analysis("lock", base.protocol, "--set", base.stimuli)
    return base


def scan(base: Base, place: Path, truth: Truth, seed: int, rehearse: bool = True, spread: Spread | None = None) -> Path:
    """Plan, rehearse (or not) and scan new people below `place`; return the BIDS folder."""
    subjects = [f"{number:02d}" for number in range(1, base.size.subjects + 1)]
    plan = ("plan", base.protocol, "--set", base.stimuli, "--subjects", len(subjects), "--seed", seed, "--out", place / "plan")
    _experiment(*plan)
    for subject in subjects if rehearse else ():
        for run in range(1, base.size.runs + 1):
            who = ("--subject", subject, "--session", "01", "--run", run)
            _experiment("run", place / "plan", *who, "--bids", place / "bids", "--rehearse", "--seed", seed)
    stimuli = StimulusSet.read(base.stimuli)
    lines = [f"seed = {seed}", f"gain_psc = {GAIN_PSC}", "background_voxels = 60"]
    for subject, values in zip(subjects, draw_people(base, truth, seed, spread or Spread()), strict=True):
        responses = place / "responses" / f"sub-{subject}"
        write_responses(responses, stimuli, values, base.size.rois, base.size.voxels)
        lines += ["[[participants]]", f'subject = "{subject}"', f'responses = "{responses}"']
    (place / "scanner.toml").write_text("\n".join(lines) + "\n")
    run_analysis("simulate", place / "scanner.toml", "--plan", place / "plan", "--set", base.stimuli, "--out", place / "bids")
    return place / "bids"


def draw_people(base: Base, truth: Truth, seed: int, spread: Spread) -> list[np.ndarray]:
    """Return each person's true responses in z, images x voxels (ROI by ROI); images are drawn anew for each seed, as people are."""
    table, rois = StimulusSet.read(base.stimuli).table, base.size.rois
    rng = np.random.default_rng([seed, *truth.name.encode()])
    made = (table["condition"] == "target").to_numpy()
    own = np.stack([made & (table["target"] == roi).to_numpy() for roi in rois], axis=1)
    cells = table.groupby(["condition", "target"], sort=False).ngroup().to_numpy()
    size = (len(table), len(rois))
    alone = np.sqrt(spread.image**2 - spread.image_everywhere**2)
    shared = spread.level + alone * rng.standard_normal(size) + spread.image_everywhere * rng.standard_normal((len(table), 1))
    shared += truth.everywhere * made[:, None]
    people = []
    for _ in range(base.size.subjects):
        effect = np.array([truth.own.get(roi, 0.0) for roi in rois]) * (1 + spread.person_effect * rng.standard_normal(len(rois)))
        sets = spread.person_set * rng.standard_normal((cells.max() + 1, len(rois)))[cells]
        values = np.repeat(shared + own * effect + sets + spread.person_image * rng.standard_normal(size), base.size.voxels, axis=1)
        people.append(values + spread.voxel * rng.standard_normal(values.shape))
    return people


def analyze(base: Base, bids: Path, out: Path, page: bool = True, labeled: Path | None = None, locked: bool = True) -> Answer:
    """Take a BIDS folder to the report (without `page`: to its sentences); `labeled` is another set for `rois`."""
    run_analysis("glm", bids, "--protocol", base.mapless, "--set", base.stimuli, "--out", out / "glm")
    with mock.patch("analysis.qc_report._draw", return_value={"design_png": "", "motion_png": ""}):  # which takes longest
        run_analysis("qc", bids, "--task", Protocol.read(base.protocol).task, "--out", out / "qc")
    run_analysis("rois", bids, "--betas", out / "glm", "--set", labeled or base.stimuli, "--out", out / "rois")
    known = ("--protocol", base.protocol if locked else base.unlocked, "--qc", out / "qc", "--set", base.stimuli)
    run_analysis("group", out / "rois", *known, "--out", out / "group")
    if page:
        run_analysis("report", out / "group")
    return read_answer(out / "group")


def read_answer(group: Path) -> Answer:
    """Read the sentences of the answer, which must all stand in the page where there is one, and the tables beside it."""
    result, _ = read_group(group)
    rest = describe_rest(result)
    headline, gate, page = answer_question(result), describe_gate(result), group / "report.html"
    words = read_words(page) if page.is_file() else None
    absent = [sentence for sentence in (headline[1:], gate, *rest) if words is not None and sentence not in words]
    if absent:
        raise RuntimeError(f"{group}: the page lacks {absent[0]!r}")
    counted = _HEADLINE.match(headline)
    flags = group / "flags.tsv"
    return Answer(
        claims=[(WORDS[against], roi) for roi, against in map(_read_claim, describe_claims(result))],
        headline=int(counted.group(1)) if counted else 0,
        specific=gate.endswith(": passed."),
        reversed=sum(sentence.startswith("The reverse in ") for sentence in rest),
        flags=read_tsv(flags, FLAG_COLUMNS) if flags.is_file() else pd.DataFrame(columns=list(FLAG_COLUMNS)),
        tests=result.tests,
    )


def _read_claim(sentence: str) -> tuple[str, str]:
    """Return ROI and comparison of a sentence that claims."""
    said = _CLAIM.match(sentence)
    if said is None:
        raise RuntimeError(f"no claim that this benchmark can read: {sentence!r}")
    return said.group(1), said.group(2)


def read_words(page: Path) -> str:
    """Return the text of an HTML page, without figures."""
    bare = re.sub(r"<(style|script|svg)\b.*?</\1>", " ", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", bare)))


def copy_study(bids: Path, target: Path) -> Path:
    """Copy a BIDS folder, to spoil the copy."""
    shutil.copytree(bids, target, copy_function=shutil.copyfile)
    return target


def _experiment(*arguments: object) -> None:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        code = run_command(*arguments)
    if code:
        raise RuntimeError(f"experiment {' '.join(map(str, arguments))} ended with {code}")
