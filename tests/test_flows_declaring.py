"""Declared flows: the form that the UI shows, and what becomes of wrong parameters."""

from __future__ import annotations

import pytest
from prefect.utilities.callables import parameter_schema
from pydantic import BaseModel, Field

from aggrade.errors import BadInput
from flows.declaring import declare
from flows.ingest_sessions import ingest_sessions


class Spec(BaseModel):
    """A specification."""

    size: float = Field(gt=0, description="Length in seconds.")


@declare("cut-things", run_name="cut {source}")
def cut_things(source: str, spec: Spec, *, often: int = 1) -> list[str]:
    """Cut things.

    As often as is asked.

    Parameters
    ----------
    source
        Folder with things; each child
        is one thing.
    spec
        How to cut.
    often
        How often.

    Returns
    -------
    list of str
        What was cut.

    Raises
    ------
    BadInput
        If there is nothing to cut.
    """
    return [source] * often * int(spec.size)


def test_the_form_has_the_docstrings_words():
    """Every parameter's description in the form is the one of the docstring, on one line."""
    form = parameter_schema(cut_things).model_dump()["properties"]
    assert {name: field["description"] for name, field in form.items()} == {
        "source": "Folder with things; each child is one thing.",
        "spec": "How to cut.",
        "often": "How often.",
    }


def test_a_models_fields_explain_themselves():
    """The form nests a model with its fields' descriptions and bounds."""
    field = parameter_schema(cut_things).model_dump()["definitions"]["Spec"]["properties"]["size"]
    assert (field["description"], field["exclusiveMinimum"]) == ("Length in seconds.", 0)


def test_the_description_leaves_the_parameters_out():
    """What the flow says of itself is its summary and what follows, without the sections."""
    assert " ".join(cut_things.description.split()) == "Cut things. As often as is asked."


def test_name_and_run_name_are_given():
    """Flow and runs are called what was asked for."""
    assert (cut_things.name, cut_things.flow_run_name) == ("cut-things", "cut {source}")


def test_results_are_kept_as_json():
    """What a flow returns is persisted where somebody can read it."""
    assert (cut_things.persist_result, cut_things.result_serializer) == (True, "json")


def test_dictionaries_become_models():
    """A plain dictionary is taken wherever a model is."""
    assert cut_things.validate_parameters({"source": "a", "spec": {"size": 2}})["spec"] == Spec(size=2)


def test_every_wrong_parameter_is_named():
    """Wrong parameters are bad input, all of them at once, each with its path."""
    with pytest.raises(BadInput) as caught:
        cut_things.validate_parameters({"source": "a", "spec": {"size": -1}, "often": "never"})
    assert [problem.where for problem in caught.value.problems] == ["parameter spec.size", "parameter often"]
    assert [problem.found for problem in caught.value.problems] == ["-1", "'never'"]
    assert caught.value.problems[0].expected == "greater than 0"


def test_no_class_is_named():
    """Whoever fills in a form knows nothing of classes."""
    with pytest.raises(BadInput) as caught:
        cut_things.validate_parameters({"source": "a", "spec": "large"})
    assert [(one.found, one.expected) for one in caught.value.problems] == [("'large'", "names and values")]


def test_what_a_model_demands_is_the_remedy():
    """Of several fields that don't go together, what was given is shown, and what the model says is the advice."""
    with pytest.raises(BadInput) as caught:
        ingest_sessions.validate_parameters({"source": "a", "store": "b", "windows": {"start": "first"}})
    told = [problem for problem in caught.value.problems if problem.where == "parameter windows"]
    assert [problem.fix for problem in told] == ["give either window_size_s or window_size_samples"]
    assert told[0].found == "{'start': 'first'}"


@pytest.mark.usefixtures("prefect_backend")
def test_a_run_with_wrong_parameters_raises_the_same():
    """Called with wrong parameters the flow fails with bad input, and does nothing."""
    with pytest.raises(BadInput, match=r"spec\.size"):
        cut_things("a", {"size": 0})


@pytest.mark.parametrize(
    ("given", "named"),
    [({"source": "a"}, "'spec'"), ({"source": "a", "spec": {"size": 1}, "ofen": 2}, "'ofen'")],
)
def test_a_missing_or_unknown_parameter_is_bad_input(given, named):
    """Called without a parameter, or with one that there isn't, nothing is begun."""
    with pytest.raises(BadInput, match=named):
        cut_things(**given)


@pytest.mark.usefixtures("prefect_backend")
def test_a_flow_is_a_plain_callable():
    """Called like a function it returns what the function returns."""
    assert cut_things("a", {"size": 2}, often=2) == ["a"] * 4
