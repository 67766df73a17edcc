"""The demo's page."""

from __future__ import annotations

from kd_deploy.report.demo import class_rows


def test_classes_in_the_order_of_the_data() -> None:
    rows = class_rows({"t": {"classes": {"a": 1.0, "b": None}}, "s": {"classes": {"a": 2.0, "b": 3.0}}})
    assert rows == [("a", [1.0, 2.0]), ("b", [None, 3.0])]
