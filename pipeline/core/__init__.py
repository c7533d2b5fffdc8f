"""What every package uses. It knows no price, plan or invoice.

Owns errors and their messages, billing periods, money formatting, settings, the paths of a home, locks, atomic files, output to
a terminal, the HTTP client, and limits on files and network responses. It imports no other package.
"""
