"""The report tables of a small home, for tests of exports: written directly, without a build."""

from __future__ import annotations

from decimal import Decimal

import duckdb

from pipeline.core.home import Home
from pipeline.core.periods import BillingPeriod

SEPTEMBER = BillingPeriod(2026, 9)
FORMULA_NAMES = ['=HYPERLINK("http://x")', "+1 Studio", "-Dash & Co", "@home", "\ttab", "\rreturn"]

REPORTS = """
    create schema billing;
    use billing;
    create table invoices (
        invoice_id varchar, customer_id varchar, period varchar, currency varchar, status varchar, plan_id varchar,
        collection varchar, subtotal_amount decimal(18,3), credits_applied_amount decimal(18,3),
        carried_forward_amount decimal(18,3), total_amount decimal(18,3),
        line_count integer, customer_name varchar, customer_email varchar,
        stripe_customer_id varchar, stripe_invoice_id varchar, closed_at timestamptz, published_at timestamptz);
    create table invoice_lines (
        invoice_id varchar, line_id varchar, line_number integer, customer_id varchar, period varchar,
        service_period varchar, line_type varchar, plan_id varchar, meter_id varchar, rate_id varchar,
        quantity decimal(38,12), unit varchar, unit_amount decimal(38,12), billable_quantity decimal(38,12),
        amount decimal(18,3), currency varchar, description varchar, is_adjustment boolean);
    create table billed_usage_daily (
        customer_id varchar, usage_date date, period varchar, plan_id varchar, meter_id varchar, rate_id varchar,
        quantity decimal(38,12), unit varchar, amount decimal(18,3), currency varchar, invoice_id varchar, line_id varchar);
    create table credit_ledger (
        customer_id varchar, grant_id varchar, period varchar, currency varchar, source varchar, opening_amount decimal(18,3),
        granted_amount decimal(18,3), applied_amount decimal(18,3), expired_amount decimal(18,3), voided_amount decimal(18,3),
        closing_amount decimal(18,3));
    create table credit_note_lines (
        credit_note_id varchar, invoice_id varchar, customer_id varchar, service_period varchar, line_type varchar,
        plan_id varchar, meter_id varchar, rate_id varchar, quantity decimal(38,12), unit varchar, amount decimal(18,3),
        currency varchar, description varchar, memo varchar, issued_by varchar, issued_at timestamptz);
    create table receivables (
        invoice_id varchar, customer_id varchar, customer_name varchar, period varchar, currency varchar, status varchar,
        total_amount decimal(18,3), paid_amount decimal(18,3), credited_amount decimal(18,3),
        written_off_amount decimal(18,3), open_amount decimal(18,3), age varchar, stripe_invoice_id varchar,
        due_at timestamptz, paid_at timestamptz);
    create table stripe_reconciliation (
        invoice_id varchar, stripe_invoice_id varchar, customer_id varchar, period varchar, currency varchar,
        total_amount decimal(18,3), stripe_total_amount decimal(18,3), stripe_status varchar, difference varchar,
        paid_amount decimal(18,3), open_amount decimal(18,3), overdue_amount decimal(18,3), credited_amount decimal(18,3),
        due_at timestamptz, paid_at timestamptz, synced_at timestamptz);
    create table journal (
        entry_id varchar, posting_number integer, entry_date date, period varchar, entry_kind varchar, customer_id varchar,
        invoice_id varchar, account varchar, amount decimal(18,3), currency varchar, is_draft boolean);
    create table credit_applications (
        grant_id varchar, invoice_id varchar, customer_id varchar, period varchar, application_period varchar, currency varchar,
        source varchar, amount decimal(18,3));
    create table plans (plan_id varchar, plan_name varchar);
    create table customers (customer_id varchar, language varchar);
    create table credit_grants (grant_id varchar, expires_at timestamptz, scope varchar);
    create table subscriptions (
        customer_id varchar, plan_id varchar, is_trial boolean, starts_at timestamptz, ends_at timestamptz);
    create table rates (
        rate_id varchar, charge_model varchar, unit_amount decimal(38,12), package_size decimal(24,6),
        allowance_level decimal(18,6));
    create table rate_tiers (
        rate_id varchar, above_quantity decimal(24,6), up_to_quantity decimal(24,6), unit_amount decimal(38,12),
        flat_amount decimal(18,6), currency varchar);
    insert into plans values ('pro', 'Pro'), ('pro', 'Pro');
    insert into credit_grants values ('g"1', '2027-01-01T00:00:00Z', 'usage');
    insert into rates values ('r', 'graduated', null, null, 0);
    insert into rate_tiers values ('r', 0, 1000000, 0.000014, 0, 'USD'), ('r', 1000000, null, 0.00001, 5, 'USD');
    insert into credit_applications values
        ('g"1', 'INV-2026-09-1', 'c1', '2026-09', '2026-09', 'USD', 'promotional', 100);
    insert into credit_ledger values
        ('c1', 'g"1', '2026-09', 'USD', 'promotional', 30, 100, 100, 10, 4, 20),
        ('c2', 'g2', '2026-09', 'USD', 'purchased', 0, 7.5, 0, 0, 0, 7.5);
    insert into credit_note_lines values
        ('CN-1', 'INV-2026-08-1', 'c1', '2026-08', 'usage', 'pro', 'vcpu', 'r', -10, 'vCPU-second', -0.01, 'USD', 'vCPU',
         '=too much', 'ann', '2026-09-15T00:00:00Z');
    insert into receivables values
        ('INV-2026-08-1', 'c1', '=Ada', '2026-08', 'USD', 'open', 40, 0, 0, 0, 40, '1_to_30_days', 'in_1', null, null),
        ('INV-2026-07-1', 'c1', '=Ada', '2026-07', 'USD', 'paid', 9, 9, 0, 0, 0, 'settled', 'in_0', null, null),
        ('INV-2026-09-2', 'c2', '+1', '2026-09', 'USD', 'published', 150.1, 0, 0, 0, 150.1, 'not_due', 'in_2', null, null);
    insert into stripe_reconciliation values
        ('INV-2026-09-2', 'in_2', 'c2', '2026-09', 'USD', 150.1, 150.1, 'open', null, 0, 150.1, 0, 0, null, null, null),
        ('INV-2026-09-3', null, 'c3', '2026-09', 'USD', 150.1, null, null, 'missing_in_stripe', 0, 0, 0, 0, null, null, null);
    alter table receivables add column tax_amount decimal(18,3) default 0;
    alter table receivables add column balance_applied_amount decimal(18,3) default 0;
    alter table stripe_reconciliation add column stripe_tax_amount decimal(18,3) default 0;
    insert into journal values
        ('invoice a', 1, '2026-08-31', '2026-08', 'invoice', 'c1', 'INV-2026-08-1', 'Assets:Receivable', 40, 'USD', false),
        ('invoice a', 2, '2026-08-31', '2026-08', 'invoice', 'c1', 'INV-2026-08-1', 'Income:Fees', -40, 'USD', false),
        ('granted 0', 1, '2026-08-02', '2026-08', 'credit_granted', 'c1', null, 'Income:CreditsGranted', 30, 'USD', false),
        ('granted 0', 2, '2026-08-02', '2026-08', 'credit_granted', 'c1', null, 'Liabilities:CustomerCredit', -30, 'USD', false),
        ('granted g"1', 1, '2026-09-02', '2026-09', 'credit_granted', 'c"1', null, 'Income:CreditsGranted', 107.5, 'USD', false),
        ('granted g"1', 2, '2026-09-02', '2026-09', 'credit_granted', 'c"1', null, 'Liabilities:CustomerCredit', -107.5, 'USD',
         false),
        ('invoice b', 1, '2026-09-30', '2026-09', 'invoice', 'c1', 'INV-2026-09-1', 'Liabilities:CustomerCredit', 110, 'USD',
         true),
        ('invoice b', 2, '2026-09-30', '2026-09', 'invoice', 'c1', 'INV-2026-09-1', 'Income:Usage:Agent_runs', -110, 'USD', true);
"""


