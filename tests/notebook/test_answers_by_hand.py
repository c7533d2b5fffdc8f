"""The figures of questions on rows whose answer can be computed by hand."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from pipeline.core.periods import BillingPeriod
from pipeline.exports.charts_sheet import CHART_TABLES, _rows
from pipeline.exports.statements.changes import difference
from pipeline.exports.statements.source import StatementTables
from pipeline.notebook.answers import Answer
from pipeline.notebook.charts import draw
from pipeline.notebook.comparison import draft_note, sentence
from pipeline.notebook.questions import questions
from tests.notebook.reports_by_hand import answer, ask, export_tables, invoice, reports_of, with_invoices

AS_OF = datetime(2026, 10, 11, 6, 0, tzinfo=UTC)


def usage(amount: str, quantity: int | Decimal = 0, meter: str = "vcpu", rate: str = "pro-vcpu", **values: Any) -> dict[str, Any]:
    return {
        "line_type": "usage",
        "meter_id": meter,
        "rate_id": rate,
        "unit": "vCPU-second",
        "amount": Decimal(amount),
        "quantity": quantity,
        "billable_quantity": quantity,
        **values,
    }


def of(line_type: str, amount: str, **values: Any) -> dict[str, Any]:
    return {"line_type": line_type, "amount": Decimal(amount), **values}


def rate(id: str, unit_amount: str | None = None, **values: Any) -> dict[str, Any]:
    return {
        "rate_id": id,
        "meter_id": "vcpu",
        "charge_model": "per_unit",
        "unit_amount": unit_amount,
        "currency": "USD",
        **values,
    }


# Credit ---------------------------------------------------------------------------------------------------------------


def test_credit_runs_out_where_the_further_usage_is_more_than_what_is_left() -> None:
    def balance(customer: str, left: int, so_far: int, forecast: int) -> dict[str, Any]:
        amounts = {"credit_left_amount": left, "month_to_date_amount": so_far, "forecast_amount": forecast}
        return {"customer_id": customer, "currency": "USD", **amounts}

    reports = reports_of(
        customer_balances=[
            *(balance("lasts", 60, 50, 100), balance("ends", 40, 50, 100), balance("exact", 50, 50, 100)),
            *(balance("without", 0, 50, 100), balance("idle", 0, 0, 0)),
        ]
    )
    found = {row["customer_id"]: row["runs_out_this_month"] for row in ask(reports, "credit_left")}
    assert found == {"lasts": False, "ends": True, "exact": False, "without": False, "idle": False}


# Revenue --------------------------------------------------------------------------------------------------------------


def carried() -> Any:
    """August ends with -30, which September's invoice of 50 subtracts: the revenue of the two months is 20."""
    august = invoice("A", "2026-08", [of("discount", "-30")], plan_id="pro")
    september = invoice(
        "B", "2026-09", [usage("50", 3600), of("carry_forward", "-30", plan_id="", service_period="2026-09")], plan_id="pro"
    )
    return with_invoices(august, september, plans=[{"plan_id": "pro", "plan_name": "Pro"}])


def test_a_carried_amount_is_revenue_once() -> None:
    reports = carried()
    for name in ("revenue_by_month", "revenue_by_plan", "revenue_by_meter", "revenue_per_customer", "largest_customers"):
        assert sum(row["revenue"] for row in ask(reports, name)) == 20, name
    months = ask(reports, "revenue_by_month")
    assert [(row["revenue"], row["carried_amount"], row["invoiced_amount"]) for row in months] == [(-30, 30, 0), (50, -30, 20)]
    for row in months:
        assert row["revenue"] - row["credits_applied_amount"] + row["carried_amount"] == row["invoiced_amount"]
    assert {row["plan_id"] for row in ask(reports, "revenue_by_plan")} == {"pro"}


def plan_changes() -> Any:
    """Plan old ends in June; plan new begins in August; nothing is invoiced in July. A carried amount and yen are apart."""
    return with_invoices(
        invoice("A", "2026-05", [usage("100", plan_id="old"), of("fee", "50", plan_id="both")]),
        invoice("B", "2026-06", [usage("60.5", plan_id="old"), of("fee", "75", plan_id="both")]),
        invoice("C", "2026-06", [usage("0", plan_id="old")], customer_id="bob"),
        invoice("D", "2026-08", [usage("7", plan_id="new"), of("discount", "-10", plan_id="both")], status="draft"),
        invoice("E", "2026-09", [usage("5", plan_id="both"), of("carry_forward", "-3", plan_id="")], status="draft"),
        invoice("F", "2026-06", [usage("900", plan_id="old")], currency="JPY", customer_id="yen"),
    )


