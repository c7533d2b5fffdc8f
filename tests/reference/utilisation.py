"""docs/internals/utilisation.md in plain Python: written from the page alone, to check the warehouse against."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from math import ceil

GB = 2**30
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class Sample:
    """What a sandbox used at an instant, as it landed."""

    sandbox_id: str
    sampled_at: datetime
    cpu_used_pct: Decimal
    mem_bytes: int


@dataclass(frozen=True)
class Piece:
    """Time of one day in which a sandbox held a constant size at constant rates."""

    sandbox_id: str
    customer_id: str
    started_at: datetime
    ended_at: datetime
    vcpu_count: Decimal
    memory_gb: Decimal
    vcpu_rate: Decimal | None
    """Per unit and second; None where the meter has no price for one sandbox alone."""
    memory_rate: Decimal | None

    def during(self, start: datetime, end: datetime) -> Fraction:
        """Seconds of it that lie in [start, end)."""
        return max(Fraction(0), seconds(min(self.ended_at, end) - max(self.started_at, start)))

    def cost(self, vcpu_count: Decimal, memory_gb: Decimal) -> Fraction:
        """The amount at list rates if it had been of this size."""
        per_second = vcpu_count * (self.vcpu_rate or 0) + memory_gb * (self.memory_rate or 0)
        return Fraction(per_second) * seconds(self.ended_at - self.started_at)


Row = dict[str, object]
"""A row of utilisation_daily but for the customer's currency."""


def seconds(duration: timedelta) -> Fraction:
    return Fraction(duration // timedelta(microseconds=1), 1_000_000)


def rounded(value: Fraction, digits: int) -> Decimal:
    """Half away from zero; nothing here is negative."""
    exact = Fraction(value) * 10**digits
    return Decimal(int(exact + Fraction(1, 2))).scaleb(-digits)


def utilisation(samples: Iterable[Sample], pieces: Iterable[Piece], as_of: datetime) -> Mapping[tuple[str, date], Row]:
    """Rows by sandbox and day. `samples` in the order in which they landed."""
    latest: dict[tuple[str, datetime], Sample] = {}
    for sample in samples:
        latest[sample.sandbox_id, sample.sampled_at] = sample
    minutes: dict[tuple[str, datetime], list[Sample]] = defaultdict(list)
    for sample in latest.values():
        minutes[sample.sandbox_id, sample.sampled_at.replace(second=0, microsecond=0)].append(sample)
    days: dict[tuple[str, date], list[Piece]] = defaultdict(list)
    for piece in pieces:
        days[piece.sandbox_id, piece.started_at.date()].append(piece)
    rows = {}
    for (sandbox_id, day), held in days.items():
        of_day = {
            start: of_minute
            for (sandbox, start), of_minute in minutes.items()
            if sandbox == sandbox_id and start.date() == day and start + MINUTE <= as_of
        }
        if (row := _day(held, of_day)) is not None:
            rows[sandbox_id, day] = row
    return rows


def _day(held: list[Piece], minutes: Mapping[datetime, list[Sample]]) -> Row | None:
    uses: list[Decimal] = []
    weights: list[Fraction] = []
    memories: list[int] = []
    held_vcpu, held_memory, used_memory = Fraction(0), Fraction(0), Fraction(0)
    for start, samples in minutes.items():
        billed = [(piece, time) for piece in held if piece.vcpu_count and (time := piece.during(start, start + MINUTE))]
        time_billed = sum((time for _, time in billed), Fraction(0))
        if not time_billed:
            continue
        percent = rounded(Fraction(sum(sample.cpu_used_pct for sample in samples)) / len(samples), 6)
        vcpu_seconds = sum((Fraction(piece.vcpu_count) * time for piece, time in billed), Fraction(0))
        memory = max(sample.mem_bytes for sample in samples)
        uses.append(rounded(Fraction(percent) / 100 * vcpu_seconds / time_billed, 6))
        weights.append(time_billed)
        memories.append(memory)
        held_vcpu += vcpu_seconds
        for piece in held:
            if piece.memory_gb:
                time = piece.during(start, start + MINUTE)
                held_memory += Fraction(piece.memory_gb) * GB * time
                used_memory += memory * time
    if not uses:
        return None
    all_time = sum(weights)
    vcpu_time = sum((Fraction(use) * weight for use, weight in zip(uses, weights, strict=True)), Fraction(0))
    memory_time = sum((memory * weight for memory, weight in zip(memories, weights, strict=True)), Fraction(0))
    # The least use that at least 95 of 100 minutes do not exceed.
    busy = next(use for use in sorted(uses) if 100 * sum(other <= use for other in uses) >= 95 * len(uses))
    fitting_vcpus = Decimal(max(1, ceil(busy)))
    fitting_memory = Decimal(max(1, ceil(Fraction(max(memories), GB // 2)))) / 2
    return {
        "customer_id": held[0].customer_id,
        "billed_seconds": sum((seconds(piece.ended_at - piece.started_at) for piece in held if piece.vcpu_count), Fraction(0)),
        "sampled_minutes": len(uses),
        "vcpu_seconds": sum((Fraction(p.vcpu_count) * seconds(p.ended_at - p.started_at) for p in held), Fraction(0)),
        "average_vcpus_used": rounded(vcpu_time / all_time, 6),
        "busy_vcpus_used": busy,
        "peak_vcpus_used": max(uses),
        "cpu_used_percent": rounded(100 * vcpu_time / held_vcpu, 2),
        "memory_gb_seconds": sum((Fraction(p.memory_gb) * seconds(p.ended_at - p.started_at) for p in held), Fraction(0)),
        "average_memory_gb_used": rounded(memory_time / all_time / GB, 6),
        "peak_memory_gb_used": rounded(Fraction(max(memories), GB), 6),
        "memory_used_percent": rounded(100 * used_memory / held_memory, 2) if held_memory else None,
        "fitting_vcpu_count": fitting_vcpus,
        "fitting_memory_gb": fitting_memory,
        "list_amount": sum((piece.cost(piece.vcpu_count, piece.memory_gb) for piece in held), Fraction(0)),
        "fitting_list_amount": sum(
            (piece.cost(min(piece.vcpu_count, fitting_vcpus), min(piece.memory_gb, fitting_memory)) for piece in held),
            Fraction(0),
        ),
    }
