"""What the schema itself promises: names, defaults and frozen sections."""

from __future__ import annotations

import inspect
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from kd_deploy.config.load import load_recipe
from kd_deploy.config.schema import Recipe
from kd_deploy.config.section import Section
from kd_deploy.config.terms import Schedule, Term
from kd_deploy.distill.methods import LEARNED, METHODS


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


TERMS = {get_args(term.model_fields["method"].annotation)[0]: term for term in get_args(get_args(Term)[0])}


def test_the_terms_are_the_methods() -> None:
    assert list(TERMS) == [*METHODS, *LEARNED]


@pytest.mark.parametrize("method", TERMS)
def test_the_options_are_those_of_the_function_with_its_defaults(method: str) -> None:
    options = TERMS[method].model_fields["options"].default.model_dump()
    parameters = inspect.signature({**METHODS, **LEARNED}[method]).parameters.values()
    keywords = {
        p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.name != "ignore_index"
    }
    assert options == keywords


def test_the_usual_taps() -> None:
    usual = {method: term.model_fields["taps"].default for method, term in TERMS.items()}
    logits = {method for method, taps in usual.items() if taps == ("logits",)}
    assert logits == {"kd", "cwd", "bpkd.body", "bpkd.edge", "icsd", "dist"}
    assert usual["brd.boundary"] == ("stage1", "stage2", "stage3", "stage4")
    assert {len(taps) for method, taps in usual.items() if method != "brd.boundary"} == {1}


def test_a_term_is_named_by_its_method_and_its_unusual_taps() -> None:
    distill = (
        "[{method: cwd, weight: 3}, {method: cwd, weight: 50, taps: [decoder]}, {method: at, weight: 1}]"
    )
    names = [term.name for term in load_recipe("demo", [f"distill={distill}"]).distill]
    assert names == ["cwd", "cwd@decoder", "at"]


def test_a_recipe_cannot_be_changed() -> None:
    recipe = load_recipe("demo")
    with pytest.raises(ValidationError, match="frozen"):
        recipe.train.iterations = 1  # type: ignore[misc]


def test_a_schedule_that_is_ever_above_zero_is_fine() -> None:
    assert Schedule(kind="linear", start=0).end == 1
    assert Schedule(kind="cosine", end=0).start == 1
    assert Schedule(kind="warmup", over=(0, 5)).start == 0
    with pytest.raises(ValidationError, match="zero throughout"):
        Schedule(kind="constant", start=0)


def test_a_smaller_multiple_will_do_without_a_segformer() -> None:
    assert load_recipe("demo", ["train.crop=[48, 80]"]).train.crop == (48, 80)