def test_each_plans_revenue_is_compared_with_the_calendar_month_before() -> None:
    rows = ask(plan_changes(), "revenue_change_by_plan")
    found = [
        (
            row["plan_id"],
            row["period"],
            *(str(row[name]) for name in ("revenue", "revenue_before", "change_amount", "change_percent")),
        )
        for row in rows
        if row["currency"] == "USD"
    ]
    assert found == [
        ("both", "2026-05", "50.000", "None", "None", "None"),
        ("both", "2026-06", "75.000", "50.000", "25.000", "50.0"),
        ("both", "2026-07", "0.000", "75.000", "-75.000", "-100.0"),
        ("both", "2026-08", "-10.000", "0.000", "-10.000", "None"),
        ("both", "2026-09", "5.000", "-10.000", "15.000", "None"),
        ("new", "2026-08", "7.000", "0.000", "7.000", "None"),
        ("new", "2026-09", "0.000", "7.000", "-7.000", "-100.0"),
        ("old", "2026-05", "100.000", "None", "None", "None"),
        ("old", "2026-06", "60.500", "100.000", "-39.500", "-39.5"),
        ("old", "2026-07", "0.000", "60.500", "-60.500", "-100.0"),
    ]
    assert [(row["customers"], row["drafts"]) for row in rows if (row["plan_id"], row["period"]) == ("old", "2026-06")] == [
        (1, 0),
        (2, 0),
    ]
    assert [row["drafts"] for row in rows if row["period"] == "2026-08"] == [1, 1]
    assert [row["change_amount"] for row in rows if row["currency"] == "JPY"] == [None]


def test_the_changes_of_the_plans_sum_to_the_change_of_the_revenue() -> None:
    reports = plan_changes()
    months = {row["period"]: row["revenue"] for row in ask(reports, "revenue_by_month") if row["currency"] == "USD"}
    months["2026-07"] = Decimal(0)
    rows = [row for row in ask(reports, "revenue_change_by_plan") if row["currency"] == "USD"]
    for before, after in pairwise(sorted(months)):
        assert sum(row["change_amount"] for row in rows if row["period"] == after) == months[after] - months[before], after


def test_the_chart_of_changes_leaves_out_the_first_month_and_marks_drafts() -> None:
    found = answer(plan_changes(), "revenue_change_by_plan")
    dollars = draw("revenue_change_by_plan", found, "USD", is_checked=True)
    assert dollars is not None
    assert sorted({row["period"] for row in dollars.specification["data"]["values"]}) == [
        "2026-06",
        "2026-07",
        "2026-08, so far",
        "2026-09, so far",
    ]
    assert draw("revenue_change_by_plan", found, "JPY", is_checked=True) is not None


def test_the_chart_of_revenue_by_month_and_plan_is_one_stack_for_each_month() -> None:
    drawing = draw("revenue_by_plan", answer(plan_changes(), "revenue_by_plan"), "USD", is_checked=True)
    assert drawing is not None
    encoding = drawing.specification["encoding"]
    assert (encoding["x"]["field"], encoding["y"]["field"], encoding["y"]["aggregate"]) == ("period", "revenue", "sum")
    assert encoding["color"]["field"] == "plan_id" and "xOffset" not in encoding


def test_the_notebook_agrees_with_the_workbook() -> None:
    reports = carried()
    notebook = {name: ask(reports, name) for name in ("revenue_by_month", "revenue_by_plan", "revenue_by_meter")}
    customers = ask(reports, "largest_customers")
    export_tables(reports)
    of_workbook = [
        [dict(_rows(reports, table, BillingPeriod.parse(period), "USD")) for table in CHART_TABLES]
        for period in ("2026-08", "2026-09")
    ]
    assert of_workbook[1][0] == {row["period"]: row["revenue"] for row in notebook["revenue_by_month"]}
    for period, (_, plans, meters, _) in zip(("2026-08", "2026-09"), of_workbook, strict=True):
        assert plans == {"Pro": sum(row["revenue"] for row in notebook["revenue_by_plan"] if row["period"] == period)}
        assert meters == {row["meter"]: row["revenue"] for row in notebook["revenue_by_meter"] if row["period"] == period}
    assert sum(month[3]["ada"] for month in of_workbook) == customers[0]["revenue"]


