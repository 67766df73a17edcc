"""The packaged recipes, by name: `demo`, `camvid/segformer-b0-kd`. Standard library only."""

from __future__ import annotations

import difflib
from importlib.resources import files
from pathlib import Path

from kd_deploy.runtime.errors import UserError

_SUFFIXES = (".yaml", ".yml")


def packaged() -> dict[str, Path]:
    """Every packaged recipe's file, by its name, in the order of the names."""
    root = Path(str(files("kd_deploy") / "recipes"))
    found = {path.relative_to(root).with_suffix("").as_posix(): path for path in root.rglob("*.yaml")}
    return dict(sorted(found.items()))


def find(name_or_path: str) -> Path:
    """The file that a user names: an existing file, a path that ends in .yaml or .yml, or a packaged recipe.

    Raises:
        UserError: neither a file nor a packaged recipe; the message names the nearest one.
    """
    path = Path(name_or_path)
    recipes = packaged()
    try:
        if name_or_path in recipes and not path.is_file():  # a folder `demo` does not hide the recipe
            return recipes[name_or_path]
        if path.exists():
            return path
    except OSError as error:  # a folder on the way may not be entered, a name is too long
        raise UserError(f"{name_or_path}: cannot be read ({error.strerror or error})") from error
    wanted = path.with_suffix("").as_posix() if path.suffix in _SUFFIXES else name_or_path
    near = difflib.get_close_matches(wanted, recipes, n=1) or [
        name for name in recipes if Path(name).name == Path(wanted).name
    ]
    hint = f"did you mean the packaged recipe '{near[0]}'?" if near else "see `kd-deploy recipes list`"
    what = "no such file" if path.suffix in _SUFFIXES else "no such file and no packaged recipe of that name"
    raise UserError(f"{name_or_path}: {what} ({hint})")


def summary(path: Path) -> str:
    """What a recipe is: the first line of its header comment, or nothing where it has none."""
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    return first.lstrip("# ").strip() if first.startswith("#") else ""
