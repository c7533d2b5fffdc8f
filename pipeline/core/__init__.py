"""What every package uses and that knows nothing of billing.

Owns errors and their texts, billing periods, money formatting, settings, the paths and the lock of a home, atomic files,
output to a terminal, and bounds on files and network answers. It imports no other package.
"""