def test_what_customers_pay_is_not_all_that_was_invoiced() -> None:
    reports = with_invoices(
        invoice("paid", "2026-09", [usage("100")], status="paid", credits_applied_amount=Decimal(10)),
        invoice("void", "2026-09", [usage("200")], status="void", customer_id="v"),
        invoice("lost", "2026-09", [usage("400")], status="uncollectible", customer_id="u"),
        invoice("free", "2026-09", [usage("800")], collection="none", customer_id="f"),
        credit_note_lines=[{"invoice_id": "paid", "amount": -15, "currency": "USD"}, {"invoice_id": "paid", "amount": -5}],
    )
    (row,) = ask(reports, "revenue_by_month")
    assert (row["revenue"], row["credits_applied_amount"], row["invoiced_amount"]) == (1500, 10, 1490)
    assert row["customers_pay_amount"] == 70, "90 less the credit note of 20"
    assert (row["void_or_uncollectible_amount"], row["not_collected_amount"], row["credit_notes_amount"]) == (600, 800, -20)
    parts = ("customers_pay_amount", "void_or_uncollectible_amount", "not_collected_amount")
    assert sum(row[part] for part in parts) == row["invoiced_amount"] + row["credit_notes_amount"]

    drawing = draw("revenue_by_month", answer(reports, "revenue_by_month"), "USD", is_checked=True)
    assert drawing is not None
    drawn = {value["part"]: value["amount"] for value in drawing.specification["data"]["values"]}
    assert drawn == {"customers pay": 70, "credit pays": 10, "not collected, void or credited": 1420}


# An invoice and the one before -------------------------------------------------------------------------------------


def compare(before: list[dict[str, Any]], now: list[dict[str, Any]], currency: str = "USD", **rows: Any) -> Any:
    """The notebook's items of the second invoice, and the statement's effects by (kind, meter)."""
    reports = with_invoices(
        invoice("A", "2026-08", before, currency=currency), invoice("B", "2026-09", now, currency=currency), **rows
    )
    items = {row["item"]: row for row in ask(reports, "invoice_change", invoice_id="B")}
    tables = StatementTables(export_tables(reports), BillingPeriod.parse("2026-09"))
    (statement,) = tables.statements()
    assert statement.earlier_invoice is not None
    digits = {"USD": 2, "JPY": 0}[currency]
    compared = difference(
        statement.earlier_invoice, statement.earlier_lines, statement.invoice, statement.lines, tables.prices, digits
    )
    return items, {(effect.kind, effect.meter_id): effect.amount for effect in compared.effects}


TIERS = [
    {"rate_id": id, "above_quantity": above, "unit_amount": price, "flat_amount": 0}
    for id, last in (("tiers", "0.5"), ("same-tiers", "0.5"), ("other-tiers", "0.4"))
    for above, price in ((0, "1"), (10, last))
]


