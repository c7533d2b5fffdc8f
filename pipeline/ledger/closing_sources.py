"""The items of the closing checklist about rows that may not have landed: files in the inbox, and feeds."""

from __future__ import annotations

from datetime import UTC, datetime

from pipeline.core.home import Home
from pipeline.core.periods import BillingPeriod
from pipeline.core.settings import Settings
from pipeline.feeds.configured import read_feeds
from pipeline.landing.waiting import inbox_files
from pipeline.ledger.checklist_item import ChecklistItem, CheckState, item, shown_minute


def inbox_item(home: Home, period: BillingPeriod) -> ChecklistItem:
    """Files that wait. A landed file that is still there does not count: landing it again lands nothing."""
    files = inbox_files(home)
    waiting = [file for file in files if not file.has_landed]
    if not waiting:
        return item("inbox", "Inbox", CheckState.OK, f"{len(files):,} files, all landed." if files else "Empty.")
    oldest = min(waiting, key=lambda file: file.written_at)
    since, shown = datetime.fromtimestamp(oldest.written_at, UTC), oldest.path.relative_to(home.inbox)
    detail = f"{len(waiting):,} files wait, the oldest since {shown_minute(since)}: {shown}."
    state = CheckState.BLOCKS if since < period.end + Settings.load().close_grace else CheckState.ATTENTION
    return item("inbox", "Inbox", state, detail, "Land them, or run the job land_and_build: billhouse land FILE...")


def feeds_item(home: Home, period: BillingPeriod) -> ChecklistItem:
    """A source that never ran, or whose position is from before the month's end, may lack the month's last usage."""
    title, positions = "Feeds", _positions(home)
    configured = {feed.name for feed in read_feeds(home)}
    never = sorted(configured - positions.keys())
    stopped = sorted(((at, name) for name, at in positions.items() if at < period.end))
    others = f" {len(positions.keys() - configured):,} of them are not in feeds.toml." if positions.keys() - configured else ""
    if not (never or stopped):
        detail = f"All {len(positions):,} have run since the month ended.{others}" if positions else "None is used."
        return item("feeds", title, CheckState.OK, detail)
    details = []
    if never:
        named = ", ".join(never[:10])
        details.append(f"{len(never):,} of {len(configured):,} configured have never run, or found no row: {named}.")
    if stopped:
        at, name = stopped[0]
        shown = name if name in configured else f"{name} (not in feeds.toml)"
        details.append(
            f"{len(stopped):,} of {len(positions):,} have not run since the month ended. {shown}: last at {shown_minute(at)}."
        )
    examples = [{"feed": name, "last_position_at": None, "is_configured": True} for name in never]
    examples += [{"feed": name, "last_position_at": at.isoformat(), "is_configured": name in configured} for at, name in stopped]
    next_step = "Run it, or its collect command: billhouse feeds run"
    return item("feeds", title, CheckState.ATTENTION, " ".join(details), next_step, *examples[:10])


def _positions(home: Home) -> dict[str, datetime]:
    """By feed, when its position was last stored."""
    found = {}
    for path in sorted(home.collecting.glob("*.json")):
        try:
            found[path.stem] = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        except FileNotFoundError:  # a person has removed it meanwhile
            continue
    return found
