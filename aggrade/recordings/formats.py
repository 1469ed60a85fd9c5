"""The formats that aggrade reads. A new one is a file beside this and a line here."""

from __future__ import annotations

from aggrade.recordings import Format, mne_formats, snirf, xdf

__all__ = ["FORMATS", "format_of"]

FORMATS: tuple[Format, ...] = (xdf.FORMAT, snirf.FORMAT, *mne_formats.FORMATS)


def format_of(name: str, head: bytes) -> Format | None:
    """Return the format of a file: by its content, else by its suffix; None if it is no recording.

    Parameters
    ----------
    name
        File name.
    head
        The first 1024 bytes.
    """
    by_content = [known for known in FORMATS if known.recognises(head)]
    by_suffix = [known for known in FORMATS if name.lower().endswith(known.suffixes)]
    both = [known for known in by_content if known in by_suffix]
    return next(iter(both or by_content or by_suffix), None)
