"""What several verbs ask for: which runs, which regions, which model."""

from pathlib import Path
from typing import Annotated

import typer

BidsArgument = Annotated[
    Path, typer.Argument(metavar="BIDS", help="BIDS folder with events, and fMRIPrep's output in derivatives/fmriprep.")
]
TaskOption = Annotated[str, typer.Option(help="Task label.")]
SpaceOption = Annotated[str | None, typer.Option(help="Space of the BOLD, where there are several; fsaverage* are surfaces.")]
SubjectOption = Annotated[list[str] | None, typer.Option(help="Only this subject; repeat for more.")]
SessionOption = Annotated[list[str] | None, typer.Option(help="Only this session; repeat for more.")]
DerivativesOption = Annotated[
    Path | None, typer.Option(help="Folder with fMRIPrep's output (default: BIDS/derivatives/fmriprep).", show_default=False)
]
SetOption = Annotated[Path | None, typer.Option("--set", help="Stimulus set that was shown (default: BIDS/stimuli).", show_default=False)]
LabelsOption = Annotated[
    Path | None, typer.Option(help="Instead of masks: a segmentation (dseg.nii.gz, label.gii, annot), or a folder of them.")
]
RoiOption = Annotated[list[str] | None, typer.Option(help="Region to take; repeat for more (default: all).", show_default=False)]
ConfoundsOption = Annotated[str, typer.Option(help="none, motion6, motion12, motion24, simple, compcor or scrub.")]
HrfOption = Annotated[str, typer.Option(help="glover or spm, each also with +derivative or +derivative+dispersion; fir.")]
ShapeOption = Annotated[str, typer.Option(help="glover, spm, or another shape of one column.")]
HighPassOption = Annotated[float, typer.Option(help="Period of the slowest signal kept, in seconds.")]
StdDvarsOption = Annotated[float, typer.Option(help="scrub: highest standardized DVARS of a volume that is kept.")]
OverwriteOption = Annotated[bool, typer.Option(help="Replace this command's files in OUT.")]
ClusterOption = Annotated[
    str | None,
    typer.Option(help="Work elsewhere: local:N (N processes), tcp://host:port (a dask scheduler) or slurm.toml.", show_default=False),
]
