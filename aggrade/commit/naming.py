"""Which texts of a store name a layer, and what they say without it.

A label may be an ordinary word (``rest``, ``1``, ``V``) that means something else where it stands. So what says how
values are read or were made, for all layers, is never touched; where a text says whose it is, the label goes as the
whole of it or as a part of a path; anywhere else only a label goes that can't be an ordinary word.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from aggrade.attribute_guards import is_rate, is_unit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "attributes_without",
    "changed_attributes",
    "cleaned_receipt",
    "is_distinctive",
    "masked",
    "names",
    "naming_attributes",
    "receipt_without",
    "says_how",
    "says_whose",
    "without_label",
]

_BORDER = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+")
_READING = {
    *("calendar", "dtype", "scale_factor", "add_offset", "_FillValue", "missing_value", "_Unsigned"),
    *("coordinates", "bounds", "cell_methods", "ancillary_variables", "_ARRAY_DIMENSIONS", "aggrade"),
}
_HOW = {
    *("mapping", "spec", "specification", "flag", "encoding", "class", "classes", "marker", "event"),
    *(
        "channel",
        "electrode",
        "montage",
        "reference",
        "filter",
        "band",
        "notch",
        "hz",
        "freq",
        "frequency",
        "frequencies",
    ),
}
_WHOSE = {
    *("session", "subject", "participant", "patient", "person", "proband", "recording", "layer"),
    *("source", "file", "filename", "filepath", "path", "url"),
}
_BESIDE = {"id", "identifier", "name", "code", "key", "number", "original", "raw"}
_LEAST = 3
_QUANTITY = re.compile(r"\d+([.,]\d+)?\s*[^\W\d]+")
_LABELLED = ("layers", "digests")
_LABELS_OF = ("epochs", "replaced")
_FILES = {"refused": "source"}


def is_distinctive(label: str) -> bool:
    """Tell whether a label can't be an ordinary word: three characters or more, letters and digits, no quantity.

    >>> [is_distinctive(one) for one in ("sub-03", "P077", "rest", "1", "2026-10-05", "V1", "100Hz")]
    [True, True, False, False, False, False, False]
    """
    kinds = any(char.isalpha() for char in label), any(char.isdigit() for char in label)
    return len(label) >= _LEAST and all(kinds) and not _QUANTITY.fullmatch(label)


def says_how(name: str) -> bool:
    """Tell whether an attribute says how values are read, or were made, for all layers.

    >>> [says_how(name) for name in ("mapping", "spec", "unit_of", "eeg_nominal_rate", "made.filter", "note")]
    [True, True, True, True, True, False]
    """
    words = set(_words(name))
    return name in _READING or bool(words & _HOW) or is_unit(name) or is_rate(name)


def says_whose(name: str) -> bool:
    """Tell whether an attribute says whose values they are, or what they were read from, and nothing else.

    >>> [says_whose(name) for name in ("session_id", "source", "subject.name", "session_type", "file_format", "id")]
    [True, True, True, False, False, False]
    """
    words = set(_words(name))
    return bool(words & _WHOSE) and words <= _WHOSE | _BESIDE


def _words(name: str) -> list[str]:
    """Return the words of a name in small letters, as they are and, where they end in s, without it."""
    words = [word.lower() for word in _BORDER.split(name) if word]
    return [word.removesuffix("s") if word not in _HOW else word for word in words]


def attributes_without(attributes: Mapping[str, Any], label: str) -> dict[str, Any]:
    """Return attributes of a group or an array without a label: those that are it are left out, texts lose it.

    What says how values are read or were made stays as it is, whatever it says.

    Parameters
    ----------
    attributes
        As JSON holds them.
    label
        The layer's.
    """
    return _items_without(attributes, "", label)


def changed_attributes(attributes: Mapping[str, Any], label: str) -> list[str]:
    """Return the names of the attributes that `attributes_without` changes or leaves out."""
    after = attributes_without(attributes, label)
    return [name for name in attributes if name not in after or after[name] != attributes[name]]


def naming_attributes(attributes: Mapping[str, Any], label: str) -> list[str]:
    """Return the names of the attributes in which a label still stands as a word, since they mean something else."""
    after = attributes_without(attributes, label)
    return [name for name, value in after.items() if name != "aggrade" and _mentions((name, value), label)]


def _items_without(value: Mapping[str, Any], name: str, label: str) -> dict[str, Any]:
    goes = label and (is_distinctive(label) or says_whose(name))
    found = {}
    for key, item in value.items():
        inside = f"{name}.{key}" if name else key
        if says_how(inside):
            found[key] = item
        elif not (goes and key == label) and not _is_it(item, inside, label):
            found[key] = _value_without(item, inside, label)
    return found


def _value_without(value: Any, name: str, label: str) -> Any:
    if isinstance(value, dict):
        return _items_without(value, name, label)
    if isinstance(value, list):
        return [_value_without(item, name, label) for item in value if not _is_it(item, name, label)]
    return _text_without(value, name, label) if isinstance(value, str) and label else value


def _is_it(value: Any, name: str, label: str) -> bool:
    """Tell whether a value is the label, where it can mean nothing else."""
    return bool(label) and value == label and (is_distinctive(label) or says_whose(name))


def _text_without(text: str, name: str, label: str) -> str:
    if is_distinctive(label):
        return _as_a_word(label).sub("", text)
    return _as_part_of_a_path(label).sub("", text) if says_whose(name) else text


def _as_a_word(label: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(label)}(?!\w)")


def _as_part_of_a_path(label: str) -> re.Pattern[str]:
    r"""Return what finds a whole part of a path, the last one with or without suffixes.

    >>> _as_part_of_a_path("1").sub("…", "1/sub-1/1.5/1.set.gz")
    '…/sub-1/1.5/….set.gz'
    """
    return re.compile(rf"(?<![^/\\]){re.escape(label)}(?=$|[/\\]|(\.[A-Za-z]\w*)+$)")


def receipt_without(receipt: Mapping[str, Any], label: str) -> dict[str, Any]:
    """Return a receipt without a label, with every field that it had.

    Parameters
    ----------
    receipt
        As JSON holds it.
    label
        The layer's: it goes from what is told by label, and from details as from attributes.
    """
    told = {key: _without_it(receipt[key], label) for key in _LABELLED if key in receipt}
    details = receipt.get("details")
    if isinstance(details, dict):
        told["details"] = {key: _detail_without(key, value, label) for key, value in details.items()}
    return {**receipt, **told}


def cleaned_receipt(data: bytes, label: str) -> bytes:
    """Return the bytes of a receipt without a label: as they are if it does not name it, none if nobody can read it.

    Parameters
    ----------
    data
        What lies there.
    label
        As for `receipt_without`.
    """
    try:
        text = json.loads(data)
        cleaned = receipt_without(text, label)
    except (ValueError, TypeError, AttributeError, RecursionError):
        return b""
    return data if cleaned == text else json.dumps(cleaned, indent=1).encode()


def _detail_without(name: str, value: Any, label: str) -> Any:
    if name in _LABELS_OF:
        return _without_it(value, label)
    return value if says_how(name) else _value_without(value, _FILES.get(name, name), label)


def _without_it(value: Any, label: str) -> Any:
    """Return what is told by label, or a list of labels, without one."""
    if isinstance(value, dict):
        return {key: item for key, item in value.items() if key != label}
    return [item for item in value if item != label] if isinstance(value, list) else value


def masked(text: str, label: str) -> str:
    """Return a text in which a label does not stand, neither as a word nor between underscores.

    >>> masked("s3://lab/P7_windowed.zarr: variable 'subject'", "P7")
    "s3://lab/…_windowed.zarr: variable 'subject'"
    """
    return _loosely(label).sub("…", text) if label else text


def _loosely(label: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![^\W_]){re.escape(label)}(?![^\W_])")


def _mentions(value: Any, label: str) -> bool:
    """Tell whether a label stands anywhere in a JSON value, as a word or between underscores."""
    return bool(label) and any(_loosely(label).search(text) for text in _texts(value))


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, dict):
        return [text for pair in value.items() for text in _texts(pair)]
    if isinstance(value, list | tuple):
        return [text for item in value for text in _texts(item)]
    return [value] if isinstance(value, str) else []


def names(value: Any, label: str) -> bool:
    """Tell whether a JSON value names a label anywhere."""
    return bool(without_label(value, label) != value)


def without_label(value: Any, label: str) -> Any:
    """Return a JSON value without a label: keys and items that are it are left out, sentences lose it."""
    if isinstance(value, dict):
        return {key: without_label(item, label) for key, item in value.items() if key != label}
    if isinstance(value, list):
        return [without_label(item, label) for item in value if item != label]
    if isinstance(value, str):
        return _as_a_word(label).sub("", value) if label else value
    return value
