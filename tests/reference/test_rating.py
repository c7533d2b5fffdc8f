"""From sessions to due lines and invoices. Billing rules, sections 2, 5, 6 and 7."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from tests.reference.exact import minor_units, share_out
from tests.reference.invoices import lines_to_issue
from tests.reference.records import Line
from tests.reference.shorthand import SEEDS, at, columns, days_of_meter, due, fees_of, invoice_of, lines_of, on, start, stop
from tests.reference.variations import PriceBookVariation


@pytest.mark.parametrize(("vcpu", "memory", "cost"), [("2", "0.5", Decimal("0.1089")), ("4", "4", Decimal("0.2664"))])
def test_an_hour_costs_what_the_rules_say(vcpu: str, memory: str, cost: Decimal) -> None:
    result = due([start("10:00", vcpu, memory, "1"), stop("11:00")])
    unrounded = sum(
        line.billable_quantity * rate
        for line, rate in [
            (lines_of(result, "vcpu")[0], Decimal("0.000014")),
            (lines_of(result, "memory")[0], Decimal("0.0000045")),
            (lines_of(result, "storage")[0], Decimal("0.00000003")),
        ]
    )
    assert unrounded == cost


@pytest.mark.parametrize(("amount", "cents"), [("0.005", 1), ("0.0049999", 0), ("0.015", 2), ("-0.005", -1), ("2", 200)])
def test_amounts_round_half_away_from_zero(amount: str, cents: int) -> None:
    assert minor_units(Fraction(amount), 2) == cents


def test_an_amount_is_rounded_once_a_line_and_not_once_a_session() -> None:
    # A thousand minutes of 1 vCPU: 0.00084 each, 0.84 together.
    events = []
    for number in range(1000):
        events += [start("10:00", "1", sandbox=f"s{number}"), stop("10:01", sandbox=f"s{number}")]
    assert lines_of(due(events), "vcpu")[0].amount == Decimal("0.84")


def test_a_session_that_crosses_midnight_on_the_31st_is_billed_in_both_months() -> None:
    result = due([start("2024-01-31 23:30", "1"), stop("2024-02-01 00:15")])
    assert columns(lines_of(result, "vcpu"), "service_period", "quantity") == [
        ("2024-01", 1800),
        ("2024-02", 900),
    ]
    assert columns(days_of_meter(result, "vcpu"), "usage_date", "quantity") == [
        (date(2024, 1, 31), 1800),
        (date(2024, 2, 1), 900),
    ]


def test_a_plan_change_splits_a_running_session_at_its_instant() -> None:
    result = due([start("10:00", "1"), stop("11:00")], [on("pro", "10:15"), on("hobby", "10:45")])
    assert columns(lines_of(result, "vcpu"), "plan_id", "quantity") == [("hobby", 1800), ("pro", 1800)]


def test_a_later_landed_record_of_the_same_instant_supersedes_the_earlier() -> None:
    result = due([start("10:00", "1"), stop("11:00")], [on("pro", "2024-02-01"), on("enterprise", "2024-02-01")])
    assert [line.plan_id for line in lines_of(result, "vcpu")] == ["enterprise"]
    assert fees_of(result) == []


def test_the_allowance_is_a_level_over_the_time_on_the_plan_running_or_not() -> None:
    # 10 GB are free from the first event, on the 10th at 10:00, to the month's end.
    result = due([start("10:00", "0", "0", "99999"), stop("11:00")])
    (line,) = lines_of(result, "storage")
    free = 10 * (19 * 86400 + 14 * 3600)
    assert line.quantity == 99999 * 3600
    assert line.billable_quantity == line.quantity - free
    assert line.amount == Decimal("10.29")


def test_the_allowance_of_a_running_month_is_already_the_whole_months() -> None:
    events = [start("10:00", "0", "0", "99999"), stop("11:00")]
    assert lines_of(due(events, as_of="2024-02-10 12:00"), "storage") == lines_of(due(events), "storage")


def test_storage_within_the_allowance_shows_with_its_quantity_at_zero() -> None:
    (line,) = lines_of(due([start("10:00", "1", "1", "10"), stop("11:00")]), "storage")
    assert columns([line], "quantity", "billable_quantity", "amount") == [(36000, 0, 0)]


def test_fees_are_prorated_by_the_microsecond_and_several_stays_add_up() -> None:
    records = [on("pro", "2024-02-05"), on("hobby", "2024-02-10"), on("pro", "2024-02-20"), on("hobby", "2024-02-21")]
    (fee,) = fees_of(due([], records))
    assert (fee.plan_id, fee.rate_id, fee.amount) == ("pro", "pro-usd-1", Decimal("31.03"))  # 150 x 6/29
    assert fee.quantity == 6 * 86400


def test_the_fee_of_a_running_month_is_the_whole_months() -> None:
    (fee,) = fees_of(due([], [on("pro", "2024-02-01")], as_of="2024-02-02"))
    assert fee.amount == Decimal("150.00")
    fees = fees_of(due([], [on("pro", "2024-02-01")], as_of="2024-03-01"))
    assert columns(fees, "period", "amount") == [("2024-02", 150), ("2024-03", 150)]


def test_a_subscription_record_after_as_of_is_not_seen() -> None:
    assert due([], [on("pro", "2024-02-02")], as_of="2024-02-01").invoices == []


def test_before_its_first_record_a_customer_is_on_hobby_from_its_first_event() -> None:
    result = due([start("10:00", "0", "0", "99999"), stop("11:00")], [on("pro", "11:00")])
    (line,) = lines_of(result, "storage")
    assert line.plan_id == "hobby"
    assert line.quantity - line.billable_quantity == 36000


def test_a_trial_owes_nothing_and_takes_nothing_of_the_allowance() -> None:
    """Pro as a trial to the 15th of February 2024 (29 days), then paid: 150 x 15 / 29 = 77.59 for the 15 days left."""
    events = [start("2024-02-10 00:00", "2", "0", "100"), stop("2024-02-10 10:00")]
    events += [start("2024-02-20 00:00", "2", "0", "100"), stop("2024-02-20 10:00")]
    result = due(events, [on("pro", "2024-02-01", is_trial=True), on("pro", "2024-02-15")])
    (vcpu,) = lines_of(result, "vcpu")
    assert columns([vcpu], "quantity", "billable_quantity", "amount") == [(144_000, 72_000, Decimal("1.01"))]
    # The allowance is for 15 days alone: 20 GB x 15 x 86,400 s, far above the 3,600,000 GB-seconds that are not the trial's.
    (storage,) = lines_of(result, "storage")
    assert columns([storage], "quantity", "billable_quantity") == [(7_200_000, 0)]
    (fee,) = [line for line in fees_of(result) if line.service_period == "2024-02"]
    assert columns([fee], "quantity", "billable_quantity", "amount") == [(29 * 86_400, 15 * 86_400, Decimal("77.59"))]


def test_a_contract_is_due_without_an_event_or_a_record(tmp_path: Path) -> None:
    terms = {"currency": "USD", "monthly_commitment_amount": "500", "contract_name": "No use"}
    contract = {"contract_id": "n", "customer_id": "nouse", "starts_at": "2024-02-01T00:00:00Z", **terms}
    result = due([], seeds=PriceBookVariation({"contracts": [contract]}).write(SEEDS, tmp_path), as_of="2024-03-15")
    assert columns(result.lines, "service_period", "plan_id", "amount") == [("2024-02", "hobby", 500), ("2024-03", "hobby", 500)]
    assert [invoice.is_collected for invoice in result.invoices] == [True, True]
    assert result.grants == []


def test_nothing_is_due_before_the_books_open() -> None:
    events = [start("2024-01-31 23:00", "1"), stop("2024-02-01 01:00"), start("2024-02-02 10:00", "1"), stop("2024-02-02 11:00")]
    records = [on("pro", "1970-01-01"), on("hobby", "2023-01-01"), on("pro", "2024-02-15")]
    result = due(events, records, as_of="2024-03-01", books_open_at=at("2024-02-01"))
    assert columns(lines_of(result, "vcpu"), "service_period", "plan_id", "quantity") == [("2024-02", "hobby", 3600)]
    assert columns(fees_of(result), "service_period", "amount")[0] == ("2024-02", Decimal("77.59"))


def test_an_invoice_is_collected_by_any_line_of_a_plan_that_collects() -> None:
    """Pro for all of February but its last second; in March hobby alone."""
    events = [start("2024-03-02 10:00", "1000"), stop("2024-03-02 20:00")]
    result = due(events, [on("pro", "2024-02-01"), on("hobby", "2024-02-29 23:59:59")], as_of="2024-04-01")
    assert [(invoice.period, invoice.is_collected) for invoice in result.invoices] == [("2024-02", True), ("2024-03", False)]


@pytest.fixture
def seeds(tmp_path: Path) -> Path:
    """Hobby's vCPU rate doubles on the 10th at 10:30; pro's fee is 300 from the 15th; `customer` has a contract in the
    second half of February, with a vCPU rate, a fee and a sandbox of 16 vCPU, but nothing of its own otherwise."""
    rate = {"meter_id": "vcpu", "currency": "USD", "charge_model": "per_unit", "allowance_level": "0"}
    fee = {"currency": "USD", "fee_timing": "arrears"}
    return PriceBookVariation(
        {
            "rates": [
                {
                    "rate_id": "2",
                    "plan_id": "hobby",
                    "valid_from": "2024-02-10T10:30:00Z",
                    "unit_amount": "0.000028",
                    **rate,
                },
                {"rate_id": "c", "contract_id": "c", "valid_from": "1970-01-01T00:00:00Z", "unit_amount": "1", **rate},
            ],
            "plan_fees": [
                {
                    "fee_id": "p",
                    "plan_id": "pro",
                    "valid_from": "2024-02-15T00:00:00Z",
                    "monthly_fee_amount": "300",
                    **fee,
                },
                {
                    "fee_id": "f",
                    "contract_id": "c",
                    "valid_from": "2024-02-16T00:00:00Z",
                    "monthly_fee_amount": "29",
                    **fee,
                },
            ],
            "signup_credits": [
                {"contract_id": "c", "currency": "USD", "valid_from": "1970-01-01T00:00:00Z", "credit_amount": "7"}
            ],
            "contracts": [
                {
                    "contract_id": "c",
                    "customer_id": "customer",
                    "starts_at": "2024-02-16T00:00:00Z",
                    "ends_at": "2024-03-01T00:00:00Z",
                    "max_session_seconds": "7200",
                    "default_vcpu_count": "16",
                }
            ],
        }
    ).write(SEEDS, tmp_path / "seeds")


def test_a_rate_change_mid_month_makes_two_groups_of_its_own_meter_only(seeds: Path) -> None:
    result = due([start("10:00", "1", "1"), stop("11:00")], seeds=seeds)
    assert columns(lines_of(result, "vcpu"), "rate_id", "quantity") == [
        ("2", 1800),
        ("hobby-vcpu-usd-1", 1800),
    ]
    assert [line.quantity for line in lines_of(result, "memory")] == [3600]


def test_a_fee_change_mid_month_makes_a_line_a_version(seeds: Path) -> None:
    fees = fees_of(due([], [on("pro", "2024-02-01", "other")], seeds=seeds, as_of="2024-02-01"))
    assert columns(fees, "rate_id", "amount") == [("p", Decimal("155.17")), ("pro-usd-1", Decimal("72.41"))]


def test_a_contract_beats_the_plan_while_it_is_in_force_and_leaves_the_rest_to_it(seeds: Path) -> None:
    events = [start("2024-02-15 23:59:59"), stop("2024-02-16 00:00:01"), start("2024-02-20", None, "1", "0")]
    result = due(events, seeds=seeds)
    assert columns(lines_of(result, "vcpu"), "rate_id", "quantity") == [("2", 2), ("c", 2 + 16 * 7200)]
    assert [line.rate_id for line in lines_of(result, "memory")] == ["hobby-memory-usd-1"]
    assert columns(fees_of(result), "rate_id", "plan_id", "amount") == [("f", "hobby", 14)]


def test_the_sign_up_credit_is_a_contracts_own_where_one_is_in_force_at_the_beginning(seeds: Path) -> None:
    assert [grant.amount for grant in due([stop("2024-02-16")], seeds=seeds).grants] == [7]
    assert [grant.amount for grant in due([stop("2024-02-15")], seeds=seeds).grants] == [100]


def test_a_line_by_day_sums_back_by_largest_remainder_ties_to_the_earliest_day() -> None:
    days = [date(2024, 2, day) for day in (1, 2, 3)]
    assert share_out(100, dict.fromkeys(days, Fraction(1))) == dict(zip(days, (34, 33, 33), strict=True))
    assert share_out(5, dict(zip(days, map(Fraction, (1, 2, 4)), strict=True))) == dict(zip(days, (1, 1, 3), strict=True))


def test_the_sign_up_credit_pays_usage_and_no_fee_until_it_is_used_up() -> None:
    events = []
    for month in ("2024-02", "2024-03"):
        # 64 vCPU for a day: 77.41; 0 elsewhere.
        events += [start(f"{month}-05", "64", "0", "0"), stop(f"{month}-06")]
    result = due(events, [on("pro", "2024-02-01")], as_of="2024-03-31")
    february, march = invoice_of(result, "2024-02"), invoice_of(result, "2024-03")
    assert (february.subtotal, february.credits_applied, february.total) == (
        Decimal("227.41"),
        Decimal("77.41"),
        Decimal("150.00"),
    )
    assert (march.credits_applied, march.total) == (Decimal("22.59"), Decimal("204.82"))


def test_the_sign_up_credit_is_that_of_the_plan_at_the_first_event_or_record_whichever_is_earlier() -> None:
    assert due([], [on("enterprise", "2024-02-01")]).grants == []
    (grant,) = due([stop("2024-01-31 12:00")], [on("enterprise", "2024-02-01")]).grants
    assert grant.amount == 100
    assert grant.granted_at == at("2024-01-31 12:00")


def test_no_lines_no_invoice() -> None:
    result = due([stop("10:00")])
    assert (result.lines, result.invoices) == ([], [])


def test_what_changes_in_a_closed_month_is_an_adjustment_on_the_first_open_one() -> None:
    billed = due([start("10:00", "1"), stop("11:00")], as_of="2024-03-15").lines
    late = [start("10:00", "1"), stop("12:00"), start("2024-03-05", "1"), stop("2024-03-05 01:00")]
    issued = lines_to_issue(due(late, as_of="2024-03-15").lines, billed, ["2024-02"])

    def shown(line: Line) -> tuple[str, str, Decimal]:
        return (line.period, line.service_period, line.amount)

    vcpu = [shown(line) for line in issued if line.meter_id == "vcpu"]
    assert vcpu == [("2024-03", "2024-02", Decimal("0.05")), ("2024-03", "2024-03", Decimal("0.05"))]
    assert lines_to_issue(billed, billed, ["2024-02"]) == []
