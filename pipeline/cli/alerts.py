"""Commands for operators: alerts, health."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.support import Json, out, report, show, stderr, table
from pipeline.core.home import Home
from pipeline.core.terminal import plain

if TYPE_CHECKING:
    from pipeline.alerts import SendResult


def alerts(
    context: typer.Context,
    send: Annotated[bool, typer.Option("--send", help="Send due alerts to each channel; exit with 1 if one failed.")] = False,
    test: Annotated[bool, typer.Option("--test", help="Send a test message to each channel.")] = False,
    as_json: Json = False,
) -> None:
    """List the latest alerts and their delivery. With --send, send due alerts by webhook, Slack or e-mail.

    Limits are checked as of the last build. Each alert is sent to each channel once: --send is safe to repeat. Channels are
    configured by environment variables: docs/operate/alerts.md.
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
    if not test:
        report(home, "alerts --send", result)
    show(as_json, result.as_dict(), lambda: print_deliveries(result))
    for problem in result.problems:
        stderr.print(f"[red]not sent[/] {plain(problem)}", highlight=False, soft_wrap=True)
    if result.problems:
        raise typer.Exit(1)


def health(context: typer.Context) -> None:
    """Write the metrics to <home>/health/billhouse.prom (Prometheus text format), and print them.

    Landing, building, closing, publishing and syncing update this file too. Safe to repeat.
    """
    from pipeline.monitoring.health import write_health

    print(write_health(Home.open(context.obj)).read_text(encoding="utf-8"), end="")


def print_alerts(alerts: list[dict[str, Any]]) -> None:
    """Print the latest alerts, one for each row."""
    shown = table("alert", "raised (UTC)", "kind", "about", "channel", "state")
    for row in alerts:
        about = plain(row["subject"])
        shown.add_row(
            row["alert_id"], f"{row['raised_at']:%Y-%m-%d %H:%M}", row["kind"], about, row["channel"] or "-", row["state"]
        )
    out.print(
        shown if alerts else "No alerts yet. billhouse alerts --send checks the limits of the last build and sends due alerts."
    )


def print_deliveries(result: SendResult) -> None:
    """Print the counts of new, delivered and failed alerts."""
    channels = ", ".join(result.channels) or "none configured (docs/operate/alerts.md)"
    out.print(
        f"{result.raised} new limit alerts, {result.delivered} delivered, {len(result.problems)} failed. Channels: {channels}."
    )
