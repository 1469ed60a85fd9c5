"""What surveys and programs call their columns and header keys, the likelier names first.

Names of columns are in lower case, without anything but letters and digits.
"""

from __future__ import annotations

import re

__all__ = ["BANDS", "DEC", "EPOCHS", "FLAGS", "HEADER_FILTERS", "HEADER_TIMES", "IDS", "LIMITS", "RA", "TIME"]

IDS = [
    "objectid",
    "objid",
    "diaobjectid",
    "sourceid",
    "objectname",
    "sourcename",
    "designation",
    "starid",
    "oid",
    "psobjid",
    "object",
    "id",
    "name",
    "star",
    "source",
]
RA = [
    "ra",
    "raj2000",
    "raicrs",
    "radeg",
    "alphaj2000",
    "alphawinj2000",
    "alphasky",
    "ramean",
    "meanra",
    "coordra",
    "xworld",
    "skycentroidra",
    "skycenterra",
]
DEC = [
    "dec",
    "dej2000",
    "decj2000",
    "deicrs",
    "decdeg",
    "dedeg",
    "deltaj2000",
    "deltawinj2000",
    "deltasky",
    "decmean",
    "meandec",
    "coorddec",
    "yworld",
    "skycentroiddec",
    "skycenterdec",
]
TIME = re.compile(
    r"(obs|mid|exp|mean)?(mjd|bmjd|hmjd|jd|bjd|hjd)(obs|mid|mean|tai|utc|tdb)?|midpointmjdtai|midpointtai|time|epochmjd"
)
BANDS = ["band", "filter", "filtername", "filterid", "fid", "filtercode", "passband", "filt"]
EPOCHS = [
    "epoch",
    "visit",
    "visitid",
    "expid",
    "exposure",
    "exposureid",
    "expnum",
    "obsid",
    "observationid",
    "ccdvisitid",
    "nightid",
    "night",
]
LIMITS = ["diffmaglim", "maglim", "limmag", "limitingmag", "limitmag", "uppermag", "upperlimit", "maglimit"]
FLAGS = ["flags", "flag", "catflags", "qualityflag", "quality"]
HEADER_TIMES = [
    "MJD-OBS",
    "MJD_OBS",
    "MJDOBS",
    "MJD-AVG",
    "MJD-BEG",
    "MJD",
    "JD",
    "JD-OBS",
    "DATE-OBS",
    "DATE-AVG",
    "DATE-BEG",
]
HEADER_FILTERS = ["FILTER", "BAND", "FILTNAM"]
