"""The verbs `import ...`: data in somebody else's layout in, the responses folder of one subject out."""

from collections import Counter
from pathlib import Path
from typing import Annotated, Literal

import typer

from protocols.errors import InputError
from protocols.output_folder import refuse_non_empty, staged_folder
from protocols.provenance import Provenance
from protocols.responses import Responses
from protocols.roi_table import FILE_NAME
from stimgen.console import progress_console
from stimgen.import_algonauts import DEFAULT_MAPS, parse_maps, read_algonauts
from stimgen.import_folder import copy_images, read_folder
from stimgen.import_nsd import NsdRelease, check_stimuli, find_sessions, list_images, read_betas, read_trials, write_images
from stimgen.import_nsd_voxels import read_voxels
from stimgen.import_roi_table import read_roi_table

import_app = typer.Typer(
    help="Import measured responses and their images from another layout into a responses folder, which `stimgen fit` reads.\n\n"
    "Example: stimgen import folder mydata/ --out responses/sub-01",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
_MAPS_HELP = "ROI maps between commas; where two name a voxel, the first of them counts."
_Out = Annotated[Path, typer.Option(help="Responses folder to write; its name, without sub-, is the subject's label.")]
_Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace this command's files in OUT.")]


@import_app.command("algonauts2023")
def algonauts2023(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="SRC is a subject's folder of the challenge, such as subj01/.")],
    out: _Out,
    roi_maps: Annotated[str, typer.Option(help=_MAPS_HELP)] = DEFAULT_MAPS,
    all_vertices: Annotated[bool, typer.Option("--all-vertices", help="Keep vertices outside of the maps too, with the ROI none.")] = False,
    overwrite: _Overwrite = False,
) -> None:
    """Import a subject's training data of the Algonauts 2023 challenge (NSD on fsaverage, averaged over repetitions).

    Example: stimgen import algonauts2023 algonauts/subj01 --out responses/sub-01
    """
    _check_folders(source, out, overwrite)
    maps = parse_maps(roi_maps)
    responses, files = read_algonauts(source, maps, all_vertices)
    settings = {"roi_maps": maps, "all_vertices": all_vertices}
    provenance = Provenance.collect("stimgen import algonauts2023", settings, {"source": source})
    _write(responses, files, out, provenance, overwrite)


@import_app.command("nsd")
def nsd(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="SRC is the folder that holds nsddata/, nsddata_betas/, nsddata_stimuli/.")],
    out: _Out,
    subject: Annotated[int, typer.Option(min=1, max=8, help="NSD's subject, 1 to 8.")],
    sessions: Annotated[
        str | None, typer.Option(help="Sessions: a count (10, the first ten) or a range (3-12); all there if absent.")
    ] = None,
    resolution: Annotated[Literal["func1pt8mm", "func1mm"], typer.Option(help="Preparation of the volumes.")] = "func1pt8mm",
    betas: Annotated[str, typer.Option(help="Version of the betas, a folder's name.")] = "betas_fithrf_GLMdenoise_RR",
    roi_maps: Annotated[str, typer.Option(help=_MAPS_HELP)] = DEFAULT_MAPS,
    zscore: Annotated[bool, typer.Option("--zscore", help="Standardize each voxel within each session; percent otherwise.")] = False,
    overwrite: _Overwrite = False,
) -> None:
    """Import single-trial responses of the Natural Scenes Dataset in volumes; only voxels in an ROI are read.

    Needs as much memory as the result, trials x voxels x 4 bytes.
    Example: stimgen import nsd /data/nsd --subject 1 --sessions 10 --out responses/sub-01
    """
    _check_folders(source, out, overwrite)
    release = NsdRelease(source, subject, resolution, betas)
    maps, numbers = parse_maps(roi_maps), find_sessions(release, sessions)
    trials = read_trials(release, numbers)
    voxels, shape = read_voxels(release, maps)
    images = list_images(trials)
    check_stimuli(release.stimuli, images["nsd_id"].tolist())
    settings = {"subject": subject, "sessions": numbers, "resolution": resolution, "betas": betas, "roi_maps": maps, "zscore": zscore}
    progress_console().print("hashing the files that are read")  # many gigabytes: a minute of silence would look like a fault
    provenance = Provenance.collect("stimgen import nsd", settings, release.list_inputs(numbers, maps))
    responses = Responses(out, trials.drop(columns="nsd_id"), read_betas(release, numbers, voxels, shape, zscore), voxels, images)
    with staged_folder(out, provenance, overwrite) as folder:
        (folder / "images").mkdir()
        write_images(release.stimuli, images["nsd_id"].tolist(), [folder / name for name in images["image_file"]])
        responses.write(folder)
    _report(responses, out)


@import_app.command("roi-table")
def roi_table(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="SRC is a roi_table.tsv, or the folder that holds it.")],
    out: _Out,
    set_folder: Annotated[Path, typer.Option("--set", help="StimulusSet whose images were shown.")],
    subject: Annotated[str, typer.Option(help="Subject label in the table, without sub-.")],
    overwrite: _Overwrite = False,
) -> None:
    """Import what was measured with a stimulus set: each ROI and hemisphere of a RoiTable becomes one voxel.

    Example: stimgen import roi-table derivatives/rois --set stimuli/set --subject 01 --out measured/sub-01
    """
    refuse_non_empty(out, overwrite)
    table = source / FILE_NAME if source.is_dir() else source
    responses, files = read_roi_table(table, set_folder, subject)
    provenance = Provenance.collect("stimgen import roi-table", {"subject": subject}, {"source": table, "set": set_folder})
    _write(responses, files, out, provenance, overwrite)


@import_app.command("folder")
def folder(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="SRC holds trials.tsv, betas.npy, voxels.tsv and images/.")],
    out: _Out,
    overwrite: _Overwrite = False,
) -> None:
    """Import your own data: three tables or files and a folder of images, checked and written with their provenance.

    Example: stimgen import folder mydata/ --out responses/sub-01
    """
    _check_folders(source, out, overwrite)
    responses, files = read_folder(source)
    _write(responses, files, out, Provenance.collect("stimgen import folder", {}, {"source": source}), overwrite)


def _check_folders(source: Path, out: Path, overwrite: bool) -> None:
    refuse_non_empty(out, overwrite)
    if not source.is_dir():
        raise InputError(f"{source}: no such folder; name the folder that holds the data")


def _write(responses: Responses, files: list[Path], out: Path, provenance: Provenance, overwrite: bool) -> None:
    """Write the responses with a copy of every image."""
    with staged_folder(out, provenance, overwrite) as staging:
        copy_images(files, responses.images["image_file"].tolist(), staging)
        responses.write(staging)
    _report(responses, out)


def _report(responses: Responses, out: Path) -> None:
    rois = Counter(responses.voxels["roi"])
    counted = ", ".join(f"{roi} {count}" for roi, count in rois.items())
    images, (trials, voxels) = len(responses.images), responses.betas.shape
    typer.echo(f"wrote {out}: {trials} trials of {images} images in {voxels} voxels of {len(rois)} ROIs ({counted})")