@pytest.mark.parametrize(
    ("before", "now", "currency", "expected"),
    [
        # 2 more of 10.00 / 3: 6.666... is 6.67, and the rest is the price.
        ([usage("10", 3, rate="old")], [usage("20", 5, rate="new")], "USD", ("6.67", "3.33")),
        # Half a cent and half a yen away from zero, in both directions.
        ([usage("0.01", 2, rate="old")], [usage("0.01", 3, rate="new")], "USD", ("0.01", "-0.01")),
        ([usage("0.01", 2, rate="old")], [usage("0.03", 1, rate="new")], "USD", ("-0.01", "0.03")),
        ([usage("1", 2, rate="old")], [usage("1", 3, rate="new")], "JPY", ("1", "-1")),
        ([usage("1001", 3, rate="old")], [usage("2003", 4, rate="new")], "JPY", ("334", "668")),
        # The same price: rounding of the lines and tiers are no change of price.
        ([usage("10", 3, rate="old")], [usage("16.66", 5, rate="same")], "USD", ("6.66", "0")),
        ([usage("10", 10, rate="tiers")], [usage("15", 20, rate="same-tiers")], "USD", ("5", "0")),
        ([usage("10", 10, rate="tiers")], [usage("14", 20, rate="other-tiers")], "USD", ("10", "-6")),
        # Nothing of it in one of the months: all is usage.
        ([of("fee", "5")], [usage("20", 5)], "USD", ("20", "0")),
        ([usage("20", 5)], [of("fee", "5")], "USD", ("-20", "0")),
        # The part above the allowance is charged.
        (
            [usage("10", 1000, rate="old", billable_quantity=10)],
            [usage("30", 1010, rate="new", billable_quantity=20)],
            "USD",
            ("10", "10"),
        ),
        # A long quantity at a long amount.
        (
            [usage("1234567.89", 1, rate="old", billable_quantity=Decimal("98765432101.123456789012"))],
            [usage("2234567.89", 1, rate="new", billable_quantity=Decimal("128765432101.987654321098"))],
            "USD",
            None,
        ),
    ],
)
def test_a_change_has_the_explanation_of_the_customers_statement(
    before: Any, now: Any, currency: str, expected: tuple[str, str] | None
) -> None:
    rates = [rate("old", "2"), rate("same", "2"), rate("new", "3"), rate("pro-vcpu", "1")]
    tiered = [rate(id, charge_model="graduated") for id in ("tiers", "same-tiers", "other-tiers")]
    items, effects = compare(before, now, currency, rates=rates + tiered, rate_tiers=TIERS)
    row = items["vcpu"]
    if expected is not None:
        assert (row["change_by_usage"], row["change_by_price"]) == tuple(Decimal(amount) for amount in expected)
    assert row["change_by_usage"] == effects.get(("quantity", "vcpu"), 0)
    assert row["change_by_price"] == effects.get(("price", "vcpu"), 0)
    assert row["change_by_usage"] + row["change_by_price"] == row["change_amount"]
    assert sum(item["change_amount"] for item in items.values()) == sum(effects.values())


def test_the_change_of_a_currency_has_its_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.notebook.questions.minor_unit_digits", lambda: (("USD", 2), ("KWD", 3)))
    questions.cache_clear()
    try:
        reports = with_invoices(
            invoice("A", "2026-08", [usage("10", 3, rate="old")], currency="KWD"),
            invoice("B", "2026-09", [usage("20", 5, rate="new")], currency="KWD"),
        )
        (row,) = ask(reports, "invoice_change", invoice_id="B")
    finally:
        questions.cache_clear()
    assert (row["change_by_usage"], row["change_by_price"]) == (Decimal("6.667"), Decimal("3.333"))


def test_an_earlier_invoice_of_nothing_is_an_earlier_invoice() -> None:
    nothing, something = invoice("A", "2026-08", [usage("0", 5)]), invoice("B", "2026-09", [usage("50", 50)])
    reports = with_invoices(nothing, something)
    said = sentence(answer(reports, "invoice_change", invoice_id="B"), "USD")
    assert said.startswith("The invoice is 50.00 USD higher than the one before: vCPU 50.00 USD more"), said
    assert sentence(answer(reports, "invoice_change", invoice_id="A"), "USD").startswith("There is no earlier invoice")
    same = with_invoices(nothing, invoice("B", "2026-09", [usage("0", 6)]))
    assert sentence(answer(same, "invoice_change", invoice_id="B"), "USD") == "The invoice has the same total as the one before."


def test_a_draft_is_compared_with_the_same_days_of_the_month_before() -> None:
    amounts = (("2026-09", 1, 5), ("2026-09", 10, 20), ("2026-09", 11, 1000), ("2026-10", 1, 50), ("2026-10", 11, 7))
    rows = [{"period": period, "day_of_month": day, "amount": Decimal(amount)} for period, day, amount in amounts]
    days = Answer(list(rows[0]), rows)
    said = draft_note("2026-10", AS_OF, days, "USD")
    assert said == "Draft of 2026-10, 10 of 31 days. Usage on these days is 25.00 USD higher than in 2026-09."
    assert draft_note("2026-10", AS_OF, Answer(days.columns, rows[3:]), "USD") == "Draft of 2026-10, 10 of 31 days."
    assert draft_note("2026-09", AS_OF, days, "USD") == "Draft of 2026-09."


