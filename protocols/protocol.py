"""Protocol: everything about a study that is fixed before scanning, read from a TOML file.

One Protocol is read by the plan (timing, repetitions, probes), the session (screen, trigger, task) and the
inference (conditions, contrasts, alpha), so that none of the three can drift from what was written down.
"""

import math
import re
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from protocols.config import config, read_config, write_config
from protocols.probe import Probe
from protocols.timing import Blocks, Timing
from protocols.trials import BLANK

IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
OTHER = "other"  # in a contrast: target images that were made for the other ROIs
_TERM = re.compile(r"\s*([+-])?\s*([A-Za-z_][A-Za-z0-9_]*)\s*")


@config
class Screen:
    """The display, as measured at the scanner: pixels, centimeters, and the image's size in degrees of visual angle."""

    width_px: int = Field(default=1024, ge=64)
    height_px: int = Field(default=768, ge=64)
    width_cm: float = Field(default=40.0, gt=0)
    distance_cm: float = Field(default=100.0, gt=0)
    refresh_hz: float = Field(default=60.0, gt=0)
    size_deg: float = Field(default=8.4, gt=0)
    background: int = Field(default=127, ge=0, le=255)
    """Gray level of the background, 0-255."""
    fixation_deg: float = Field(default=0.2, gt=0)
    photodiode: Literal["", "top_left", "top_right", "bottom_left", "bottom_right"] = ""
    """Corner of a patch that is white while an image is shown and black otherwise."""
    photodiode_deg: float = Field(default=1.0, gt=0)
    """The patch's side."""


@config
class Trigger:
    """How the scanner announces a volume: `keyboard:5`, `serial:/dev/ttyUSB0` or `emulate:TR_S`."""

    source: str = "keyboard:5"
    timeout_s: float = Field(default=300.0, gt=0)
    """How long to wait for the first trigger before giving up."""
    dummy_volumes: int = Field(default=0, ge=0)
    """Triggers to ignore: the scanner's volumes that are not kept."""

    @field_validator("source")
    @classmethod
    def _known_kind(cls, source: str) -> str:
        kind, _, rest = source.partition(":")
        kinds = ("keyboard", "serial", "parallel", "udp", "emulate")
        if kind not in kinds or not rest or (kind == "emulate" and not _is_positive(rest)):
            raise ValueError("a trigger source is keyboard:KEY, serial:DEVICE, parallel:PORT, udp:PORT or emulate:TR_S")
        if any(f"{one}:" in rest for one in kinds):
            raise ValueError("two sources at once; a run has one trigger source, choose one of them")
        return source


@config
class Contrast:
    """A planned comparison per ROI, e.g. `target - other`, `target - natural`; terms are conditions of the set.

    `other` stands for target images made for other ROIs. The primary family is tested first; a secondary contrast
    is tested only in ROIs where every primary one holds.
    """

    name: str
    expression: str
    family: Literal["primary", "secondary"] = "primary"

    @field_validator("expression")
    @classmethod
    def _parses(cls, expression: str) -> str:
        split_contrast(expression)
        return expression


@config
class Exclusions:
    """Which runs and subjects are left out, by rules on what `analysis qc` measures and never on the responses."""

    fd_mean_mm: float | None = Field(default=None, gt=0)
    """Highest mean framewise displacement of a run."""
    left_out: float | None = Field(default=None, gt=0, le=1)
    """Highest share of a run's volumes that are left out."""
    fewest_runs: int = Field(default=1, ge=1)
    """A subject with fewer runs left is left out."""


