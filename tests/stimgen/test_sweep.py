"""A sweep from plan to store: every target has its images, batches need one depth, and an interrupted sweep goes on to the same bytes."""

import dataclasses
import hashlib
import io

import numpy as np
import pytest
import torch
from PIL import Image

from protocols.errors import InputError
from protocols.provenance import Provenance
from stimgen import sweep_work
from stimgen.encoding_model import EncodingModel
from stimgen.image_settings import ImageSettings
from stimgen.jobs import Workplace
from stimgen.optimize import Climb
from stimgen.sweep import describe_sweep, plan_sweep, write_sweep
from stimgen.sweep_settings import SweepSettings
from stimgen.sweep_store import SweepStore
from stimgen.sweep_work import make_batch
from tests.stimgen.small_sweep import LAYERS, find_shards, make_place, make_settings, make_wish, write_lab, write_model


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    return write_lab(tmp_path_factory.mktemp("sweep"))


def finish(plan, place, wish, settings, out):
    """Make what is missing and write the store."""
    for batch in plan.batches:
        make_batch(batch)
    out.mkdir()
    write_sweep(plan, describe_sweep(plan, place, wish, settings, out), out)
    Provenance.collect("stimgen sweep", {}, {}).write(out)
    return SweepStore.read(out)


@pytest.fixture(scope="module")
def swept(lab, tmp_path_factory):
    """A finished sweep of two images of each voxel, in batches of two targets."""
    folder = tmp_path_factory.mktemp("swept")
    place, wish, settings = make_place(folder, *lab), make_wish(images=2), make_settings(batch=4)
    plan = plan_sweep(place, wish, settings)
    return plan, finish(plan, place, wish, settings, folder / "out")


def test_every_target_has_its_images_and_they_are_those_of_the_table(swept):
    _, store = swept
    assert len(store.targets) == 14  # seven voxels of each subject are accurate enough
    assert (store.images["target_id"].value_counts() == 2).all()
    assert list(store.images["target_id"].unique()) == list(store.targets["target_id"])
    for shard, rows in store.images.groupby("shard"):
        pngs = store.read_shard(str(shard))
        assert list(pngs) == list(rows["image_id"])
        assert [hashlib.sha256(png).hexdigest() for png in pngs.values()] == list(rows["sha256"])
    assert {Image.open(io.BytesIO(png)).size for png in pngs.values()} == {(32, 32)}


def test_the_table_of_targets_keeps_the_models_columns(swept):
    _, store = swept
    assert list(store.targets["i"].astype(int)) == [0, 1, 3, 4, 6, 7, 8, 9, 10, 12, 13, 15, 16, 17]


def test_a_batch_reads_one_depth_and_the_deepest_come_first(swept):
    plan, store = swept
    layer = dict(zip(store.targets["target_id"], store.targets["layer"], strict=True))
    depths = [{layer[image.target.target_id] for image in batch.images} for batch in plan.batches]
    assert all(len(depth) == 1 and len(batch.images) <= 4 for depth, batch in zip(depths, plan.batches, strict=True))
    order = [LAYERS.index(depth.pop()) for depth in depths]
    assert order == sorted(order, reverse=True)
    assert set(order) == {0, 1, 2}


def test_predicted_and_judged_are_those_of_the_saved_images(swept, lab):
    _, store = swept
    pool, *models = lab
    natural = read_pixels(sorted(pool.glob("*.png")))
    shown = read_pixels([io.BytesIO(store.read_image(image_id)) for image_id in store.images["image_id"]])
    for column, folder in zip(("predicted", "judged"), models, strict=True):
        model = EncodingModel.read(folder)
        place = {voxel: number for number, voxel in enumerate(model.voxels["voxel_id"])}
        reference, responses = model.predict(natural).numpy(), model.predict(shown).numpy()
        z = (responses - reference.mean(axis=0)) / reference.std(axis=0)
        for row, (target_id, found) in enumerate(zip(store.images["target_id"], store.images[column], strict=True)):
            if target_id in place:
                assert found == pytest.approx(z[row, place[target_id]], abs=2e-3)
            else:  # the judge knows subject 01 alone
                assert column == "judged"
                assert target_id.startswith("02")
                assert np.isnan(found)


