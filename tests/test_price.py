"""Prices: requests, bytes, memory and money."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from aggrade.price import PRICES, Price, human_bytes


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (1_500_000, "1.5 MB"),
        (999_900_000, "999.9 MB"),
        (2_000_000_000, "2.0 GB"),
        (3e15, "3000.0 TB"),
        (-2_000, "-2.0 kB"),
    ],
)
def test_bytes_as_people_read_them(size, text):
    """Powers of 1000 with one decimal."""
    assert human_bytes(size) == text


@given(st.integers(0, 10**18))
def test_bytes_are_never_off_by_more_than_their_last_digit(size):
    """The number and its unit together are the size, within a twentieth."""
    number, unit = human_bytes(size).split()
    factor = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}[unit]
    assert abs(float(number) * factor - size) <= 0.05 * factor + 1


def test_dollars_are_requests_times_their_price():
    """A million PUT cost five dollars, a million GET forty cents, and what has no price nothing."""
    assert Price(requests={"PUT": 1_000_000}).dollars == pytest.approx(5.0)
    assert Price(requests={"GET": 1_000_000, "DELETE": 7, "OTHER": 3}).dollars == pytest.approx(0.4)
    assert Price().dollars == 0.0


def test_writing_costs_more_than_reading():
    """The table has every kind of request that a storage sends."""
    assert set(PRICES) == {"PUT", "COPY", "LIST", "GET", "HEAD", "DELETE"}
    assert PRICES["PUT"] > PRICES["GET"] > PRICES["DELETE"]


def test_one_thing_after_the_other():
    """Requests, waits, bytes and money add up; memory is that of the greedier, and one guess makes a guess."""
    one = Price(
        requests={"GET": 1, "PUT": 2},
        round_trips=3,
        bytes_read=4,
        bytes_written=5,
        weighed=True,
        peak_memory=6,
    )
    other = Price(
        requests={"PUT": 10, "LIST": 20}, round_trips=30, bytes_read=40, bytes_written=50, peak_memory=5
    )
    both = one + other
    assert both.requests == {"GET": 1, "PUT": 12, "LIST": 20}
    assert (both.round_trips, both.bytes_read, both.bytes_written, both.peak_memory) == (33, 44, 55, 6)
    assert both.dollars == pytest.approx(one.dollars + other.dollars)
    assert not both.weighed
    assert one + Price(weighed=True) == one


def test_printed():
    """A person reads requests by kind, money, bytes and memory."""
    price = Price(
        requests={"GET": 1200, "PUT": 3, "LIST": 0}, bytes_read=2_000_000, bytes_written=10, peak_memory=5_000
    )
    assert str(price) == (
        "requests 1,200 GET, 3 PUT ($0.000495); reads 2.0 MB, writes 10 B before compression; memory 5.0 kB"
    )


def test_nothing_is_printed_as_nothing():
    """A plan that sends nothing says so."""
    assert "requests none" in str(Price())


def test_a_price_is_a_value():
    """It is frozen, strict and survives JSON."""
    price = Price(requests={"PUT": 1}, round_trips=2)
    assert Price.model_validate_json(price.model_dump_json()) == price
    with pytest.raises(ValidationError, match="frozen"):
        price.round_trips = 3
    with pytest.raises(ValidationError, match="colour"):
        Price(colour="blue")
