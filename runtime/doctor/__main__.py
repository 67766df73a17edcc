"""The child's side: `python -m kd_deploy.runtime.doctor MODULE:FUNCTION` runs one check and prints its finding."""

from __future__ import annotations

import importlib
import json
import os
import sys

from kd_deploy.runtime.doctor.finding import without


def main(target: str) -> None:
    """Run the check; stdout gets its finding as JSON and nothing that a library prints."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        module, _, function = target.partition(":")
        try:
            finding = getattr(importlib.import_module(module), function)()
        except ImportError as error:  # what the check itself needs, such as NumPy's arrays
            finding = without(function, error)
        json.dump(finding.to_json(), answers)


if __name__ == "__main__":
    main(sys.argv[1])