def session(id: str, start: datetime, end: datetime, amount: str) -> dict[str, Any]:
    duration = (end - start) // (datetime.resolution)
    ids = {"sandbox_id": id, "session_id": id, "customer_id": "ada", "currency": "USD"}
    return {**ids, "started_at": start, "ended_at": end, "duration_microseconds": duration, "list_amount": Decimal(amount)}


def test_a_sandbox_has_no_more_hours_in_a_month_than_the_month() -> None:
    # From noon of August 31 to October 2: 12 hours of August, 720 of September, 24 of October.
    long = session("long", datetime(2026, 8, 31, 12, tzinfo=UTC), datetime(2026, 10, 2, tzinfo=UTC), "756")
    short = session("short", datetime(2026, 9, 3, tzinfo=UTC), datetime(2026, 9, 3, 2, tzinfo=UTC), "0.123456789012")
    reports = with_invoices(invoice("A", "2026-09", [usage("1")]), invoice("B", "2026-10", [usage("1")]), sessions=[long, short])
    september = {row["sandbox_id"]: row for row in ask(reports, "invoice_sandboxes", invoice_id="A")}
    assert (september["long"]["hours_before"], september["long"]["hours_now"]) == (12, 720)
    assert (september["long"]["list_amount_before"], september["long"]["list_amount_now"]) == (12, 720)
    assert september["short"]["list_amount_now"] == Decimal("0.123456789012")
    october = {row["sandbox_id"]: row for row in ask(reports, "invoice_sandboxes", invoice_id="B")}
    assert (october["long"]["hours_before"], october["long"]["hours_now"], october["long"]["change_amount"]) == (720, 24, -696)


LONG = 123_456_789_012_345_678_901_234
"""Seconds, of which a binary number has the first 16 digits."""


@pytest.mark.parametrize(
    ("seconds", "hours"),
    [
        ("179.999999999999", "0.0"),
        ("180", "0.1"),
        ("539.999999999999", "0.1"),
        ("540", "0.2"),
        ("-180", "-0.1"),
        ("-179.999999999999", "0.0"),
        (f"{LONG}", "34293552503429355250.3"),
    ],
)
def test_hours_are_exact_and_rounded_once_half_away_from_zero(seconds: str, hours: str) -> None:
    reports = with_invoices(invoice("A", "2026-09", [usage("1", Decimal(seconds))]))
    for name, column in (("revenue_by_meter", "quantity"), ("revenue_per_vcpu_hour", "vcpu_hours")):
        (row,) = ask(reports, name)
        assert str(row[column]) == hours, name
    if not seconds.startswith("-"):
        changes = ask(reports, "invoice_change", invoice_id="A")
        assert [str(row["quantity_now"]) for row in changes] == [hours]


def test_the_vcpu_days_of_an_invoice_sum_to_their_lines() -> None:
    head, lines = invoice(
        "A",
        "2026-09",
        [
            usage("3.50", Decimal("7200.000000000001"), line_id="pro", plan_id="pro"),
            usage("1.00", 60, line_id="memory", meter="memory"),
            usage("0.50", 18, line_id="hobby", plan_id="hobby"),
        ],
    )

    def day(number: int, line_id: str, quantity: str, amount: str, meter: str = "vcpu", invoice_id: str = "A") -> dict[str, Any]:
        ids = {"customer_id": "ada", "currency": "USD", "invoice_id": invoice_id, "line_id": line_id, "meter_id": meter}
        values = {"usage_date": date(2026, 9, number), "quantity": Decimal(quantity), "amount": Decimal(amount)}
        return {**ids, **values, "plan_id": line_id}

    days = [
        *(day(4, "hobby", "18", "0.50"), day(2, "pro", "17.999999999999", "0.01"), day(1, "pro", "7182.000000000002", "3.49")),
        *(day(1, "memory", "60", "1", "memory"), day(1, "pro", "5", "5", invoice_id="B")),
    ]
    rows = ask(with_invoices((head, lines), billed_usage_daily=days), "invoice_vcpu_days", invoice_id="A")
    assert [
        (row["plan_id"], row["usage_date"].day, *(str(row[name]) for name in ("vcpu_hours", "vcpu_seconds_so_far", "amount")))
        for row in rows
    ] == [
        ("pro", 1, "2.00", "7182.000000000002", "3.490"),
        ("pro", 2, "0.00", "7200.000000000001", "0.010"),
        ("hobby", 4, "0.01", "18.000000000000", "0.500"),
    ]
    assert {(row["line_number"], str(row["line_vcpu_hours"]), row["line_vcpu_seconds"], row["line_amount"]) for row in rows} == {
        (1, "2.00", Decimal("7200.000000000001"), Decimal("3.5")),
        (3, "0.01", 18, Decimal("0.5")),
    }