def read_pixels(files):
    images = [np.asarray(Image.open(file).convert("RGB").resize((8, 8), Image.Resampling.BILINEAR)) for file in files]
    return torch.from_numpy(np.stack(images).astype(np.float32) / 255).permute(0, 3, 1, 2)


def test_images_do_more_for_their_voxels_than_where_they_started(lab, tmp_path):
    """The starts are the best natural images; a longer ascent leaves them behind."""
    place, wish = make_place(tmp_path, *lab[:2]), make_wish(most=3)
    drives = []
    for steps in (1, 25):
        settings = make_settings(steps=steps, learning_rate=0.05)
        store = finish(plan_sweep(place, wish, settings), place, wish, settings, tmp_path / f"out{steps}")
        assert store.images["judged"].isna().all()
        drives.append(store.images["predicted"].to_numpy())
    assert (drives[1] > drives[0]).all()


def test_the_card_names_models_and_pool(swept, lab):
    _, store = swept
    card = store.card
    assert (card["model"]["name"], card["judges"][0]["name"], card["pool"]["images"]) == ("maker", "judge", 12)
    assert (store.folder / card["sources"]["models"][0]).resolve() == lab[1].resolve()
    assert (store.folder / card["sources"]["pool"]).resolve() == lab[0].resolve()


def stop_climbs_after(monkeypatch, batches):
    """Let so many batches be finished, then fail in the middle of the next, after its first state was written."""
    make, done = Workplace.make, []

    def make_some(self, climb, on_step=lambda images: None):
        def step(images):
            if len(done) == batches and any(self.folder.glob("*.state")):
                raise KeyboardInterrupt
            on_step(images)

        made = make(self, climb, step)
        done.append(climb)
        return made

    monkeypatch.setattr(Workplace, "make", make_some)


def test_an_interrupted_sweep_goes_on_to_the_same_bytes(lab, tmp_path, monkeypatch):
    wish, settings = make_wish(most=8), make_settings(batch=2, checkpoint_s=1e-9)
    whole = plan_sweep(make_place(tmp_path / "a", *lab), wish, settings)
    finish(whole, make_place(tmp_path / "a", *lab), wish, settings, tmp_path / "whole")
    place = make_place(tmp_path / "b", *lab)
    with monkeypatch.context() as patched:
        stop_climbs_after(patched, 2)
        with pytest.raises(KeyboardInterrupt):
            finish(plan_sweep(place, wish, settings), place, wish, settings, tmp_path / "never")
    finished = [batch.scores.is_file() for batch in plan_sweep(place, wish, settings).batches]
    assert finished == [True, True] + [False] * (len(finished) - 2)
    assert any(place.work.glob("*.state"))
    climbed: list[Climb] = []
    real = sweep_work.prepare_climb
    monkeypatch.setattr(sweep_work, "prepare_climb", lambda *given: climbed.append(real(*given)) or climbed[-1])
    finish(plan_sweep(place, wish, settings), place, wish, settings, tmp_path / "resumed")
    assert len(climbed) == len(finished) - 2  # what was finished was not made again
    assert find_shards(tmp_path / "resumed") == find_shards(tmp_path / "whole")
    assert (tmp_path / "resumed" / "images.tsv").read_bytes() == (tmp_path / "whole" / "images.tsv").read_bytes()
    assert not any(place.work.glob("*.state"))


def test_a_batch_is_made_on_one_core_whatever_the_process_has(lab, tmp_path, monkeypatch):
    """The last bits of trained networks' convolutions depend on the number of threads."""
    used, make = [], Workplace.make
    monkeypatch.setattr(Workplace, "make", lambda *given: used.append(torch.get_num_threads()) or make(*given))
    torch.set_num_threads(2)
    try:
        make_batch(plan_sweep(make_place(tmp_path, *lab), make_wish(most=1), make_settings()).batches[0])
        assert (used, torch.get_num_threads()) == ([1], 2)
    finally:
        torch.set_num_threads(1)


