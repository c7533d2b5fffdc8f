"""Sources: SQL files that select the columns of Billhouse from the rows of other systems. docs/reference/sources.md.

Owns finding and reading source files, and running their selects in a locked-down process. Checking the selected rows is the same
code as for every other file.
"""