def test_hours_at_once_over_a_limit_and_of_alerts_are_exact() -> None:
    day = {"customer_id": "ada", "usage_date": date(2026, 9, 1), "peak_sandboxes": 3, "peak_at": AS_OF}
    alert = {"alert_id": "a", "customer_id": "ada", "reached_at": AS_OF, "unit": "second"}
    seconds = {"observed": Decimal("1.8"), "allowed": LONG}
    reports = reports_of(
        concurrency_daily=[{**day, "over_limit_seconds": Decimal(LONG)}],
        usage_alerts=[{**alert, **seconds}, {**alert, **seconds, "alert_id": "b", "unit": "sandbox"}],
    )
    assert str(ask(reports, "concurrency_limits")[0]["hours_over_the_limit"]) == "34293552503429355250.3"
    found = [(row["unit"], str(row["observed"]), str(row["allowed"])) for row in ask(reports, "reached_limits")]
    assert found == [("hour", "0.001", "34293552503429355250.343"), ("sandbox", "1.800", f"{LONG}.000")]


def test_the_cut_amount_and_hours_of_a_session_are_exact() -> None:
    midnight = datetime(2026, 10, 1, tzinfo=UTC)
    half, third = timedelta(minutes=3), timedelta(microseconds=1)
    reports = with_invoices(
        invoice("A", "2026-09", [usage("1")]),
        invoice("B", "2026-10", [usage("1")]),
        sessions=[
            session("halved", midnight - half, midnight + half, "12345678.123456789012"),
            session("third", midnight - 2 * third, midnight + third, "98765432109.000000000001"),
        ],
    )
    rows = {row["sandbox_id"]: row for row in ask(reports, "invoice_sandboxes", invoice_id="B")}
    halved, cut = rows["halved"], rows["third"]
    assert str(halved["list_amount_before"]) == str(halved["list_amount_now"]) == "6172839.061728394506"
    assert (str(halved["hours_before"]), str(halved["hours_now"])) == ("0.1", "0.1")
    assert (str(cut["list_amount_before"]), str(cut["list_amount_now"])) == (
        "65843621406.000000000001",
        "32921810703.000000000000",
    )
    costs = {row["sandbox_id"]: str(row["hours"]) for row in ask(reports, "sandbox_costs")}
    assert costs == {"halved": "0.10", "third": "0.00"}


# Sandboxes ------------------------------------------------------------------------------------------------------------


def test_the_share_of_usage_that_samples_cover_is_beside_what_they_show() -> None:
    def sampled(day: int, minutes: int, vcpus: int, customer: str = "ada") -> dict[str, Any]:
        ids = {"customer_id": customer, "sandbox_id": f"{customer}{day}", "currency": "USD", "usage_date": date(2026, 9, day)}
        held = {"billed_seconds": 3600, "sampled_minutes": minutes, "vcpu_seconds": vcpus * 3600, "memory_gb_seconds": 3600}
        used = {"average_vcpus_used": 1, "average_memory_gb_used": 0, "list_amount": 50, "fitting_list_amount": 10}
        return {**ids, **held, **used}

    def used(day: int, vcpu_hours: int, customer: str = "ada", meter: str = "vcpu", currency: str = "USD") -> dict[str, Any]:
        ids = {"customer_id": customer, "usage_date": date(2026, 9, day), "meter_id": meter, "currency": currency}
        return {**ids, "quantity": vcpu_hours * 3600}

    reports = reports_of(
        utilisation_daily=[sampled(2, 60, 4), sampled(4, 30, 2), sampled(5, 29, 2), sampled(4, 60, 1, "bob")],
        usage_daily=[
            *(used(1, 100), used(2, 8), used(3, 12), used(4, 4), used(5, 3), used(4, 50, meter="memory")),
            *(used(3, 9, currency="EUR"), used(4, 1, "bob"), used(4, 5, "eve")),
        ],
    )
    savings = {row["customer_id"]: row["counted_vcpu_percent"] for row in ask(reports, "savings_by_customer")}
    assert savings == {"ada": 25, "bob": 100}, "6 of the 24 vCPU-hours from day 2 to day 4; day 5 has too few samples"
    days = {row["usage_date"].day: str(row["sampled_vcpu_percent"]) for row in ask(reports, "utilisation_by_day")}
    assert days == {2: "50.0", 4: "20.0", 5: "32.2"}, "on day 4, half an hour of 2 vCPUs and an hour of 1, of 10 vCPU-hours"


