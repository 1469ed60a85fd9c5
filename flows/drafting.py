"""The command that drafts a catalogue specification, without Prefect, unless it keeps the credentials."""

from __future__ import annotations

import json
import sys

from aggrade.errors import BadInput, Problem

__all__ = ["inspect"]


def inspect(file: str, *, credentials: str | None = None) -> str:
    """Guess a catalogue specification from one file: print it as JSON, to be checked, completed and kept.

    What was taken for what, and what is unknown, is said beside it on the terminal. Fill in what is "?", keep the
    JSON in a file, and pass it on: aggrade populate --spec @spec.json. Nothing else guesses.

    Parameters
    ----------
    file
        A catalogue of any known format: a path or s3://bucket/key.
    credentials
        Name of an aws-credentials block for the bucket. Left out: the environment decides.
    """
    from aggrade.catalogues.finding import find_catalogues, read_source
    from aggrade.catalogues.guessing import guess_spec

    options = None
    if credentials is not None:
        from tasks.credentials import storage_options

        options = storage_options(credentials)
    found = find_catalogues(file, options)
    if len(found) > 1:
        told = f"{len(found)} catalogues, such as {found[0].url}"
        raise BadInput(Problem(file, told, "one file", "name one of them", "one-file"))
    guess = guess_spec(read_source(found[0], options), found[0].key)
    said = ["a guess from names, units and values; check it before you use it", *guess.remarks]
    print("\n".join(f"{found[0].name}: {remark}" for remark in said), file=sys.stderr)
    return json.dumps(guess.spec, indent=2)
