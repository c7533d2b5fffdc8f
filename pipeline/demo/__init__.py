"""The demo's usage: a month and a half of sandboxes, customers and mistakes, generated from a fixed seed.

Owns the data only; `billhouse demo` (pipeline.cli.demo) runs the commands on it.
"""
