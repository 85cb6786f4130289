"""The meshes that `analysis surfaces` writes are fsaverage5's, and `stimgen view` reads them."""

import nibabel
import numpy as np

from analysis.__main__ import app
from analysis.template_meshes import write_meshes
from stimgen.surface_files import read_surfaces


def test_the_meshes_are_those_of_fsaverage5(tmp_path):
    names = write_meshes(tmp_path)
    assert len(names) == 6
    surfaces = read_surfaces(tmp_path)
    assert surfaces.subject is None
    for one, left in zip(surfaces.hemispheres, (True, False), strict=True):
        assert list(one.positions) == ["inflated", "pial"]
        assert {len(points) for points in one.positions.values()} == {10242} == {one.vertices}
        assert one.triangles.shape == (20480, 3)
        assert (one.positions["pial"][:, 0].mean() < 0) == left
        depth = nibabel.load(tmp_path / f"hemi-{one.name}_sulc.shape.gii").darrays[0].data
        np.testing.assert_array_equal(one.sulc, depth)


def test_the_verb_is_there():
    assert "surfaces" in [command.name for command in app.registered_commands]
