"""Commands that operators use: alerts, health."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.support import Json, out, show, stderr, table
from pipeline.core.home import Home
from pipeline.core.terminal import plain

if TYPE_CHECKING:
    from pipeline.alerts import SendResult


def alerts(
    context: typer.Context,
    send: Annotated[bool, typer.Option("--send", help="Send what is due to each channel; 1 where one failed.")] = False,
    test: Annotated[bool, typer.Option("--test", help="Send a message to each channel that says it is a test.")] = False,
    as_json: Json = False,
) -> None:
    """List the latest alerts and whether they were sent; with --send, send what is due by webhook, Slack or e-mail.

    Each goes to each channel once. Limits are those of the last build. To configure channels: docs/operate/alerts.md.
    """
    from pipeline.alerts import send_alerts, send_test
    from pipeline.monitoring.health import write_health
    from pipeline.store.alert_log import alert_states

    home = Home.open(context.obj)
    if not (send or test):
        listed = alert_states(home)
        show(as_json, {"alerts": listed}, lambda: print_alerts(listed))
        return
    result = send_test() if test else send_alerts(home)
    write_health(home)
    show(as_json, result.as_dict(), lambda: print_sent(result))
    for problem in result.problems:
        stderr.print(f"[red]not sent[/] {plain(problem)}", highlight=False, soft_wrap=True)
    if result.problems:
        raise typer.Exit(1)


def health(context: typer.Context) -> None:
    """Write the figures that monitoring reads to <home>/health/billhouse.prom (Prometheus' text format), and print them.

    Every landing, build, publication and sync writes them too.
    """
    from pipeline.monitoring.health import write_health

    print(write_health(Home.open(context.obj)).read_text(encoding="utf-8"), end="")


def print_alerts(alerts: list[dict[str, Any]]) -> None:
    """What people had to be told."""
    shown = table("alert", "raised (UTC)", "kind", "about", "channel", "state")
    for row in alerts:
        about = plain(row["subject"])
        shown.add_row(
            row["alert_id"], f"{row['raised_at']:%Y-%m-%d %H:%M}", row["kind"], about, row["channel"] or "-", row["state"]
        )
    out.print(shown if alerts else "No alert was raised yet. billhouse alerts --send raises those of the last build.")


def print_sent(result: SendResult) -> None:
    """What went out."""
    to = ", ".join(result.channels) or "no channel is configured (docs/operate/alerts.md)"
    out.print(f"{result.raised} new alerts of limits; {result.delivered} delivered; {len(result.problems)} not. Channels: {to}.")
