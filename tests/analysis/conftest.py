"""The planted study, scanned and analyzed once for all tests that only look."""

from pathlib import Path

import pytest

from tests.analysis.planted import Study, make_study
from tests.analysis.program import run_analysis

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return make_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="session")
def bids(study: Study) -> Path:
    out = study.folder / "bids"
    run_analysis("simulate", study.sim, "--plan", study.plan, "--set", study.stimuli, "--out", out)
    return out


@pytest.fixture(scope="session")
def betas(study: Study, bids: Path) -> Path:
    out = study.folder / "glm"
    run_analysis("glm", bids, "--protocol", study.protocol, "--out", out)
    return out


@pytest.fixture(scope="session")
def roi_folder(study: Study, bids: Path, betas: Path) -> Path:
    out = study.folder / "rois"
    run_analysis("rois", bids, "--betas", betas, "--out", out)
    return out


@pytest.fixture(scope="session")
def group_folder(study: Study, roi_folder: Path) -> Path:
    out = study.folder / "group"
    run_analysis("group", roi_folder, "--protocol", study.protocol, "--out", out)
    return out


@pytest.fixture
def measured() -> Path:
    """The measured data sets beside the project."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"measured data are not there: {folder}")
    return folder
