"""The demo's data: a month and a half of usage, customers, plans and bad rows, generated from a fixed seed.

Owns the generated files. Does not own the steps that `billhouse demo` runs on them (pipeline.cli.demo_run).
"""
