"""Does a backend give the masks of the reference? The gate between an export and a device."""

from kd_deploy.runtime.parity.judge import check_bundle, compare, compare_golden, judge_golden
from kd_deploy.runtime.parity.limits import MAX_BOUNDARY_DROP, MIN_PIXEL_AGREEMENT, MIN_PIXEL_AGREEMENTS
from kd_deploy.runtime.parity.pictures import draw_worst, write_worst
from kd_deploy.runtime.parity.report import Pair, ParityReport, Side

__all__ = [
    "MAX_BOUNDARY_DROP",
    "MIN_PIXEL_AGREEMENT",
    "MIN_PIXEL_AGREEMENTS",
    "Pair",
    "ParityReport",
    "Side",
    "check_bundle",
    "compare",
    "compare_golden",
    "draw_worst",
    "judge_golden",
    "write_worst",
]
