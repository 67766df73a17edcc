"""`kd-deploy doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from kd_deploy.cli import options

if TYPE_CHECKING:
    from kd_deploy.runtime.doctor.diagnosis import Diagnosis


@click.command()
@options.as_json
def doctor(as_json: bool) -> None:
    """Check every component: what works here, and what to type for what is missing."""
    from kd_deploy.progress import Progress
    from kd_deploy.runtime.doctor.checks import CHECKS
    from kd_deploy.runtime.doctor.diagnosis import diagnose
    from kd_deploy.runtime.errors import MissingComponentError

    click.echo(f"checking {len(CHECKS)} components, each in a process of its own", err=True)
    with Progress("doctor", len(CHECKS)) as progress:
        diagnosis = diagnose(told=lambda done, name: progress.advance(done))
    if as_json:
        options.print_json(diagnosis.to_json())
    else:
        print_diagnosis(diagnosis)
    if not diagnosis.runs_on:
        raise MissingComponentError(
            "doctor: no bundle can be run here; do one of the steps that kd-deploy doctor names"
        )


def print_diagnosis(diagnosis: Diagnosis) -> None:
    """A table, the steps that mend what is ill, and what the machine can do."""
    click.echo(diagnosis.platform.name)
    rows = [
        (
            finding.name,
            finding.state,
            finding.version,
            "; ".join(filter(None, (finding.reason, finding.detail))),
            check.role,
        )
        for check, finding, _ in diagnosis.entries
    ]
    options.print_table(("component", "", "version", "found", "for"), rows)
    conflicts = [(conflict.text, conflict.remedy) for conflict in diagnosis.conflicts]
    # Components that one step mends share a line.
    steps: dict[str, list[str]] = {}
    for check, finding, remedy in diagnosis.entries:
        if remedy:
            steps.setdefault(remedy, []).append(f"{finding.name} ({check.role})")
    lines = [*conflicts, *((", ".join(names), remedy) for remedy, names in steps.items())]
    for number, (subject, remedy) in enumerate(lines, start=1):
        click.echo(f"{number}. {subject}\n   {remedy}")
    click.echo(f"runs bundles on: {', '.join(diagnosis.runs_on) or 'nothing'}")
