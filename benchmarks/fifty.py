"""Run `kd-deploy distill` with every method for 50 iterations on CamVid, and say whether each term fell.

    python benchmarks/fifty.py DATA --teacher RUN -o RUNS

TEACHER is a run of DeepLabV3+ on ResNet-18 (benchmarks/camvid.py makes one). Prints a markdown table: every term's mean
over the first and over the last ten iterations, and the command that differs for each method.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from pathlib import Path

from camvid import SMALL

RECIPES = ("kd", "cwd", "bpkd", "aicsd", "brd", "best")
RIVALS = {
    "cwd on features": "{method: cwd, weight: 50, taps: [decoder]}",
    "skd": "{method: skd, weight: 10}",
    "ifvd": "{method: ifvd, weight: 20}",
    "cirkd": "{method: cirkd, weight: 1, options: {max_tokens: 128}}",
    "dist": "{method: dist, weight: 1}",
    "at": "{method: at, weight: 10000}",
    "mgd": "{method: mgd, weight: 2.0e-5}",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--student", default="deeplabv3plus-mobilenetv2")
    arguments = parser.parse_args()
    shared = {**SMALL, "data.root": str(arguments.data.resolve())}
    shared |= {"train.iterations": "50", "train.log_every": "10", "evaluate.every": "50"}
    runs: dict[str, tuple[str, dict[str, str]]] = {
        method: (f"camvid/{arguments.student}-{method}", {}) for method in RECIPES
    }
    runs |= {m: (f"camvid/{arguments.student}-kd", {"distill": f"[{term}]"}) for m, term in RIVALS.items()}
    print(
        "| method | term | iterations 1 to 10 | 41 to 50 | |", "|---|---|---|---|---|", sep="\n", flush=True
    )
    for method, (recipe, terms) in runs.items():
        path = arguments.output / f"{arguments.student}-{method.replace(' ', '-')}"
        if not (path / "summary.json").exists():
            command = [
                sys.executable,
                "-m",
                "kd_deploy",
                "distill",
                recipe,
                "--teacher",
                str(arguments.teacher),
            ]
            overrides = [
                word for key, value in (shared | terms).items() for word in ("--set", f"{key}={value}")
            ]
            subprocess.run([*command, "-o", str(path), *overrides], check=True, stdout=subprocess.DEVNULL)
        for line in rows(method, path):
            print(line, flush=True)


def rows(method: str, run: Path) -> list[str]:
    """A line for every term of a run."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    logged = [record for record in records if record["kind"] == "train"]
    terms = json.loads((run / "summary.json").read_text(encoding="utf-8"))["terms"]
    lines = []
    for term in terms:
        values = [record[term] for record in logged]
        verdict = "falls" if values[-1] < values[0] else "rises"
        verdict = verdict if all(map(math.isfinite, values)) else "not finite"
        lines.append(f"| {method} | `{term}` | {values[0]:.4g} | {values[-1]:.4g} | {verdict} |")
    return lines


if __name__ == "__main__":
    main()