def write_reports(home: Home) -> None:
    """Six customers in dollars (names that look like formulas), one in yen, one draft of the month after."""
    with duckdb.connect(str(home.analysts_file)) as reports:
        reports.execute("set TimeZone = 'America/New_York'")
        reports.execute(REPORTS)
        for number, name in enumerate(FORMULA_NAMES, start=1):
            plan, status = ("pro", "published") if number % 2 else ("hobby", "closed")
            invoice = f"INV-2026-09-{number}"
            credits = Decimal("100.00") if number == 1 else Decimal(0)
            reports.execute(
                "insert into invoices values (?, ?, '2026-09', 'USD', ?, ?, 'none', 150.10, ?, 0, ?, 2, ?, null,"
                " null, null, '2026-10-03T00:00:00Z', null)",
                [invoice, f"c{number}", status, plan, credits, Decimal("150.10") - credits, name],
            )
            reports.execute(
                "insert into invoice_lines values"
                " ($1, $1 || '-a', 1, $2, '2026-09', '2026-09', 'usage', $3, 'vcpu', 'r', 7142.857142857143,"
                "  'vCPU-second', 0.000014, 7142.857142857143, 0.10, 'USD', 'vCPU, \"on\" Pro', false),"
                " ($1, $1 || '-b', 2, $2, '2026-09', '2026-09', 'fee', $3, null, 'f', 2592000, 'second', 150, 2592000,"
                "  150, 'USD', 'Fee', false)",
                [invoice, f"c{number}", plan],
            )
            reports.execute(
                "insert into billed_usage_daily values"
                " (?, '2026-09-30', '2026-09', ?, 'vcpu', 'r', 7142.857142857143, 'vCPU-second', 0.10, 'USD', ?, 'a')",
                [f"c{number}", plan, invoice],
            )
        reports.execute(
            "insert into invoices values ('INV-2026-09-9', 'zoë', '2026-09', 'JPY', 'draft', 'pro',"
            " 'send_invoice', 22000, 0, 0, 22000, 1, 'Zoë 株式会社', 'z@example.com', null, null, null, null);"
            "insert into invoice_lines values ('INV-2026-09-9', 'y', 1, 'zoë', '2026-09', '2026-09', 'fee',"
            " 'pro', null, 'f', 2592000, 'second', 22000, 2592000, 22000, 'JPY', 'Fee', true);"
            "insert into invoices values ('INV-2026-10-1', 'c1', '2026-10', 'USD', 'draft', 'pro',"
            " 'send_invoice', 7, 0, 0, 7, 0, null, null, null, null, null, null)"
        )
