"""Made-up catalogues with known content, written by the libraries that own the formats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.io import fits
from astropy.table import Table

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

BANDS = ("g", "r")
ARCSEC = 1 / 3600


def write_table(
    path: Path,
    columns: dict[str, Any],
    *,
    meta: dict[str, Any] | None = None,
    units: dict[str, str] | None = None,
) -> Path:
    """Write columns in the format that the name tells; ids and numbers as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {name: np.asarray(values) for name, values in columns.items()}
    suffix = path.suffix
    if suffix in (".csv", ".gz"):
        pd.DataFrame(arrays).to_csv(path, index=False)
    elif suffix == ".parquet":
        metadata = {str(key): str(value) for key, value in (meta or {}).items()}
        fields = [
            pa.field(name, pa.array(values).type, metadata={"unit": (units or {}).get(name, "")})
            for name, values in arrays.items()
        ]
        table = pa.Table.from_arrays(
            [pa.array(values) for values in arrays.values()], schema=pa.schema(fields, metadata)
        )
        pq.write_table(table, path)
    else:
        table = Table(arrays, meta=meta)
        for name, unit in (units or {}).items():
            table[name].unit = unit
        table.write(path, format="fits" if suffix == ".fits" else "ascii.ecsv", overwrite=True)
    return path


def write_ldac(path: Path, columns: dict[str, Any], cards: dict[str, Any]) -> Path:
    """Write a FITS_LDAC file as SExtractor does: the image's header as text, then the objects."""
    header = fits.Header()
    header.update(cards)
    text = header.tostring(sep="", endcard=True, padding=True)
    image = fits.BinTableHDU.from_columns(
        [fits.Column("Field Header Card", f"{len(text)}A", array=np.array([text]))], name="LDAC_IMHEAD"
    )
    objects = fits.BinTableHDU(Table(columns), name="LDAC_OBJECTS")
    fits.HDUList([fits.PrimaryHDU(), image, objects]).writeto(path)
    return path


def angles(ra: Any, dec: Any, other_ra: Any, other_dec: Any) -> NDArray[np.float64]:
    """Return arcseconds between every position and every other (haversine), as (row, other)."""
    lon, lat = np.radians(np.asarray(ra))[:, None], np.radians(np.asarray(dec))[:, None]
    lon2, lat2 = np.radians(np.asarray(other_ra))[None], np.radians(np.asarray(other_dec))[None]
    half = np.sin((lat2 - lat) / 2) ** 2 + np.cos(lat) * np.cos(lat2) * np.sin((lon2 - lon) / 2) ** 2
    return np.degrees(2 * np.arcsin(np.sqrt(np.clip(half, 0, 1)))) * 3600


@dataclass
class Survey:
    """A survey without object ids, across RA 0 and over both poles, in two bands.

    `ra`, `dec` (object,) are the true positions; `seen` (epoch, object) says who was detected; `mag`, `err`
    (epoch, object, band) what was measured; `noise` rows per epoch lie far from every object.
    """

    ra: NDArray[np.float64]
    dec: NDArray[np.float64]
    seen: NDArray[np.bool_]
    mag: NDArray[np.float32]
    err: NDArray[np.float32]
    mjd: NDArray[np.float64]
    noise: int = 5

    SPEC = {  # noqa: RUF012
        "ra": "RA",
        "dec": "DEC",
        "epoch": {"filename": r"visit_(\d+)"},
        "epoch_time": "MJD-OBS",
        "time_scale": "tai",
        "measurements": {band: {"value": f"mag_{band}", "error": f"err_{band}"} for band in BANDS},
        "value_range": (5, 40),
    }

    def rows(self, epoch: int) -> dict[str, NDArray[Any]]:
        """Return the rows of one epoch: shuffled, positions off by some 0.2 arcsec, RA in one of two ranges."""
        rng = np.random.default_rng([7, epoch])
        seen = np.flatnonzero(self.seen[epoch])
        ra, dec = shifted(self.ra[seen], self.dec[seen], rng, 0.2)
        away = (np.full(self.noise, 123.0) + np.arange(self.noise), np.linspace(20, 21, self.noise))
        order = rng.permutation(len(seen) + self.noise)
        sentinel = np.full((self.noise, len(BANDS)), 20.0, "f4")
        ra = np.concatenate([ra, away[0]])[order]
        columns = {
            "RA": np.where(ra > 180, ra - 360, ra) if epoch % 2 else ra,
            "DEC": np.concatenate([dec, away[1]])[order],
        }
        for name, values in (("mag", self.mag), ("err", self.err)):
            whole = np.concatenate([values[epoch][seen], sentinel])[order]
            columns |= {f"{name}_{band}": whole[:, index] for index, band in enumerate(BANDS)}
        return columns

    def write(self, folder: Path, suffix: str = "fits") -> list[Path]:
        """Write a file per epoch."""
        return [
            write_table(
                folder / f"visit_{epoch:03d}.{suffix}",
                self.rows(epoch),
                meta={"MJD-OBS": float(self.mjd[epoch])},
            )
            for epoch in range(len(self.mjd))
        ]

    def objects(self) -> pd.DataFrame:
        """Return the true objects as a table with ids."""
        return pd.DataFrame({"object": np.arange(len(self.ra)) + 2**60, "ra": self.ra, "dec": self.dec})


def shifted(ra: Any, dec: Any, rng: np.random.Generator, arcsec: float) -> tuple[Any, Any]:
    """Move positions on the sphere by a normal deviate of so many arcseconds, poles included."""
    lon, lat = np.radians(ra), np.radians(dec)
    vectors = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], -1)
    vectors += rng.normal(scale=np.radians(arcsec * ARCSEC), size=vectors.shape)
    moved = np.degrees(np.arctan2(vectors[:, 1], vectors[:, 0])) % 360
    return moved, np.degrees(np.arctan2(vectors[:, 2], np.hypot(vectors[:, 0], vectors[:, 1])))


def make_survey(objects: int = 150, epochs: int = 5, seed: int = 3) -> Survey:
    """Make a survey whose objects are at least 10 arcsec apart: a third each at RA 0, and near each pole."""
    rng = np.random.default_rng(seed)
    third = objects // 3
    ra = np.concatenate([rng.uniform(-0.2, 0.2, third) % 360, rng.uniform(0, 360, 2 * third)])
    polar = 90 - 0.3 * np.sqrt(rng.uniform(size=2 * third))
    dec = np.concatenate([rng.uniform(-0.2, 0.2, third), polar * np.repeat([1, -1], third)])
    apart = angles(ra, dec, ra, dec)
    keep = ~np.triu(apart < 10, 1).any(axis=0)
    ra, dec = ra[keep], dec[keep]
    shape = (epochs, len(ra), len(BANDS))
    mag = rng.uniform(15, 22, shape).astype("f4")
    mag[rng.uniform(size=shape) < 0.1] = 99.0
    return Survey(
        ra=ra,
        dec=dec,
        seen=rng.uniform(size=shape[:2]) < 0.7,
        mag=mag,
        err=rng.uniform(0.01, 0.2, shape).astype("f4"),
        mjd=61000 + np.sort(rng.uniform(0, 30, epochs)),
    )
