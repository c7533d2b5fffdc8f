"""The period as a FOCUS 1.2 file (FinOps Open Cost and Usage Specification), for customers' cost tools.

One row for each day of a usage line, each other line, each credit application, and each amount carried forward: BilledCost sums
to the invoices' totals. docs/use/exports.md has the mapping and the columns that are left out.
"""

from __future__ import annotations

from pipeline.exports.tables import ColumnKind, ExportColumn, ExportTable

_UNIT = "regexp_replace(regexp_replace(unit, 'second$', 'Seconds'), '^token$', 'Tokens')"


def _charge(columns: str, source: str) -> str:
    return f"select {columns} from {source} where period = $period"


_CHARGES = " union all ".join(
    (
        _charge(
            "invoice_id, customer_id, currency, amount, quantity, unit, meter_id, rate_id, 'Usage' as category,"
            " 'Usage-Based' as frequency, cast(usage_date as timestamp) as starts_at,"
            " cast(usage_date as timestamp) + interval 1 day as ends_at,"
            " usage_date < strptime($period, '%Y-%m') as is_correction,"
            " meter_id || ' on ' || plan_id as description, line_id as id",
            "billed_usage_daily",
        ),
        _charge(
            "invoice_id, customer_id, currency, amount, quantity, unit, null, rate_id,"
            " case line_type when 'fee' then 'Purchase' when 'commitment' then 'Purchase' else 'Adjustment' end,"
            " case line_type when 'fee' then 'Recurring' else 'One-Time' end,"
            " strptime(service_period, '%Y-%m'), strptime(service_period, '%Y-%m') + interval 1 month,"
            " is_adjustment, description, line_id",
            "(select * from invoice_lines where line_type <> 'usage')",
        ),
        _charge(
            "invoice_id, customer_id, currency, -amount, null, null, null, grant_id, 'Credit', 'One-Time',"
            " strptime(period, '%Y-%m'), strptime(period, '%Y-%m') + interval 1 month, false, source || ' credit', grant_id",
            "credit_applications",
        ),
        _charge(
            "invoice_id, customer_id, currency, -carried_forward_amount, null, null, null, null, 'Adjustment', 'One-Time',"
            " strptime(period, '%Y-%m'), strptime(period, '%Y-%m') + interval 1 month, false,"
            " 'Carried forward to the next invoice', invoice_id",
            "(select * from invoices where carried_forward_amount <> 0)",
        ),
    )
)

FOCUS = ExportTable(
    name="focus_1_2",
    sheet="",
    source=f"""
        select
            amount as BilledCost,
            customer_id as BillingAccountId,
            names.customer_name as BillingAccountName,
            'Customer' as BillingAccountType,
            currency as BillingCurrency,
            timezone('UTC', strptime($period, '%Y-%m') + interval 1 month) as BillingPeriodEnd,
            timezone('UTC', strptime($period, '%Y-%m')) as BillingPeriodStart,
            category as ChargeCategory,
            case when is_correction then 'Correction' end as ChargeClass,
            description as ChargeDescription,
            frequency as ChargeFrequency,
            timezone('UTC', ends_at) as ChargePeriodEnd,
            timezone('UTC', starts_at) as ChargePeriodStart,
            case when category = 'Usage' then quantity end as ConsumedQuantity,
            case when category = 'Usage' then {_UNIT} end as ConsumedUnit,
            amount as ContractedCost,
            amount as EffectiveCost,
            invoice_id as InvoiceId,
            'Billhouse' as InvoiceIssuerName,
            amount as ListCost,
            case when category in ('Usage', 'Purchase') then quantity end as PricingQuantity,
            case when category in ('Usage', 'Purchase') then {_UNIT} end as PricingUnit,
            'Billhouse' as ProviderName,
            'Billhouse' as PublisherName,
            'Compute' as ServiceCategory,
            case category when 'Usage' then 'Sandboxes' else 'Subscription' end as ServiceName,
            meter_id as SkuId,
            rate_id as SkuPriceId,
            id
        from ({_CHARGES}) as charges
        left join (select invoice_id, customer_name from invoices) as names using (invoice_id)""",
    columns=(
        ExportColumn("BilledCost", "", ColumnKind.MONEY),
        ExportColumn("BillingAccountId", ""),
        ExportColumn("BillingAccountName", ""),
        ExportColumn("BillingAccountType", ""),
        ExportColumn("BillingCurrency", ""),
        ExportColumn("BillingPeriodEnd", "", ColumnKind.INSTANT),
        ExportColumn("BillingPeriodStart", "", ColumnKind.INSTANT),
        ExportColumn("ChargeCategory", ""),
        ExportColumn("ChargeClass", ""),
        ExportColumn("ChargeDescription", ""),
        ExportColumn("ChargeFrequency", ""),
        ExportColumn("ChargePeriodEnd", "", ColumnKind.INSTANT),
        ExportColumn("ChargePeriodStart", "", ColumnKind.INSTANT),
        ExportColumn("ConsumedQuantity", "", ColumnKind.QUANTITY),
        ExportColumn("ConsumedUnit", ""),
        ExportColumn("ContractedCost", "", ColumnKind.MONEY),
        ExportColumn("EffectiveCost", "", ColumnKind.MONEY),
        ExportColumn("InvoiceId", ""),
        ExportColumn("InvoiceIssuerName", ""),
        ExportColumn("ListCost", "", ColumnKind.MONEY),
        ExportColumn("PricingQuantity", "", ColumnKind.QUANTITY),
        ExportColumn("PricingUnit", ""),
        ExportColumn("ProviderName", ""),
        ExportColumn("PublisherName", ""),
        ExportColumn("ServiceCategory", ""),
        ExportColumn("ServiceName", ""),
        ExportColumn("SkuId", ""),
        ExportColumn("SkuPriceId", ""),
    ),
    order_by=("InvoiceId", "ChargeCategory", "id", "ChargePeriodStart", "SkuPriceId"),
)
