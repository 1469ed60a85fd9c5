"""Source catalogues: specification, formats, objects, matching."""

from aggrade.catalogues.spec import CatalogueSpec, MatchSpec, Measurement, Origin

__all__ = ["CatalogueSpec", "MatchSpec", "Measurement", "Origin"]
