"""What the schema itself promises: names, defaults and frozen sections."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from pydantic import ValidationError

from kd_deploy.config.load import load_recipe
from kd_deploy.config.schema import Recipe
from kd_deploy.config.section import Section
from kd_deploy.config.terms import Schedule, Term


def sections(annotation: Any) -> list[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        inner = [s for field in annotation.model_fields.values() for s in sections(field.annotation)]
        return [annotation, *inner]
    return [s for argument in get_args(annotation) for s in sections(argument)]


@pytest.mark.parametrize("section", set(sections(Recipe)), ids=lambda section: section.__name__)
def test_every_section_refuses_unknown_keys_and_non_numbers(section: type[Section]) -> None:
    assert section.model_config["extra"] == "forbid"
    assert section.model_config["frozen"]
    assert section.model_config["allow_inf_nan"] is False


def test_the_methods() -> None:
    terms = get_args(get_args(Term)[0])
    methods = [get_args(term.model_fields["method"].annotation)[0] for term in terms]
    assert methods == ["kd", "cwd", "bpkd.body", "bpkd.edge"]


def test_the_defaults_of_the_options_are_those_of_methods_md() -> None:
    defaults = {
        get_args(term.model_fields["method"].annotation)[0]: term.model_fields["options"].default.model_dump()
        for term in get_args(get_args(Term)[0])
    }
    assert defaults == {
        "kd": {"temperature": 1.0},
        "cwd": {"temperature": 4.0},
        "bpkd.body": {"edge_width": 7, "temperature": 4.0},
        "bpkd.edge": {"edge_width": 7, "temperature": 4.0, "alpha": 2.0, "normalizer": "class"},
    }


def test_a_recipe_cannot_be_changed() -> None:
    recipe = load_recipe("demo")
    with pytest.raises(ValidationError, match="frozen"):
        recipe.train.iterations = 1  # type: ignore[misc]


def test_a_schedule_that_is_ever_above_zero_is_fine() -> None:
    assert Schedule(kind="linear", start=0).end == 1
    assert Schedule(kind="cosine", end=0).start == 1
    with pytest.raises(ValidationError, match="zero throughout"):
        Schedule(kind="constant", start=0)


def test_a_smaller_multiple_will_do_without_a_segformer() -> None:
    assert load_recipe("demo", ["train.crop=[48, 80]"]).train.crop == (48, 80)
