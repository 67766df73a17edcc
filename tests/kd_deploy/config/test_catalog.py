"""The packaged recipes: found by name, and what their headers promise."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from kd_deploy.config.catalog import find, packaged, summary
from kd_deploy.config.load import load_recipe
from kd_deploy.config.terms import Supervised
from kd_deploy.distill.schedule import factor
from kd_deploy.runtime.errors import UserError

STUDENTS = ("deeplabv3plus-mobilenetv2", "segformer-b0")


DATA = ("ade20k", "camvid", "cityscapes", "coco_stuff10k", "voc2012")
METHODS = ("student", "kd", "cwd", "bpkd", "aicsd", "brd", "best")
ON_DISK = [name for name in packaged() if name != "demo"]


def test_the_names() -> None:
    assert set(packaged()) == {"demo", *(f"{d}/{s}-{m}" for d in DATA for s in STUDENTS for m in METHODS)}
    assert list(packaged()) == sorted(packaged())
    assert all(path.is_file() for path in packaged().values())


@pytest.mark.parametrize("name", packaged())
def test_the_header_says_what_it_is_and_commands_that_name_it(name: str) -> None:
    text = packaged()[name].read_text(encoding="utf-8")
    header = text.partition("\n\n")[0]
    assert all(line.startswith("#") for line in header.splitlines())
    assert 20 < len(summary(packaged()[name])) <= 110
    commands = [shlex.split(line) for line in re.findall(r"^# kd-deploy (.*)$", header, re.MULTILINE)]
    runs = [words for words in commands if words[0] in ("train", "distill")]
    assert {words[0] for words in runs} == ({"train"} if name.endswith("-student") else {"train", "distill"})
    for words in runs:
        assert words[1] == name
        overrides = [words[place + 1] for place, word in enumerate(words) if word == "--set"]
        load_recipe(words[1], overrides)  # as the header types it


@pytest.mark.parametrize("name", ON_DISK)
def test_the_header_cites_what_it_follows(name: str) -> None:
    header = " ".join(packaged()[name].read_text(encoding="utf-8").partition("\n\n")[0].split("\n# "))
    assert re.search(r"Loss: .*\(arXiv \d{4}\.\d{5}|Loss: cross-entropy alone", header)
    assert re.search(r"Schedule: .*(arXiv \d{4}\.\d{5}|MMSegmentation)", header)
    assert "Data: " in header
    for document in re.findall(r"docs/[\w/]+\.md", header):
        assert (Path(__file__).parents[3] / document).is_file()


@pytest.mark.parametrize("name", ON_DISK)
def test_a_recipe_starts_without_a_network_as_its_header_says(name: str) -> None:
    header = packaged()[name].read_text(encoding="utf-8")
    hint = re.search(r"^# Without a network.*$", header, re.MULTILINE)
    assert hint is not None
    words = hint[0].split()
    recipe = load_recipe(name, [words[place + 1] for place, word in enumerate(words) if word == "--set"])
    assert recipe.student.weights == "none"
    assert recipe.teacher.weights == ("imagenet" if name.endswith("-student") else "none")


@pytest.mark.parametrize("student", STUDENTS)
@pytest.mark.parametrize("data", DATA)
def test_the_methods_are_compared_under_one_schedule(data: str, student: str) -> None:
    """Recipes of one student differ in their terms alone, so that a difference is the method's."""
    recipes = [load_recipe(f"{data}/{student}-{method}") for method in METHODS]
    rest = [recipe.model_copy(update={"distill": [], "supervised": Supervised()}) for recipe in recipes]
    assert all(other == rest[0] for other in rest)
    assert len({str(recipe.distill) for recipe in recipes}) == len(METHODS)
    terms = {m: [term.method for term in r.distill] for m, r in zip(METHODS, recipes, strict=True)}
    assert terms["student"] == []
    assert (terms["kd"], terms["cwd"], terms["aicsd"]) == (["kd"], ["cwd"], ["icsd", "kd"])
    assert (terms["bpkd"], terms["brd"]) == (["bpkd.body", "bpkd.edge"], ["brd.boundary", "brd.relation"])


@pytest.mark.parametrize("student", STUDENTS)
def test_adaptive_loss_weighting_is_three_schedules(student: str) -> None:
    for data in DATA:
        recipe = load_recipe(f"{data}/{student}-aicsd")
        icsd, kd = (term.schedule for term in recipe.distill)
        for step, a in ((0, 0.0), (recipe.train.iterations // 4, 0.25)):
            factors = [
                factor(s, step, recipe.train.iterations) for s in (recipe.supervised.schedule, icsd, kd)
            ]
            assert factors == [a, a, 1 - a]


def test_the_demo_needs_no_network_and_no_data() -> None:
    recipe = load_recipe("demo")
    assert recipe.data.format == "synthetic"
    assert (recipe.teacher.weights, recipe.student.weights) == ("none", "none")


def test_find_takes_a_file_or_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find("demo") == packaged()["demo"]
    (tmp_path / "demo").mkdir()  # `kd-deploy demo -o demo` leaves one
    assert find("demo") == packaged()["demo"]
    (tmp_path / "demo").rmdir()
    (tmp_path / "demo").write_text("mine")
    assert find("demo") == Path("demo")
    (tmp_path / "my.yml").write_text("mine")
    assert find("my.yml") == Path("my.yml")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("demmo", "did you mean the packaged recipe 'demo'?"),
        ("segformer-b0-kd", "did you mean the packaged recipe 'camvid/segformer-b0-kd'?"),
        ("camvid/segformer-b0-kd.yaml", "did you mean the packaged recipe 'camvid/segformer-b0-kd'?"),
        ("my/own.yaml", "no such file (see `kd-deploy recipes list`)"),
        ("x", "no packaged recipe of that name (see `kd-deploy recipes list`)"),
    ],
)
def test_find_suggests(name: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        find(name)
    assert str(caught.value).startswith(f"{name}: no such file")
    assert hint in str(caught.value)


def test_a_recipe_without_a_header_has_no_summary(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("data: {}\n# later\n")
    assert summary(tmp_path / "r.yaml") == ""
    (tmp_path / "r.yaml").write_text("#  What it is \n# more\n")
    assert summary(tmp_path / "r.yaml") == "What it is"
