"""RoiTable: write then read is identity; a missing column, a wrong cell and a second row for one key are refused."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import InputError
from protocols.roi_table import COLUMNS, FILE_NAME, HEMISPHERES, KEY, RoiTable
from tests.protocols.strategies import make_table, tables

ROW = ("01", None, 1, "FFA", "L", "face01", "target", "FFA", 0.5, 0.1, 20)


@given(table=tables(COLUMNS), hemispheres=st.lists(st.sampled_from(HEMISPHERES), min_size=4, max_size=4))
def test_write_then_read_is_identity(table, hemispheres, tmp_path):
    table["hemisphere"] = pd.Series(hemispheres[: len(table)], dtype=object)
    table = table.drop_duplicates(KEY).reset_index(drop=True)
    RoiTable(table).write(tmp_path / FILE_NAME)
    pd.testing.assert_frame_equal(RoiTable.read(tmp_path / FILE_NAME).table, table)
    pd.testing.assert_frame_equal(RoiTable.read(tmp_path).table, table)


@pytest.mark.parametrize("column", COLUMNS)
def test_each_column_is_needed(column, tmp_path):
    make_table(COLUMNS, [ROW]).drop(columns=column).to_csv(tmp_path / FILE_NAME, sep="\t", index=False)
    with pytest.raises(InputError) as refusal:
        RoiTable.read(tmp_path)
    assert str(refusal.value).startswith(f"{tmp_path / FILE_NAME}: missing column {column}; found ")


def test_a_second_row_for_one_key_is_refused():
    second = (*ROW[:8], 9.9, 0.2, 3)
    with pytest.raises(InputError) as refusal:
        RoiTable(make_table(COLUMNS, [ROW, ("02", *ROW[1:]), second]), "here.tsv")
    key = "subject 01, session None, run 1, roi FFA, hemisphere L, stim_id face01"
    assert str(refusal.value) == f"here.tsv row 4: a second response for {key}; keep one"


@pytest.mark.parametrize(("column", "cell"), [("response_psc", "n/a"), ("n_voxels", "2.5"), ("subject", "n/a"), ("se_psc", "small")])
def test_a_cell_of_another_kind_is_refused(column, cell):
    table = make_table(COLUMNS, [ROW, ("02", *ROW[1:])]).astype(object)
    table.loc[1, column] = cell
    with pytest.raises(InputError, match=rf"t\.tsv row 3: {column} is '?{cell}'?, expected"):
        RoiTable(table, "t.tsv")


def test_another_hemisphere_is_refused():
    table = make_table(COLUMNS, [ROW, (*ROW[:4], "left", *ROW[5:])])
    with pytest.raises(InputError) as refusal:
        RoiTable(table, "t.tsv")
    assert str(refusal.value) == "t.tsv row 3: hemisphere is 'left', expected L, R, LR"


def test_rows_of_a_filtered_table_are_numbered_anew():
    table = make_table(COLUMNS, [ROW, ("02", *ROW[1:]), ("03", *ROW[1:])])
    assert RoiTable(table[table["subject"] != "01"]).table.index.tolist() == [0, 1]
