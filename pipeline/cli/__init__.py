"""The command line `billhouse`: a module for each group of commands, with the functions that print their results.

Owns arguments, help texts, progress bars and exit codes. Does not own what a command does: each calls a function of the packages
below, except the demo (demo_run).
"""


def main() -> None:
    """Run the command line."""
    from pipeline.cli.app import main as run  # lazy: modules of this package import it, too

    run()
