"""Rows out of every kind of table, and why one is none."""

import json

import pytest
from comfyui_videop2p.batch.faults import BatchError
from comfyui_videop2p.batch.table import columns, read

EDIT = {"clip": "rabbit.mp4", "source_prompt": "a red rabbit", "target_prompt": "a red star"}


def test_a_csv_leaves_empty_cells_to_the_graph(tmp_path):
    path = tmp_path / "edits.csv"
    path.write_text(
        '\ufeffclip,source_prompt,target_prompt,steps\nrabbit.mp4,"a rabbit, red",a star,\n\n', encoding="utf-8"
    )
    (row,) = read(path)
    assert row.values == {"clip": "rabbit.mp4", "source_prompt": "a rabbit, red", "target_prompt": "a star"}
    assert row.where == "edits.csv, line 2" and not row.fault


def test_a_comma_too_many_is_the_fault_of_its_row_alone(tmp_path):
    path = tmp_path / "edits.csv"
    path.write_text("clip,target_prompt\nrabbit.mp4,a, star\nrabbit.mp4,a star\n", encoding="utf-8")
    bad, good = read(path)
    assert bad.fault.startswith("it has 3 cells and the table 2 columns") and not good.fault


def test_json_lines_keep_their_types_and_an_empty_text(tmp_path):
    path = tmp_path / "edits.jsonl"
    path.write_text(f"{json.dumps(EDIT | {'steps': 4, 'blend_source': '', 'cfg': None})}\nno\n[1]\n", encoding="utf-8")
    good, broken, strange = read(path)
    assert good.values == EDIT | {"steps": 4, "blend_source": ""}
    assert broken.fault.startswith("it is no JSON") and strange.fault.startswith("it is no object but [1]")


def test_parquet(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    pyarrow = pytest.importorskip("pyarrow")
    parquet.write_table(pyarrow.Table.from_pylist([EDIT | {"steps": 4}, EDIT]), tmp_path / "edits.parquet")
    assert [row.values for row in read(tmp_path / "edits.parquet")] == [EDIT | {"steps": 4}, EDIT]
    (tmp_path / "broken.parquet").write_text("no")
    with pytest.raises(BatchError, match=r"broken.parquet is no Parquet file"):
        read(tmp_path / "broken.parquet")


def test_a_folder_of_clips_with_texts_beside_them(tmp_path):
    for name in ("a.mp4", "b.webm", "c.mov"):
        (tmp_path / name).touch()
    (tmp_path / "a.txt").write_text("a red rabbit\na red star\n\na blue rabbit\n", encoding="utf-8")
    (tmp_path / "b.jsonl").write_text('{"source_prompt": "a car", "target_prompt": "a bus", "steps": 9}\n')
    rows = read(tmp_path)
    assert [row.values.get("target_prompt") for row in rows] == ["a red star", "a blue rabbit", "a bus", None]
    assert rows[2].values == {"clip": "b.webm", "source_prompt": "a car", "target_prompt": "a bus", "steps": 9}
    assert rows[3].fault == "there is no text beside it: write c.txt, first the source prompt"
    assert columns(rows) == ["clip", "source_prompt", "target_prompt", "steps"]


@pytest.mark.parametrize(
    "name, text, said",
    [
        ("gone.csv", None, "there is no table"),
        ("edits.xls", "", "is no table that is read here: .csv, .jsonl, .parquet"),
        ("edits.csv", "clip,target_prompt\n", "holds no edit"),
        ("edits.csv", b"clip\n\xff\xfe", "cannot be read"),
    ],
)
def test_what_is_no_table_is_a_sentence(tmp_path, name, text, said):
    path = tmp_path / name
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(BatchError, match=said):
        read(path)
