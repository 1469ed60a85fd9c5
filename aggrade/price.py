"""What a plan will cost: requests, round trips, bytes, memory, money."""

from __future__ import annotations

from collections import Counter

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["PRICES", "Price", "human_bytes"]

PRICES = {"PUT": 5e-6, "COPY": 5e-6, "LIST": 5e-6, "GET": 4e-7, "HEAD": 4e-7, "DELETE": 0.0}
"""US dollars per request: S3 Standard's published list prices (us-east-1, 2025). Traffic is left out."""


def human_bytes(size: float) -> str:
    """Return a number of bytes as people read it: ``1.5 MB`` (powers of 1000)."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(size) < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


class Price(BaseModel):
    """The price of a plan, before anything is done.

    What is read to make the plan is in it, and is all that a dry run costs; heartbeats are not. Where nobody has
    asked the server yet which conditions it keeps, that is in the price of an append's dry run. Bytes are those of the
    objects that come from the store and go there. A dry run encodes what will be written, of large variables a sample,
    to say how many; otherwise values count before compression.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    requests: dict[str, int] = Field(default_factory=dict, description="Requests by kind.")
    round_trips: int = Field(default=0, description="Requests that wait for one another.")
    bytes_read: int = Field(default=0, description="Bytes read.")
    bytes_written: int = Field(default=0, description="Bytes written.")
    weighed: bool = Field(default=False, description="Whether what is written was encoded to count it.")
    peak_memory: int = Field(default=0, description="Bytes of memory beyond the imported process.")

    @property
    def dollars(self) -> float:
        """US dollars for the requests, by `PRICES`."""
        return sum(PRICES.get(kind, 0.0) * count for kind, count in self.requests.items())

    def __add__(self, other: Price) -> Price:
        """Return the price of one thing after the other."""
        return Price(
            requests=dict(Counter(self.requests) + Counter(other.requests)),
            round_trips=self.round_trips + other.round_trips,
            bytes_read=self.bytes_read + other.bytes_read,
            bytes_written=self.bytes_written + other.bytes_written,
            weighed=self.weighed and other.weighed,
            peak_memory=max(self.peak_memory, other.peak_memory),
        )

    def __str__(self) -> str:
        requests = ", ".join(f"{count:,} {kind}" for kind, count in self.requests.items() if count) or "none"
        written = human_bytes(self.bytes_written) + ("" if self.weighed else " before compression")
        return (
            f"requests {requests} (${self.dollars:.6f}); reads {human_bytes(self.bytes_read)}, "
            f"writes {written}; memory {human_bytes(self.peak_memory)}"
        )
