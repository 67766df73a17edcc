"""The command line. Commands import what they need when they run, so that --help comes at once."""

from __future__ import annotations

import errno
import platform
import sys
from collections.abc import Sequence

import click

from kd_deploy.cli.benchmark import benchmark
from kd_deploy.cli.build import build
from kd_deploy.cli.data import data
from kd_deploy.cli.demo import demo
from kd_deploy.cli.doctor import doctor
from kd_deploy.cli.export import export
from kd_deploy.cli.infer import infer
from kd_deploy.cli.parity import parity
from kd_deploy.cli.recipes import recipes
from kd_deploy.cli.results import compare, report
from kd_deploy.cli.training import distill, evaluate, train
from kd_deploy.runtime.errors import INSTALL, UserError
from kd_deploy.runtime.streams import open_closed_streams

MISSING = 3
INTERRUPTED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="kd-deploy")
def cli() -> None:
    """Turn a big segmentation network into a small one that is proven on the device."""


for command in (
    demo,
    recipes,
    data,
    train,
    distill,
    evaluate,
    export,
    build,
    parity,
    benchmark,
    infer,
    doctor,
    compare,
    report,
):
    cli.add_command(command)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; only a bug leaves as an exception."""
    try:
        return cli.main(arguments, prog_name="kd-deploy", standalone_mode=False) or 0
    except UserError as error:
        click.echo(f"error: {error}", err=True)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except ImportError as error:
        if (error.name or "").partition(".")[0] == "kd_deploy":
            raise
        click.echo(f"error: {_missing(error)}", err=True)
        return MISSING
    except OSError as error:  # of stdout: files are written by what makes a UserError of it
        if error.errno != errno.ENOSPC:
            raise
        click.echo(f"error: stdout: cannot be written ({error.strerror}); free space", err=True)
        return 1
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return INTERRUPTED


def _missing(error: ImportError) -> str:
    """The line for a library that is absent, too old, or lacks a library of the system's (such as libGL)."""
    library = (error.name or "a library").partition(".")[0]
    reason = (str(error).splitlines() or ["no reason given"])[0]
    if library in sys.stdlib_module_names:
        return f"Python {platform.python_version()} on {sys.platform}: {reason}; use Python 3.11 or newer"
    if isinstance(error, ModuleNotFoundError):
        return f"{library}: is not installed; {INSTALL}"
    return (
        f"{library}: cannot be imported ({reason}); install what is named there with the system's package "
        f"manager, or {INSTALL}"
    )


def main() -> None:
    """The console script."""
    open_closed_streams()
    sys.exit(run())
