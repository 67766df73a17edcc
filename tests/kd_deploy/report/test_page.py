"""Pages: complete, and never in the place of somebody else's file."""

from __future__ import annotations

from pathlib import Path

import pytest
from jinja2 import UndefinedError

from kd_deploy.report.page import check_replaceable, render, write_page
from kd_deploy.runtime.errors import UserError


def test_a_page_misses_no_value() -> None:
    with pytest.raises(UndefinedError):
        render("demo.html.j2")
    assert "<title>kd-deploy</title>" in render("base.html.j2")


def test_only_our_own_page_is_replaced(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    assert write_page(page, render("base.html.j2")) == page
    write_page(page, render("base.html.j2") + "again")
    assert page.read_text().endswith("again")
    page.write_text("<html>mine</html>")
    for taken in (page, tmp_path):
        with pytest.raises(UserError, match=r"is no report of kd-deploy; name another file with -o"):
            check_replaceable(taken)
    with pytest.raises(UserError):
        write_page(page, render("base.html.j2"))
    assert page.read_text() == "<html>mine</html>"
