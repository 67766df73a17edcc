"""The table of architectures: complete, read without torch, and obeyed by recipes."""

from __future__ import annotations

import subprocess
import sys
from typing import get_args

import pytest
import segmentation_models_pytorch as smp

from kd_deploy.config.architectures import ARCHITECTURES, Arch
from kd_deploy.config.load import load_recipe
from kd_deploy.runtime.errors import UserError


def test_every_name_has_its_row_and_every_network_of_smp_its_name() -> None:
    assert get_args(Arch) == tuple(ARCHITECTURES)
    theirs = {model.__name__ for model in smp.MODEL_ARCHITECTURES_MAPPING.values()}
    assert {architecture.smp for architecture in ARCHITECTURES.values()} == theirs - {"DPT"}


def test_a_recipe_is_read_without_torch() -> None:
    code = "import sys, kd_deploy.config.schema; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["student.arch=unet", "train.crop=[48, 64]"], "must be multiples of 32 for unet, not [48, 64]"),
        (["student.arch=pspnet", "train.crop=[40, 64]"], "must be multiples of 16 for deeplabv3plus"),
        (["student.arch=pan", "train.crop=[144, 112]"], "must be 128 or more on both sides for pan"),
        (["student.arch=deeplabv3plus", "train.crop=[16, 64]"], "must be 32 or more on both sides for"),
        (["student.arch=segnet"], "student.arch"),
    ],
)
def test_crops_that_a_network_cannot_take(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        load_recipe("demo", overrides)
    assert message in str(caught.value)


def test_crops_that_it_can_take() -> None:
    assert load_recipe("demo", ["student.arch=pan", "train.crop=[144, 128]"]).train.crop == (144, 128)
    teacher = ["teacher.arch=pspnet", "teacher.train=null"]
    assert load_recipe("demo", ["student.arch=deeplabv3", *teacher, "train.crop=[40, 56]"]).train.crop == (
        40,
        56,
    )