@config
class Protocol:
    """A study as it is fixed before scanning. `conditions` are the set's conditions that are shown."""

    format_version: Literal[1] = 1
    task: str
    title: str = ""
    citation: str = ""
    instructions: str = "Keep your eyes on the central dot. Press the button when an image is shown twice in a row."
    timing: Timing
    blocks: Blocks | None = None
    screen: Screen = Screen()
    trigger: Trigger = Trigger()
    probe: Probe = Probe()
    conditions: tuple[str, ...] = ()
    """Empty: every condition of the set but the catch images."""
    categories: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Condition -> folders of a localizer's images that belong to it, for `experiment plan --images`."""
    own_images: bool = False
    """Show each subject only images whose column `subjects` is n/a or names the subject."""
    contrasts: tuple[Contrast, ...] = ()
    rois: tuple[str, ...] = ()
    """ROIs in which the contrasts are tested; empty: those that images were made for, or else every ROI of the table."""
    exclusions: Exclusions = Exclusions()
    alpha: float = Field(default=0.05, gt=0, lt=1)

    @field_validator("task")
    @classmethod
    def _bids_label(cls, task: str) -> str:
        if not re.fullmatch(r"[0-9A-Za-z]+", task):
            raise ValueError("a task is a BIDS label: letters and digits only")
        return task

    @model_validator(mode="after")
    def _consistent(self) -> "Protocol":
        for condition in self.conditions:
            if not IDENTIFIER.fullmatch(condition) or condition in (OTHER, BLANK):
                raise ValueError(f"condition {condition!r} must be an identifier other than {OTHER!r} and {BLANK!r}")
        named = (("condition", self.conditions), ("contrast", tuple(contrast.name for contrast in self.contrasts)), ("ROI", self.rois))
        for kind, names in named:
            twice = [name for name in names if names.count(name) > 1]
            if twice:
                raise ValueError(f"{kind} {twice[0]!r} stands there twice; keep one")
        for contrast in self.contrasts:
            plus, minus = split_contrast(contrast.expression)
            unknown = [term for term in plus + minus if term not in (*self.conditions, OTHER)]
            if unknown and self.conditions:
                raise ValueError(
                    f"contrast {contrast.name!r} names {unknown[0]!r}; conditions are {', '.join(self.conditions)} (and {OTHER!r})"
                )
        if self.trigger.source.removeprefix("keyboard:") in self.probe.keys:
            raise ValueError("the trigger's key is also a response key; change one of them")
        if self.probe.kind == "catch" and self.probe.catch_condition in self.conditions:
            raise ValueError(f"conditions has {self.probe.catch_condition!r}, whose images are the catch images; take it out")
        self._check_blocks()
        return self

    def _check_blocks(self) -> None:
        timing = self.timing
        counts = (timing.repetitions, timing.trials_per_run)
        if self.blocks is None:
            if counts == (None, None):
                raise ValueError("timing: give repetitions or trials_per_run (or a table [blocks])")
            return
        only = (timing.jitter_s, timing.streak, timing.blanks_first, timing.blanks_last, timing.blanks_per_run)
        if counts != (None, None) or any(only) or timing.order != "even":
            raise ValueError("with [blocks], timing has no repetitions, trials_per_run, jitter_s, streak, order or blanks; take them out")

    @classmethod
    def read(cls, path: Path) -> "Protocol":
        """Read and check a protocol TOML file (or the resolved JSON that `write` makes)."""
        return read_config(path, cls)

    def write(self, path: Path) -> None:
        """Write the protocol, resolved with every default, as JSON."""
        write_config(self, path)


def split_contrast(expression: str) -> tuple[list[str], list[str]]:
    """Split `a + b - c` into the terms added and the terms subtracted.

    Raises
    ------
    ValueError
        When the expression is not a sum and difference of identifiers, or one side is empty.
    """
    plus: list[str] = []
    minus: list[str] = []
    position = 0
    while position < len(expression):
        match = _TERM.match(expression, position)
        if match is None or (position > 0 and match[1] is None):
            raise ValueError(f"contrast {expression!r} is not of the form 'a - b' or 'a + b - c'")
        (minus if match[1] == "-" else plus).append(match[2])
        position = match.end()
    if not plus or not minus:
        raise ValueError(f"contrast {expression!r} needs at least one term on each side of '-'")
    twice = [term for term in plus + minus if (plus + minus).count(term) > 1]
    if twice:
        raise ValueError(f"contrast {expression!r} names {twice[0]!r} twice; name it once")
    return plus, minus


def _is_positive(number: str) -> bool:
    try:
        return math.isfinite(float(number)) and float(number) > 0
    except ValueError:
        return False
