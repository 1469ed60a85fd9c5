"""From a flow's signature to command-line arguments."""

from __future__ import annotations

from typing import Literal

import pytest
from cyclopts import App, CycloptsError
from pydantic import BaseModel, Field

from aggrade.errors import BadInput
from flows.arguments import command_of, from_text
from flows.declaring import declare


class Spec(BaseModel):
    """A specification."""

    size: float | None = Field(default=None, gt=0, description="Length in seconds.")
    rule: Literal["first", "last"] = Field(default="first", description="Which one counts.")
    channels: tuple[str, ...] | None = Field(default=None, description="Names.")
    mapping: dict[str, int] = Field(default_factory=dict, description="Name to number.")
    origin: dict[str, str] | str | None = Field(default=None, description="A column, or more.")
    drop: bool = Field(default=True, description="Leave the rest out.")


class Other(BaseModel):
    """Another one."""

    count: int = Field(default=3, description="How many.")


@declare("cut-things", run_name="cut {source}")
def cut_things(
    source: str,
    spec: Spec,
    target: str | None = None,
    chunks: dict[str, int | tuple[int, ...]] | None = None,
    other: Other = Other(),  # noqa: B008
    maybe: Other | None = None,
    layout: Literal["common", "own"] = "common",
    dry_run: bool = False,
) -> None:
    """Cut things.

    Parameters
    ----------
    source
        Folder with things.
    spec
        How to cut.
    target
        Where to.
    chunks
        Lengths by dimension.
    other
        Something else.
    maybe
        Perhaps.
    layout
        Where it goes.
    dry_run
        Write nothing.
    """


@pytest.fixture
def parsed():
    """Give a function that returns what the flow would be called with."""

    class Recorded:
        __doc__, description = cut_things.__doc__, cut_things.description
        fn = staticmethod(cut_things.fn)

        def validate_parameters(self, parameters):
            """Check as the flow does."""
            return cut_things.validate_parameters(parameters)

        def __call__(self, **parameters):
            """Return the parameters."""
            return parameters

    app = App(name="cut", result_action="return_value", help_format="plaintext")
    app.default(command_of(Recorded()))
    return lambda *tokens: app(tokens, exit_on_error=False, print_error=False)


def test_required_parameters_are_positions(parsed):
    """What has no default is given by its place; a model that is required may come out empty."""
    assert parsed("recordings") == {"source": "recordings", "spec": {}}


def test_a_target_is_a_position_that_may_be_left_out(parsed):
    """As of any program that copies; by its name too, and never a third one."""
    assert parsed("recordings", "there") == {"source": "recordings", "spec": {}, "target": "there"}
    assert parsed("recordings", "--target", "there")["target"] == "there"
    with pytest.raises(CycloptsError):
        parsed("recordings", "there", "elsewhere")


def test_they_can_be_named_too(parsed):
    """What can be given by its place can be given by its name."""
    assert parsed("--source", "recordings")["source"] == "recordings"


def test_fields_of_models_are_flags(parsed):
    """Each field of a model is a flag of its own, read as its type."""
    given = parsed("a", "--spec.size", "2.5", "--spec.rule", "last", "--spec.no-drop", "--other.count", "4")
    assert given["spec"] == {"size": 2.5, "rule": "last", "drop": False}
    assert given["other"] == {"count": 4}


def test_a_whole_model_is_json(parsed):
    """A model can be given whole; a flag of its own goes before."""
    given = parsed("a", "--spec", '{"size": 1, "mapping": {"LEFT": 0}}', "--spec.size", "2")
    assert given["spec"] == {"size": 2, "mapping": {"LEFT": 0}}


def test_structured_fields_are_json_or_text(parsed):
    """Dictionaries come as JSON, names as they are, lists as JSON or between commas."""
    given = parsed(
        "a", "--spec.mapping", '{"LEFT": 0}', "--spec.origin", "objid", "--spec.channels", "Fz, Cz"
    )
    assert given["spec"] == {"mapping": {"LEFT": 0}, "origin": "objid", "channels": ["Fz", "Cz"]}
    assert parsed("a", "--spec.channels", '["Fz"]')["spec"] == {"channels": ["Fz"]}


def test_structured_parameters_are_json(parsed):
    """A dictionary among the flow's own parameters comes as JSON."""
    assert parsed("a", "--chunks", '{"epoch": -1, "eeg": [1, 8]}')["chunks"] == {"epoch": -1, "eeg": [1, 8]}


def test_what_is_not_given_is_left_to_the_flow(parsed):
    """Defaults are the flow's: nothing is handed over that wasn't given."""
    assert set(parsed("a", "--layout", "own")) == {"source", "spec", "layout"}


def test_a_flag_switches_and_switches_back(parsed):
    """A truth value is a pair of flags."""
    assert parsed("a", "--dry-run")["dry_run"] is True
    assert parsed("a", "--no-dry-run")["dry_run"] is False


@pytest.mark.parametrize(
    ("tokens", "where"),
    [
        (("a", "--spec.size", "-1"), "parameter spec.size"),
        (("a", "--spec.mapping", "LEFT"), "parameter spec.mapping"),
        (("a", "--chunks", "many"), "parameter chunks"),
    ],
)
def test_the_flows_own_validation_has_the_last_word(parsed, tokens, where):
    """What the form refuses, the command line refuses, with the same words."""
    with pytest.raises(BadInput) as caught:
        parsed(*tokens)
    assert caught.value.problems[0].where == where


@pytest.mark.parametrize("flag", ["spec", "other", "maybe", "spec.mapping", "chunks"])
@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("@nofile.json", "no file nofile.json"),
        ("@.", "a folder, ."),
        ("{bad json", "'{bad json', which is no JSON: Expecting property name enclosed in double quotes at "),
        ('{"a":\n 1,}', "at line 2, column "),
        ("{" * 100_000, "which is no JSON"),
    ],
    ids=["file", "folder", "bad", "comma", "deep"],
)
def test_broken_json_and_missing_files_are_named(parsed, flag, text, found):
    """Where the JSON breaks is said, or that the file isn't there; never a class."""
    with pytest.raises(BadInput) as caught:
        parsed("a", f"--{flag}", text)
    (problem,) = caught.value.problems
    assert problem.where == f"parameter {flag}"
    assert found in problem.found
    assert "instance" not in str(problem)


@pytest.mark.parametrize("text", ["[1]", "7", '"text"', "null"])
def test_json_of_something_else_is_named(parsed, text):
    """A model takes names and values."""
    with pytest.raises(BadInput, match="JSON with names and values") as caught:
        parsed("a", "--spec", text)
    assert caught.value.problems[0].found == text


def test_text_that_may_be_text_stays(parsed):
    """Where a name is taken as well, a name may begin like JSON."""
    assert parsed("a", "--spec.origin", "@id")["spec"] == {"origin": "@id"}


def test_help_describes_every_flag(parsed, capsys):
    """Help shows the descriptions of parameters and fields, defaults and choices."""
    parsed("--help")
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for text in (
        "Length in seconds.",
        "Folder with things.",
        "[default: 3]",
        "[choices: common, own]",
        "Write nothing.",
    ):
        assert text in shown


def test_text_is_json_where_it_can_be():
    """JSON is read as such; other text is itself."""
    assert [from_text(text) for text in ("3", "null", "[1]", "abc", "{broken")] == [
        3,
        None,
        [1],
        "abc",
        "{broken",
    ]
