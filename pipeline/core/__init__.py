"""What every package uses and that knows nothing of billing.

Owns errors and their messages, billing periods, money formatting, settings, the paths of a home, locks, atomic files, output to
a terminal, and limits on files and network responses. It imports no other package.
"""