def test_a_resize_saves_no_more_than_at_the_size_that_all_days_need() -> None:
    def day(number: int, fits: int, fitting_amount: int, sandbox: str = "s") -> dict[str, Any]:
        ids = {"customer_id": "ada", "sandbox_id": sandbox, "currency": "USD", "usage_date": date(2026, 9, number)}
        held = {"billed_seconds": 3600, "sampled_minutes": 60, "vcpu_seconds": 8 * 3600, "memory_gb_seconds": 3600}
        return {**ids, **held, "fitting_vcpu_count": fits, "fitting_memory_gb": 1, "list_amount": 50} | {
            "fitting_list_amount": fitting_amount
        }

    reports = reports_of(
        utilisation_daily=[day(1, 1, 10), day(2, 8, 50), day(1, 1, 10, "always"), day(2, 1, 10, "always")],
        customer_balances=[],
    )
    found = {row["sandbox_id"]: row for row in ask(reports, "oversized_sandboxes")}
    assert (found["s"]["average_vcpus_held"], found["s"]["vcpus_that_fit"]) == (8, 8)
    assert (found["s"]["saves_at_least_amount"], found["s"]["saves_at_most_amount"]) == (0, 40)
    assert (found["always"]["saves_at_least_amount"], found["always"]["saves_at_most_amount"]) == (80, 80)
    assert next(iter(found)) == "always"


def test_the_running_days_average_is_over_its_time_so_far() -> None:
    days = [
        {"customer_id": "ada", "usage_date": date(2026, 10, 10), "peak_sandboxes": 2, "sandbox_seconds": 2 * 86400},
        {"customer_id": "ada", "usage_date": date(2026, 10, 11), "peak_sandboxes": 2, "sandbox_seconds": 2 * 6 * 3600},
    ]
    reports = reports_of(concurrency_daily=days, customer_balances=[{"customer_id": "ada", "as_of": AS_OF}])
    assert [row["average_sandboxes"] for row in ask(reports, "concurrency_by_day")] == [2, 2]


def test_a_peak_is_compared_with_the_limit_of_its_day() -> None:
    def day(customer: str, number: int, peak: int, limit: int | None) -> dict[str, Any]:
        when = datetime(2026, 9, number, 10, tzinfo=UTC)
        figures = {"peak_sandboxes": peak, "peak_at": when, "max_concurrent_sandboxes": limit, "over_limit_seconds": 1800}
        return {"customer_id": customer, "usage_date": when.date(), **figures}

    reports = reports_of(
        concurrency_daily=[
            *(day("ada", 1, 5, 100), day("ada", 2, 30, 20), day("ada", 3, 30, 50)),
            *(day("bob", 1, 9, None), day("bob", 2, 8, 10)),
        ]
    )
    found = [
        (row["customer_id"], row["most_at_once"], row["allowed"], row["at"].day) for row in ask(reports, "concurrency_limits")
    ]
    assert found == [("ada", 30, 20, 2), ("bob", 9, None, 1)]
    assert ask(reports, "concurrency_limits")[0]["hours_over_the_limit"] == Decimal("1.5")


# Every question -------------------------------------------------------------------------------------------------------


def test_no_column_is_a_binary_fraction() -> None:
    reports = reports_of()
    for name, question in questions().items():
        relation = reports.sql(question.sql(**dict.fromkeys(question.parameters, "x")))
        types = dict(zip(relation.columns, map(str, relation.types), strict=True))
        assert not {column for column, type_ in types.items() if type_ in ("DOUBLE", "FLOAT")}, (name, types)