def test_a_batch_is_named_by_what_it_depends_on(lab, tmp_path):
    def name(place=make_place(tmp_path, *lab), wish=make_wish(), settings=make_settings()):
        return plan_sweep(place, wish, settings).batches[0].name

    assert name() == name(settings=make_settings(checkpoint_s=5))
    assert name() == name(place=make_place(tmp_path / "elsewhere", *lab))
    assert (
        len({name(), name(wish=make_wish(seed=2)), name(settings=make_settings(steps=4)), name(place=make_place(tmp_path, *lab[:2]))}) == 4
    )


def test_parcels_and_several_images(lab, tmp_path):
    place, wish, settings = make_place(tmp_path, *lab), make_wish(parcels=True, images=3), make_settings()
    store = finish(plan_sweep(place, wish, settings), place, wish, settings, tmp_path / "out")
    assert list(store.targets["target_id"]) == ["01_V3", "01_LO", "01_EBA", "02_V3", "02_LO", "02_EBA"]
    assert len(store.images) == 18
    starts = store.images.groupby("target_id")["start"].nunique()
    assert (starts == 3).all()  # from different natural images


def test_noise_starts_and_ids_that_are_no_file_names(lab, tmp_path):
    model = EncodingModel.read(lab[1])
    ids = ["a+b", "A B", "a b", "V3", *model.voxels["voxel_id"][4:]]
    odd = write_model(tmp_path / "odd", EncodingModel(model.space, model.readout, model.voxels.assign(voxel_id=ids, cv_r=0.5), model.card))
    place, wish = make_place(tmp_path, lab[0], odd), make_wish(most=99, subjects=("01",))
    settings = SweepSettings(size_px=32, ascent=make_settings().ascent, image=ImageSettings(start="noise"))
    store = finish(plan_sweep(place, wish, settings), place, wish, settings, tmp_path / "out")
    assert list(store.images["image_id"][:4]) == ["a-b-0_0", "A-B-1_0", "a-b-2_0", "V3_0"]
    assert store.images["start"].isna().all()
    assert {"a+b", "A B", "a b", "V3"} <= set(store.targets["target_id"])


def test_a_judge_on_the_same_network_is_refused(lab, tmp_path):
    with pytest.raises(InputError, match="the same network made the images; fit the judge on another backbone"):
        plan_sweep(make_place(tmp_path, lab[0], lab[1], lab[1]), make_wish(), make_settings())


def test_too_small_a_pool_is_refused(lab, tmp_path):
    with pytest.raises(InputError, match="the natural pool has 12 images, but each target needs 13"):
        plan_sweep(make_place(tmp_path, *lab), make_wish(images=13), make_settings())


def test_a_computer_that_does_not_see_the_work_folder_says_so(lab, tmp_path):
    plan = plan_sweep(make_place(tmp_path, *lab), make_wish(most=1), make_settings())
    plan.batches[0].place.work.rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="does not see it; with --cluster OUT must lie in a folder that all computers share"):
        make_batch(plan.batches[0])


def test_a_batch_that_was_finished_elsewhere_is_missed(lab, tmp_path):
    place, wish, settings = make_place(tmp_path, *lab), make_wish(most=3), make_settings()
    plan = plan_sweep(place, wish, settings)
    make_batch(plan.batches[0])
    with pytest.raises(InputError, match=f"{len(plan.batches) - 1} batches that workers finished are not there"):
        write_sweep(plan, {}, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_voxel_that_never_varies_is_left_out_and_counted(lab, tmp_path):
    model = EncodingModel.read(lab[1])
    coefficients = model.readout.coefficients.copy()
    coefficients[:, 0] = 0
    flat = EncodingModel(model.space, dataclasses.replace(model.readout, coefficients=coefficients), model.voxels, model.card)
    plan = plan_sweep(make_place(tmp_path, lab[0], write_model(tmp_path / "flat", flat)), make_wish(subjects=("01",)), make_settings())
    assert plan.constant == 1
    assert len(plan.targets) == 6
