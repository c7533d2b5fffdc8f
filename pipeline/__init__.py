"""The Python around the warehouse: it lands files, runs dbt, freezes invoices, talks to Stripe and exports."""
