"""What the verb `glm` decides before anything is modelled."""

from analysis.glm_verb import _find_set


def test_a_task_with_a_set_of_its_own_is_found(tmp_path):
    own = tmp_path / "stimuli" / "task-floc"
    own.mkdir(parents=True)
    for folder in (tmp_path / "stimuli", own):
        (folder / "stimuli.tsv").write_text("")
    assert _find_set(tmp_path, None, "floc") == own
    assert _find_set(tmp_path, None, "other") == tmp_path / "stimuli"
    assert _find_set(tmp_path, own.parent, "floc") == tmp_path / "stimuli"
