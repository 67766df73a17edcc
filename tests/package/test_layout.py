"""The package as a user gets it: what is in it, what it may import, how fast it answers."""

from __future__ import annotations

import ast
import configparser
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAPPED = {"kd_deploy": "kd_deploy", "kd_deploy/export": "export", "kd_deploy/runtime": "runtime"}
RECIPES = {f"kd_deploy/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "recipes").rglob("*.yaml")}


def modules(package: str, folder: str) -> set[str]:
    """The package's files as they are called once installed."""
    inside = (p for p in (ROOT / folder).rglob("*") if p.suffix in (".py", ".j2", ".json", ".onnx", ".typed"))
    return {f"{package}/{path.relative_to(ROOT / folder).as_posix()}" for path in inside}


FILES = set().union(*(modules(package, folder) for package, folder in MAPPED.items())) | RECIPES


def blocking(*names: str) -> str:
    """Python source that makes the import of each of `names` fail."""
    return f"import sys\nfor name in {names!r}: sys.modules[name] = None\n"


def python(source: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, cwd=ROOT)


def test_links_show_one_package() -> None:
    for name in ("export", "runtime", "recipes"):
        link = ROOT / "kd_deploy" / name
        assert link.is_symlink()
        assert link.readlink() == Path("..") / name


def test_packages_in_setup_cfg_are_the_folders() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    listed = config["options"]["packages"].split()
    assert listed == sorted({str(Path(file).parent).replace("/", ".") for file in FILES})


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist and the wheel made from it, built from the files that git would commit."""
    folder = tmp_path_factory.mktemp("build")
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    source = folder / "a checkout"
    for name in filter(None, names.split("\0")):
        if (ROOT / name).exists():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "-P", str(ROOT / name), str(source / name)], check=True)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder / "dist"), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "dist"


def test_wheel_holds_exactly_the_package_and_the_recipes(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        names = {name for name in file.namelist() if ".dist-info/" not in name}
    assert names == FILES


def test_sdist_holds_exactly_the_package_and_the_recipes(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as file:
        names = {name.partition("/")[2] for name in file.getnames() if file.getmember(name).isfile()}
    names = {name for name in names if ".egg-info/" not in name}
    around = {
        "LICENSE",
        "README.md",
        "CHANGELOG.md",
        "MANIFEST.in",
        "PKG-INFO",
        "pyproject.toml",
        "setup.cfg",
    }
    top_level = {
        name.removeprefix("kd_deploy/") if name.split("/")[1] in ("export", "runtime", "recipes") else name
        for name in FILES
    }
    assert names == top_level | around


def test_extras_choose_onnxruntime_by_platform() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    extras = config["options.extras_require"]
    assert "tensorrt" not in extras["runtime"] + extras["train"] + extras["export"] + extras["all"]
    from packaging.requirements import Requirement

    lines = [Requirement(line) for line in extras["runtime"].strip().splitlines()]
    platforms = {
        ("linux", "x86_64"): "onnxruntime-gpu",
        ("win32", "AMD64"): "onnxruntime-gpu",
        ("linux", "aarch64"): "onnxruntime",
        ("darwin", "arm64"): "onnxruntime",
    }
    for (system, machine), expected in platforms.items():
        environment = {"sys_platform": system, "platform_machine": machine}
        chosen = [r.name for r in lines if r.marker is None or r.marker.evaluate(environment)]
        assert chosen == ["opencv-python", expected]


def imported(module: str, seen: set[str]) -> set[str]:
    """The libraries that a module of ours imports, and those that its own imports of ours do."""
    file = ROOT / f"{module.replace('.', '/')}.py"
    file = file if file.exists() else ROOT / module.replace(".", "/") / "__init__.py"
    if module in seen or not file.exists():  # a name inside a module is no file
        return set()
    seen.add(module)
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            root = name.partition(".")[0]
            found |= imported(name, seen) if root == "kd_deploy" else {root} - sys.stdlib_module_names
    return found


def test_the_export_extra_suffices_to_export() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    extras = config["options.extras_require"]
    assert "kd-deploy[runtime]" in extras["export"].split()
    from packaging.requirements import Requirement

    lines = (
        (config["options"]["install_requires"] + extras["export"] + extras["runtime"]).strip().splitlines()
    )
    listed = {Requirement(line).name for line in lines if line}
    names = {
        "cv2": "opencv-python",
        "ruamel": "ruamel.yaml",
        "segmentation_models_pytorch": "segmentation-models-pytorch",
        "huggingface_hub": "segmentation-models-pytorch",  # which brings it
        "timm": "segmentation-models-pytorch",  # as well
        "PIL": "pillow",
        "pydantic_core": "pydantic",
        "typing_extensions": "pydantic",
    }
    modules = ("kd_deploy.deploy", "kd_deploy.cli.options", "kd_deploy.runtime.backends.onnxruntime_cpu")
    needed = set().union(*(imported(module, set()) for module in modules))
    needed -= {"onnxsim"}  # for --simplify alone, which says how to install it
    assert {"torch", "cv2", "onnx", "pydantic", "onnxruntime"} <= needed
    assert {names.get(name, name) for name in needed} <= listed


def test_help_imports_nothing_heavy() -> None:
    heavy = ("torch", "numpy", "cv2", "pydantic", "rich", "onnxruntime", "matplotlib")
    source = blocking(*heavy) + "from kd_deploy.cli import run\nsys.exit(run(['--help']))"
    done = python(source)
    assert done.returncode == 0, done.stderr
    assert "distill" in done.stdout


def test_help_takes_less_than_half_a_second() -> None:
    """Processor time of the child, which other programs on the machine do not lengthen."""
    before = os.times()
    assert python("from kd_deploy.cli import run\nrun(['--help'])").returncode == 0
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    assert spent < 0.5


def test_runtime_needs_neither_torch_nor_the_training_side() -> None:
    files = (Path(file) for file in modules("kd_deploy/runtime", "runtime"))
    names = sorted(".".join(file.with_suffix("").parts) for file in files if file.suffix == ".py")
    absent = ("torch", "torchvision", "onnx", "pydantic", "ruamel", "kd_deploy.export", "kd_deploy.config")
    source = blocking(*absent, "kd_deploy.data", "kd_deploy.models", "kd_deploy.cli")
    # Two classes derive from TensorRT's; their module is imported where TensorRT is.
    source += "import types\nsys.modules['tensorrt'] = types.SimpleNamespace(ILogger=object, IProgressMonitor=object)\n"
    source += f"import importlib\nfor name in {names!r}: importlib.import_module(name)"
    done = python(source)
    assert done.returncode == 0, done.stderr
    assert len(names) > 10


def test_package_itself_imports_nothing() -> None:
    tree = ast.parse((ROOT / "kd_deploy" / "__init__.py").read_text(encoding="utf-8"))
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]


def imports(folder: str) -> set[str]:
    """What the modules below a folder import of kd_deploy, by its first name inside the package."""
    found = set()
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("kd_deploy."):
                found.add((node.module or "").split(".")[1])
    return found


def test_direction_of_imports() -> None:
    assert imports("runtime") == {"runtime"}
    assert imports("export") == {"export", "runtime", "models", "config", "progress"}
    progress = ast.parse((ROOT / "kd_deploy" / "progress.py").read_text(encoding="utf-8"))
    assert "kd_deploy" not in ast.unparse(progress)  # so that nothing comes with it
    assert imports("kd_deploy/models") <= {"models", "config", "runtime"}
    assert imports("kd_deploy/distill") <= {"distill", "models", "config", "runtime"}
