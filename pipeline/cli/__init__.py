"""The command line: a module for each group of commands, with how its results are printed.

Owns arguments, help texts, progress bars and exit codes. Each command calls one function of the packages below.
"""


def main() -> None:
    """Run the command line."""
    from pipeline.cli.app import main as run  # imported when it runs: other modules import this package, too

    run()
