"""Load a recipe: the file and the overrides, checked against the schema, every problem reported at once."""

from __future__ import annotations

import difflib
import io
import re
from collections.abc import Iterable, Sequence
from typing import Any, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from kd_deploy.config import catalog
from kd_deploy.config.schema import Recipe
from kd_deploy.config.section import Section
from kd_deploy.config.source import BROKEN, Key, Problem, RecipeError, Source, shown


def load_recipe(name_or_path: str, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in a file, or the packaged one of that name, with `overrides` (key=value) applied.

    Raises:
        RecipeError: the file cannot be read, or something in it or in an override is wrong; a line for
            each problem, "file:line: key: problem (did you mean 'x'?)".
    """
    source = Source(catalog.find(name_or_path))
    for override in overrides:
        source.override(override)
    try:
        recipe = Recipe.model_validate(source.value)
    except ValidationError as error:
        for details in error.errors(include_url=False):
            if details["input"] is not BROKEN or details["type"] == "extra_forbidden":
                key, text = _plain(details)
                source.problems.append(Problem(source.origin(key), key, text))
    if source.problems:
        lines = [str(problem) for problem in sorted(source.problems, key=_place)]
        raise RecipeError(list(dict.fromkeys(lines)))
    return recipe


def dump_recipe(recipe: Recipe) -> str:
    """The whole recipe as YAML, every default written out; loading it gives an equal recipe."""
    yaml = YAML()
    yaml.default_flow_style = None  # lists of numbers on one line
    yaml.width = 1_000_000  # never folded
    stream = io.StringIO()
    yaml.dump(_quoted(recipe.model_dump(mode="json")), stream)
    return stream.getvalue()


def _quoted(value: Any) -> Any:
    """`value` with quotes around all text but plain words; left alone, ruamel writes some of it wrongly."""
    if isinstance(value, dict):
        return {key: _quoted(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_quoted(item) for item in value]
    if isinstance(value, str) and not re.fullmatch(r"[A-Za-z][A-Za-z0-9_./-]*", value):
        return DoubleQuotedScalarString(value)
    return value


def did_you_mean(word: Any, known: Iterable[str]) -> str:
    """ " (did you mean 'x'?)" for the nearest of `known`, or nothing where none is near."""
    near = difflib.get_close_matches(str(word).lower(), known, n=1)
    return f" (did you mean '{near[0]}'?)" if near else ""


# pydantic's error types, in the words of someone who writes a recipe
_WORDS = {
    "missing": "missing key",
    "int_type": "must be a whole number, not {given}",
    "int_parsing": "must be a whole number, not {given}",
    "int_parsing_size": "must be a whole number of fewer digits, not {given}",
    "int_from_float": "must be a whole number, not {given}",
    "float_type": "must be a number, not {given}",
    "float_parsing": "must be a number, not {given}",
    "finite_number": "must be a finite number, not {given}",
    "bool_type": "must be true or false, not {given}",
    "string_type": "must be text, not {given}",
    "path_type": "must be text, not {given}",
    "string_too_short": "must not be empty",
    "greater_than": "must be greater than {gt:g}, not {given}",
    "greater_than_equal": "must be at least {ge:g}, not {given}",
    "model_type": "must be a section (key: value), not {given}",
    "model_attributes_type": "must be a section (key: value), not {given}",
    "list_type": "must be a list, not {given}",
    "tuple_type": "must be a list, not {given}",
    "too_short": "has too few values: {given}",
    "too_long": "must have {max_length} values, not {actual_length}",
}


def _plain(details: ErrorDetails) -> tuple[Key, str]:
    """The key that an error of pydantic is about, and the problem in plain words."""
    kind, value, context = details["type"], details["input"], details.get("ctx", {})
    key, section = _trace(details["loc"])
    if kind == "recipe":  # from our own checks across keys
        return (*key, *context["at"]), details["msg"]
    if kind == "extra_forbidden":
        return key, f"unknown key{_nearest_key(str(key[-1]), section)}"
    if kind == "literal_error":
        return key, _not_one_of(value, context["expected"])
    if kind.startswith("union_tag"):
        text = _not_one_of(context["tag"], context["expected_tags"]) if "tag" in context else "missing key"
        return (*key, context["discriminator"].strip("'")), text
    if kind == "missing" and isinstance(key[-1], int):
        return key[:-1], f"has too few values: {shown(value)}"
    if kind in _WORDS:
        return key, _WORDS[kind].format(given=shown(value), **context)
    return key, details["msg"].replace("Input should be", "must be")


def _trace(location: Key) -> tuple[Key, type[Section]]:
    """The key that the user wrote for pydantic's location, and the section that holds it.

    Where a section is one of several (`data` by its format, a term by its method), pydantic names the
    choice in the location; the user did not.
    """
    key: Key = ()
    section: type[Section] = Recipe
    choices: list[type[Section]] = [Recipe]
    for part in location:
        if isinstance(part, str) and len(choices) > 1:
            choices = [choice for choice in choices if part in _tags(choice)]
            continue
        if isinstance(part, str) and choices:
            section = choices[0]
            field = section.model_fields.get(part)
            choices = _sections(field.annotation) if field else []
        key = (*key, part)
    return key, section


def _sections(annotation: Any) -> list[type[Section]]:
    """The sections that an annotation allows: of `list[A | B]`, A and B."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [section for argument in get_args(annotation) for section in _sections(argument)]


def _tags(section: type[Section]) -> set[Any]:
    return {value for field in section.model_fields.values() for value in get_args(field.annotation)}


def _nearest_key(word: str, section: type[Section]) -> str:
    """A near key of the section, else the place below it where the key belongs (momentum: optimizer.momentum)."""
    for name, field in section.model_fields.items():
        if any(word in inner.model_fields for inner in _sections(field.annotation)):
            return f" (did you mean '{name}.{word}'?)"
    return did_you_mean(word, section.model_fields)


def _not_one_of(value: Any, quoted: str) -> str:
    known = re.findall(r"'([^']*)'", quoted)
    return f"{shown(value)} is not one of {', '.join(known)}{did_you_mean(value, known)}"


def _place(problem: Problem) -> tuple[int, int]:
    return problem.origin.override, problem.origin.line
