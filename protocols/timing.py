"""When the trials of a study happen: single trials with blanks and jitter, or blocks."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from protocols.config import config


@config
class Timing:
    """When things happen; every duration in seconds. A trial is `image_s` of image and `gap_s` of background.

    How many trials a run has follows from `repetitions`, from `trials_per_run`, or from the table `[blocks]`.
    """

    tr_s: float = Field(gt=0)
    image_s: float = Field(gt=0)
    gap_s: float = Field(ge=0)
    jitter_s: tuple[float, ...] = ()
    """Seconds added to the gaps, such as [0, 1, 2]: each value equally often in a run, in random order."""
    lead_in_s: float = Field(default=12.0, ge=0)
    lead_out_s: float = Field(default=16.0, ge=0)
    blanks_first: int = Field(default=0, ge=0)
    """Blank trials before the first image, listed as trials (`lead_in_s` is not)."""
    blanks_last: int = Field(default=0, ge=0)
    """Blank trials after the last image."""
    sessions: int = Field(default=1, ge=1)
    runs: int = Field(ge=1)
    """Runs per session."""
    repetitions: int | None = Field(default=None, ge=1)
    """How often each image is shown per session, over all runs of the session; one-back repeats not counted."""
    trials_per_run: int | None = Field(default=None, ge=1)
    """Instead of `repetitions`: trials between the first and the last blanks; images are shown as equally often as it goes."""
    blanks_per_run: int | tuple[int, ...] = 0
    """Blank trials between images; several numbers hold for runs in turn: [5, 6] is 5 in odd and 6 in even runs."""
    streak: tuple[int, int] | None = None
    """Fewest and most image trials between two blanks. Blanks that such streaks leave over stand before the last ones."""
    order: Literal["even", "latin_square"] = "even"
    """Cells follow one another evenly over all runs, or stand in the rows of a balanced Latin square over runs and subjects."""
    off_grid: bool = False
    """Allow blocks that are no whole number of TRs."""

    @field_validator("jitter_s")
    @classmethod
    def _not_negative(cls, jitter_s: tuple[float, ...]) -> tuple[float, ...]:
        if any(one < 0 for one in jitter_s):
            raise ValueError("jitter is added to gap_s, so every value is 0 or more")
        return jitter_s

    @field_validator("blanks_per_run")
    @classmethod
    def _counts(cls, blanks: int | tuple[int, ...]) -> int | tuple[int, ...]:
        if blanks == () or min((blanks,) if isinstance(blanks, int) else blanks) < 0:
            raise ValueError("blanks_per_run is a number of blanks, 0 or more, or a list of such numbers")
        return blanks

    @field_validator("streak")
    @classmethod
    def _fewest_first(cls, streak: tuple[int, int] | None) -> tuple[int, int] | None:
        if streak is not None and not 1 <= streak[0] <= streak[1]:
            raise ValueError("a streak is [fewest, most] image trials between two blanks, such as [9, 14]")
        return streak

    @model_validator(mode="after")
    def _counted_once(self) -> "Timing":
        if self.repetitions is not None and self.trials_per_run is not None:
            raise ValueError("repetitions and trials_per_run both say how many trials there are; give one")
        return self

    @property
    def trial_s(self) -> float:
        """Length of one trial without its jitter."""
        return self.image_s + self.gap_s

    def count_blanks(self, run: int) -> int:
        """Return how many blanks stand between the images of run number `run` (from 1)."""
        blanks = (self.blanks_per_run,) if isinstance(self.blanks_per_run, int) else self.blanks_per_run
        return blanks[(run - 1) % len(blanks)]


@config
class Blocks:
    """Images of one cell in a row: blocks, or miniblocks. `[timing]` says how long each image and the gap after it last."""

    images_per_block: int = Field(ge=1)
    blocks_per_cell: int = Field(ge=1)
    """How many blocks of each cell (and of baseline) a run has."""
    baseline: bool = True
    """Blocks without images, as long and as many as those of a cell."""
    padding: int = Field(default=1, ge=0)
    """Further baseline blocks at each end of a run."""
    counterbalanced: bool = True
    """Every kind of block follows every kind, itself included, equally often in a run."""
