"""`kd-deploy recipes`: what goes to stdout, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kd_deploy.cli.recipes import recipes
from kd_deploy.config.catalog import packaged, summary
from kd_deploy.runtime.errors import UserError


def run(*arguments: str) -> Result:
    return CliRunner().invoke(recipes, arguments)


def refused(*arguments: str) -> str:
    result = run(*arguments)
    assert isinstance(result.exception, UserError)
    assert result.stdout == ""
    return str(result.exception)


def test_list_shows_each_recipe_whole() -> None:
    result = run("list")
    assert result.exit_code == 0
    assert "what it is" in result.stdout
    for name, path in packaged().items():
        assert name in result.stdout
        assert summary(path) in result.stdout


def test_list_as_json_is_json_alone() -> None:
    rows = json.loads(run("list", "--json").stdout)
    assert [row["name"] for row in rows] == list(packaged())
    assert all(row["summary"] for row in rows)


@pytest.mark.parametrize("name", packaged())
def test_show_prints_the_file_as_it_is(name: str) -> None:
    result = run("show", name)
    assert result.exit_code == 0
    assert result.stdout_bytes == packaged()[name].read_bytes()


def test_show_of_an_unknown_name_suggests_one() -> None:
    assert "did you mean the packaged recipe 'demo'?" in refused("show", "demmo")
    assert "is a folder" in refused("show", "/")


def test_copy_to_a_file_a_folder_and_a_new_folder(tmp_path: Path) -> None:
    name = "camvid/segformer-b0-kd"
    for dest, target in (
        (str(tmp_path / "mine.yaml"), tmp_path / "mine.yaml"),
        (str(tmp_path), tmp_path / "segformer-b0-kd.yaml"),
        (f"{tmp_path}/new/", tmp_path / "new" / "segformer-b0-kd.yaml"),
    ):
        result = run("copy", name, dest)
        assert result.stdout == f"{target}\n"
        assert target.read_bytes() == packaged()[name].read_bytes()


def test_copy_never_overwrites(tmp_path: Path) -> None:
    (tmp_path / "demo.yaml").write_text("mine")
    for dest in (tmp_path, tmp_path / "demo.yaml"):
        assert "exists already" in refused("copy", "demo", str(dest))
    assert (tmp_path / "demo.yaml").read_text() == "mine"
    assert "no such file" in refused("copy", "demmo", str(tmp_path / "new.yaml"))
    assert not (tmp_path / "new.yaml").exists()


def test_check_says_ok(tmp_path: Path) -> None:
    run("copy", "demo", str(tmp_path))
    path = str(tmp_path / "demo.yaml")
    result = run("check", path)
    assert (result.exit_code, result.stdout) == (0, f"{path}: ok\n")
    assert run("check", path, "--set", "train.clip=1", "--set", "distill.0.weight=2").exit_code == 0


def test_check_reports_every_problem_of_the_file_and_of_the_overrides(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(packaged()["demo"].read_text().replace("  size:", "  sise:").replace("  val:", "  vall:"))
    lines = refused("check", str(path), "--set", "train.lrr=1").splitlines()
    assert [line.rpartition(": ")[2] for line in lines] == [
        "unknown key (did you mean 'size'?)",
        "unknown key (did you mean 'val'?)",
        "unknown key (did you mean 'lr'?)",
    ]
    assert lines[2].startswith("--set train.lrr=1: ")


def test_the_command_line_starts_without_the_libraries_of_training() -> None:
    code = (
        "import sys, kd_deploy.cli.recipes;"
        "print([n for n in ('torch', 'pydantic', 'ruamel.yaml', 'rich', 'numpy') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
