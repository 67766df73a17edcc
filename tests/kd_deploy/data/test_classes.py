"""The classes file: what it may say, and the line that is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kd_deploy.data.classes import Classes, read_classes
from kd_deploy.data.labels import pascal_palette
from kd_deploy.runtime.errors import UserError


def read(tmp_path: Path, text: str) -> Classes:
    (tmp_path / "classes.txt").write_bytes(text.encode())
    return read_classes(tmp_path / "classes.txt")


def mapped(classes: Classes, *ids: int) -> list[int]:
    labels, unknown = classes.ids.to_classes(np.array([ids], np.uint8))
    return [-1 if id_ in unknown else label for id_, label in zip(ids, labels[0].tolist(), strict=True)]


def test_names_take_their_ids_in_order(tmp_path: Path) -> None:
    classes = read(tmp_path, "\ufeff# a comment\r\nroad\r\n\r\n  traffic light :  #80C0ff\r\nsky")
    assert classes.names == ("road", "traffic light", "sky")
    assert classes.palette.dtype == np.uint8
    assert classes.palette.tolist() == [[128, 0, 0], [128, 192, 255], [0, 128, 0]]
    assert mapped(classes, 0, 1, 2, 3, 255) == [0, 1, 2, -1, -1]
    assert (
        classes.ids.legend == "classes.txt has the ids 0 to 2 and ignores none (a line `ignore: 255` would)"
    )


def test_ignored_ids_by_number_and_by_place(tmp_path: Path) -> None:
    classes = read(tmp_path, "ignore: 255 9\nignore\nroad\nignore\nsky\nignore: 254")
    assert classes.names == ("road", "sky")
    assert mapped(classes, 0, 1, 2, 3, 4, 9, 254, 255) == [255, 0, 255, 1, -1, 255, 255, 255]
    assert classes.ids.legend == "classes.txt has the ids 1 to 3 and ignores 0, 2, 9, 254, 255"


def test_colours_that_are_not_given_differ_from_all_others(tmp_path: Path) -> None:
    taken = pascal_palette(4)[1:]
    text = "a\nb: #{:02x}{:02x}{:02x}\nc\nd: #{:02x}{:02x}{:02x}\ne\n".format(*taken[0], *taken[2])
    palette = read(tmp_path, text).palette
    assert palette.tolist() == [
        taken[1].tolist(),
        taken[0].tolist(),
        [0, 0, 128],
        taken[2].tolist(),
        [128, 0, 128],
    ]
    assert len(np.unique(palette, axis=0)) == 5


def test_255_classes_and_no_more(tmp_path: Path) -> None:
    lines = [f"class {number}" for number in range(255)]
    classes = read(tmp_path, "\n".join([*lines, "ignore: 255"]))
    assert len(classes.names) == len(np.unique(classes.palette, axis=0)) == 255
    assert mapped(classes, 0, 254, 255) == [0, 254, 255]
    assert len(read(tmp_path, "\n".join(["ignore", *lines])).names) == 255  # ids 1 to 255
    with pytest.raises(UserError, match=r"classes\.txt:256: one class too many; 255 fit"):
        read(tmp_path, "\n".join([*lines, "another"]))
    with pytest.raises(UserError, match=r"classes\.txt:257: one class too many; 255 fit"):
        read(tmp_path, "\n".join(["ignore", "ignore", *lines]))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("road\nsky\n\nroad", ":4: 'road' stands there twice; give each class a name of its own"),
        ("road\n: #ffffff", ":2: lacks a name before the colon; write NAME or NAME: #rrggbb"),
        ("road: red", ":1: 'red' is no colour; write #rrggbb, such as #804080, or no colon"),
        ("road:", ":1: '' is no colour; write #rrggbb"),
        ("road: #12345", ":1: '#12345' is no colour; write #rrggbb"),
        (
            "road\nignore: 255, 254",
            ":2: '255,' is no id; write ignore: and ids from 0 to 255, such as ignore: 255",
        ),
        ("road\nignore: 256 -1 x", ":2: '256 -1 x' is no id"),
        ("road\nignore:", ":2: '' is no id"),
        ("ignore: 1\nroad\nsky", ":1: the id 1 is that of 'sky', by its place; leave it out"),
        ("ignore\nroad\nignore: 0", ":3: the id 0 is that of 'ignore', by its place; leave it out"),
        ("# nothing\nignore: 255", ": names no class; write one in each line"),
        ("", ": names no class; write one in each line"),
    ],
)
def test_a_wrong_file(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(UserError) as caught:
        read(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path / 'classes.txt'}{problem}")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_bytes(b"caf\xe9")
    for file in (tmp_path / "classes.txt", tmp_path / "none.txt"):
        with pytest.raises(UserError, match=r"\.txt: cannot be read \(.*\); save it as UTF-8 text$"):
            read_classes(file)
