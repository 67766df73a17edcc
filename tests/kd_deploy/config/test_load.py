"""Every problem of a recipe at once, in plain words, with its line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kd_deploy.config.load import load_recipe
from kd_deploy.runtime.errors import UserError


def test_the_plain_recipe_is_good(recipe: Any) -> None:
    assert recipe() == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (
            "  iterations: 100",
            "  iterations: 100\n  iteratons: 100",
            "14: train.iteratons: unknown key (did you mean 'iterations'?)",
        ),
        (
            "crop: [64, 64]",
            "crop: [64, 64]\n  optimizer:\n    name: sgdd",
            "17: train.optimizer.name: 'sgdd' is not one of sgd, adamw (did you mean 'sgd'?)",
        ),
        (
            "crop: [64, 64]",
            "crop: [64, 64]\n  optimizer: {name: AdamW}",
            "16: train.optimizer.name: 'AdamW' is not one of sgd, adamw (did you mean 'adamw'?)",
        ),
        ("  batch_size: 4", "  batch_size: 1", "14: train.batch_size: must be at least 2, not 1"),
        ("  batch_size: 4", "  batch_size: [4]", "14: train.batch_size: must be a whole number, not [4]"),
        ("  batch_size: 4", "  batch_size: true", "14: train.batch_size: must be a number, not true"),
        ("  batch_size: 4", "  batch_size: 4.5", "14: train.batch_size: must be a whole number, not 4.5"),
        ("  batch_size: 4", "  batch_size:", "14: train.batch_size: must be a whole number, not empty"),
        (
            "  batch_size: 4",
            "  batch_size: 4\n  clip: .inf",
            "15: train.clip: must be a finite number, not inf",
        ),
        ("  batch_size: 4", "  batch_size: 4\n  clip: 0", "15: train.clip: must be greater than 0, not 0"),
        ("  batch_size: 4", "  batch_size: 4\n  clip: yes", "15: train.clip: must be a number, not 'yes'"),
        (
            "  batch_size: 4",
            "  batch_size: 4\n  momentum: 1",
            "15: train.momentum: unknown key (did you mean 'optimizer.momentum'?)",
        ),
        (
            "  batch_size: 4",
            "  batch_size: 4\n  augment: {flip: yes}",
            "15: train.augment.flip: must be true or false, not 'yes'",
        ),
        ("crop: [64, 64]", "crop: [64]", "15: train.crop: has too few values: [64]"),
        ("crop: [64, 64]", "crop: []", "15: train.crop: has too few values: []"),
        ("crop: [64, 64]", "crop: [64, 64, 3]", "15: train.crop: must have 2 values, not 3"),
        ("crop: [64, 64]", "crop: 64", "15: train.crop: must be a list, not 64"),
        ("crop: [64, 64]", "crop: [64, x]", "15: train.crop[1]: must be a whole number, not 'x'"),
        ("  batch_size: 4\n", "", "12: train.batch_size: missing key"),
        ("format: synthetic", "root: x", "1: data.format: missing key"),
        (
            "format: synthetic",
            "format: synthetc",
            "2: data.format: 'synthetc' is not one of camvid, cityscapes, voc, ade20k, coco_stuff10k, folder, "
            "synthetic (did you mean 'synthetic'?)",
        ),
        ("format: synthetic", "format: camvid", "1: data.root: missing key"),
        (
            "format: synthetic",
            "{format: camvid, rot: x, root: y}",
            "2: data.rot: unknown key (did you mean 'root'?)",
        ),
        ("  encoder: resnet34", "  encoder: ''", "8: teacher.encoder: must not be empty"),
        ("  encoder: resnet34", "  encoder: 34", "8: teacher.encoder: must be text, not 34"),
        (
            "data:\n  format: synthetic\n",
            "data: camvid\n",
            "1: data: must be a section (key: value), not 'camvid'",
        ),
        (
            "distill:\n  - method: kd\n    weight: 1\n",
            "distill: kd\n",
            "9: distill: must be a list, not 'kd'",
        ),
        ("method: kd", "method: kdd", "10: distill[0].method: 'kdd' is not one of"),
        ("  - method: kd\n    weight: 1", "  - weight: 1", "10: distill[0].method: missing key"),
        (
            "  - method: kd\n    weight: 1",
            "  - kd",
            "10: distill[0]: must be a section (key: value), not 'kd'",
        ),
        ("    weight: 1", "    weight: -1", "11: distill[0].weight: must be at least 0, not -1"),
        (
            "    weight: 1",
            "    weight: 1\n    options: {temprature: 2}",
            "12: distill[0].options.temprature: unknown key (did you mean 'temperature'?)",
        ),
        ("train:\n", "evalute: {}\ntrain:\n", "12: evalute: unknown key (did you mean 'evaluate'?)"),
        ("train:\n", "zzz: {}\ntrain:\n", "12: zzz: unknown key"),
    ],
)
def test_one_problem_is_one_line(recipe: Any, old: str, new: str, problem: str) -> None:
    if new.startswith("{"):  # the whole section in flow style
        old, new = "\n  format: synthetic\n", f"\n  {new}\n"
    (line,) = recipe((old, new))
    assert line.startswith(f"r.yaml:{problem}")
    if "is not one of" not in problem:
        assert line == f"r.yaml:{problem}"


def test_every_problem_comes_at_once_in_the_order_of_the_lines(recipe: Any) -> None:
    found = recipe(
        ("format: synthetic", "format: synthetc"),
        ("  encoder: mobilenet_v2\n", ""),
        (
            "  encoder: resnet34",
            "  encodr: !!python/name:os.system x\n  encoder: resnet34\n  arch: segformer",
        ),
        ("    weight: 1", "    wieght: 1"),
        ("  iterations: 100", "  iterations: many"),
        overrides=("train.optimizer.nam=1", "nonsense", "evaluate.every=0"),
    )
    assert found == [
        "r.yaml:2: data.format: 'synthetc' is not one of camvid, cityscapes, voc, ade20k, coco_stuff10k, folder, "
        "synthetic (did you mean 'synthetic'?)",
        "r.yaml:3: student.encoder: missing key",
        "r.yaml:7: teacher.encodr: the tag !!python/name:os.system is not allowed; "
        "a recipe holds plain values only",
        "r.yaml:7: teacher.encodr: unknown key (did you mean 'encoder'?)",
        "r.yaml:9: teacher.arch: the key stands twice, first at r.yaml:6",
        "r.yaml:11: distill[0].weight: missing key",
        "r.yaml:12: distill[0].wieght: unknown key (did you mean 'weight'?)",
        "r.yaml:14: train.iterations: must be a whole number, not 'many'",
        "--set train.optimizer.nam=1: unknown key (did you mean 'name'?)",
        "--set nonsense: write key=value, for example train.iterations=1000",
        "--set evaluate.every=0: must be greater than 0, not 0",
    ]


def test_no_word_of_pydantic_comes_through(recipe: Any) -> None:
    found = "\n".join(
        recipe(
            ("format: synthetic", "format: camvid\n  size: x\n  root: 3\n  train: 1"),
            ("    weight: 1", "    weight: x\n    taps: [features]\n    schedule: 3\n    options: [1]"),
            (
                "crop: [64, 64]",
                "crop: {a: 1}\n  workers: .nan\n  clip: []\n  lr: ''\n  optimizer: {name: []}",
            ),
            ("train:\n", "supervised:\nexport: {size: [0, 1.5]}\ntrain:\n"),
        )
    )
    assert found.count("\n") == 14
    for word in ("Input", "pydantic", "valid", "http", ".camvid", ".kd.", "tuple", "dictionary", "type="):
        assert word not in found


def test_every_problem_is_a_user_error_of_exit_code_1(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("[]")
    for name in (str(tmp_path / "r.yaml"), str(tmp_path), "demmo", "none.yaml", "n" * 3000, "a\0b", ""):
        with pytest.raises(UserError) as caught:
            load_recipe(name)
        assert caught.value.exit_code == 1


def test_loading_imports_no_torch() -> None:
    code = (
        "import sys; from kd_deploy.config.load import load_recipe; load_recipe('demo');"
        "print([n for n in ('torch', 'numpy', 'cv2', 'timm') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
