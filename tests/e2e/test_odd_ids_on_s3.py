"""Session ids with spaces, slashes, signs and umlauts on a real server."""

from __future__ import annotations

import pytest
from make_moves import LAYOUTS, assert_ids_survive

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("layout", ["per session", pytest.param("named", marks=pytest.mark.long)])
def test_on_a_server(s3_prefix, layout):
    """Every id is its own, from staging to removal, below a prefix whose own name is difficult."""
    assert_ids_survive(f"{s3_prefix.url}/Ab 01 ä#%", s3_prefix.storage_options, LAYOUTS[layout])
