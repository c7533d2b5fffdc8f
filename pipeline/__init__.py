"""Everything outside the models: landing files, running dbt, closing months, Stripe, exports.

Packages in the order of their imports: core, store, pricebook, landing, feeds, warehouse, ledger, then stripe, exports,
alerts and monitoring beside one another, then demo and cli. stripe_emulator stands apart.
"""
