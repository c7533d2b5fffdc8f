"""Writes the pages under docs/ that are generated from code: command line, configuration,
model layers, report tables, questions, and the list of the files of a home.

`make reference` runs it; `python -m docs.generate --check` reports pages that are out of date. It needs neither a warehouse nor a
network.
"""
