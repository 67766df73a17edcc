"""Which machine this is, over file systems that are not this one's."""

from __future__ import annotations

from pathlib import Path

import pytest

from kd_deploy.runtime.doctor.platforms import Platform, detect

ORIN = "NVIDIA Jetson Orin Nano Developer Kit"


def root(path: Path, release: str | None = None, model: str | None = None, ubuntu: str | None = None) -> Path:
    files = {
        "etc/nv_tegra_release": release and f"# {release} (release), REVISION: 4.3, GCID: 1, BOARD: generic",
        "proc/device-tree/model": model and f"{model}\0",
        "etc/os-release": ubuntu and f'NAME="Ubuntu"\nVERSION_ID="{ubuntu}"\n',
    }
    for name, text in files.items():
        if text:
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_text(text)
    return path


@pytest.mark.parametrize(
    ("release", "jetpack", "cuda"),
    [("R35", 5, 12), ("R36", 6, 12), ("R38", 7, 13), ("R39", 7, 13), ("R45", 7, 13)],
)
def test_a_jetson_by_its_release(release: str, jetpack: int, cuda: int, tmp_path: Path) -> None:
    found = detect(root(tmp_path, release, ORIN, "22.04"), "linux", "aarch64")
    assert found == Platform("Linux", "aarch64", jetpack, ORIN)
    assert (found.name, found.jetson_cuda) == (f"JetPack {jetpack} ({ORIN})", cuda)
    assert not found.onnxruntime_gpu


def test_a_jetson_that_hides_its_board(tmp_path: Path) -> None:
    assert detect(root(tmp_path, "R36"), "linux", "aarch64").name == "JetPack 6"


@pytest.mark.parametrize(("ubuntu", "jetpack"), [("22.04", 6), ("24.04", 7), (None, 7)])
def test_a_container_on_a_jetson_has_no_release(ubuntu: str | None, jetpack: int, tmp_path: Path) -> None:
    assert detect(root(tmp_path, None, ORIN, ubuntu), "linux", "aarch64").jetpack == jetpack


@pytest.mark.parametrize("model", [None, "Raspberry Pi 5 Model B Rev 1.0"])
def test_a_linux_machine_that_is_no_jetson(model: str | None, tmp_path: Path) -> None:
    found = detect(root(tmp_path, None, model, "24.04"), "linux", "aarch64")
    assert (found.name, found.jetpack, found.onnxruntime_gpu) == ("desktop Linux (aarch64)", None, False)


@pytest.mark.parametrize(
    ("system", "machine", "name", "gpu"),
    [
        ("linux", "x86_64", "desktop Linux (x86_64)", True),
        ("win32", "AMD64", "Windows (x86_64)", True),
        ("win32", "ARM64", "Windows (aarch64)", False),
        ("darwin", "arm64", "macOS (aarch64)", False),
        ("darwin", "x86_64", "macOS (x86_64)", False),
    ],
)
def test_other_systems(system: str, machine: str, name: str, gpu: bool, tmp_path: Path) -> None:
    found = detect(tmp_path, system, machine)
    assert (found.name, found.onnxruntime_gpu) == (name, gpu)
