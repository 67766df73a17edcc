"""All checks of a machine, put together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from kd_deploy.runtime.doctor.checks import BACKEND, CHECKS, EVERYTHING, Check
from kd_deploy.runtime.doctor.conflicts import Conflict, conflicts
from kd_deploy.runtime.doctor.finding import WORKS, Finding
from kd_deploy.runtime.doctor.isolation import run_checks
from kd_deploy.runtime.doctor.platforms import Platform, detect
from kd_deploy.runtime.doctor.remedies import remedy


@dataclass(frozen=True)
class Diagnosis:
    """A machine.

    Attributes:
        platform: what it is.
        entries: each component's check, finding and remedy ("" where nothing is ill).
        conflicts: what does not go together.
    """

    platform: Platform
    entries: list[tuple[Check, Finding, str]]
    conflicts: list[Conflict]

    @property
    def runs_on(self) -> list[str]:
        """The backends that work, as `--backend` takes them; none where what every bundle needs does not work."""
        if any(finding.state != WORKS for check, finding, _ in self.entries if check.role == EVERYTHING):
            return []
        return [c.name for c, finding, _ in self.entries if c.role == BACKEND and finding.state == WORKS]

    def to_json(self) -> dict[str, Any]:
        """What `kd-deploy doctor --json` prints."""
        return {
            "platform": {**asdict(self.platform), "name": self.platform.name},
            "components": [
                {**finding.to_json(), "for": check.role, "remedy": text or None}
                for check, finding, text in self.entries
            ],
            "conflicts": [asdict(conflict) for conflict in self.conflicts],
            "runs_on": self.runs_on,
        }


def diagnose(
    platform: Platform | None = None, told: Callable[[int, str], None] = lambda done, name: None
) -> Diagnosis:
    """Check every component, each in a process of its own.

    Args:
        platform: the machine, if not this one.
        told: called with the number of checks that are done and the name of the last.
    """
    platform = platform or detect()
    findings = run_checks(CHECKS, told)
    entries = [(c, finding, remedy(finding, platform)) for c, finding in zip(CHECKS, findings, strict=True)]
    return Diagnosis(platform, entries, conflicts({f.name: f for f in findings}, platform))
