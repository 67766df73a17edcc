"""`kd-deploy recipes`: list, show, copy and check the recipes."""

from __future__ import annotations

from pathlib import Path

import click

from kd_deploy.cli import options


@click.group()
def recipes() -> None:
    """The packaged recipes, and a check for your own."""


@recipes.command("list")
@options.as_json
def list_recipes(as_json: bool) -> None:
    """List the packaged recipes and what each is."""
    from kd_deploy.config.catalog import packaged, summary

    rows = [(name, summary(path)) for name, path in packaged().items()]
    if as_json:
        options.print_json([{"name": name, "summary": text} for name, text in rows])
    else:
        options.print_table(("recipe", "what it is"), rows)


@recipes.command()
@click.argument("name")
def show(name: str) -> None:
    """Print the recipe NAME as it is, comments included."""
    click.echo(_read(name), nl=False)


@recipes.command()
@click.argument("name")
@click.argument("dest")
def copy(name: str, dest: str) -> None:
    """Copy the recipe NAME to DEST, a new file or a folder, and print where it went."""
    from kd_deploy.runtime.errors import UserError
    from kd_deploy.runtime.files import atomic_file

    target = Path(dest)
    if target.is_dir() or dest.endswith("/"):
        target /= f"{Path(name).stem}.yaml"
    if target.exists():
        raise UserError(f"{target}: exists already; choose another name or remove it first")
    content = _read(name)
    with atomic_file(target) as temporary:
        temporary.write_bytes(content)
    click.echo(target)


@recipes.command()
@click.argument("file")
@options.overrides
def check(file: str, overrides: tuple[str, ...]) -> None:
    """Check FILE (or a packaged recipe) and report every problem with its line."""
    from kd_deploy.config.load import load_recipe

    load_recipe(file, overrides)
    click.echo(f"{file}: ok")


def _read(name: str) -> bytes:
    from kd_deploy.config.catalog import find
    from kd_deploy.runtime.errors import UserError

    path = find(name)
    if path.is_dir():
        raise UserError(f"{path}: is a folder; name a recipe file")
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
