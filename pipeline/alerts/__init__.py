"""What people must be told: raised once, kept in the ledger, sent to every channel that is configured."""

from pipeline.alerts.facts import OperationalAlert, alert_states, ensure_alerts, raise_alert
from pipeline.alerts.send import SendResult, alerting, keep_alert, send_alerts, send_test, waiting_alerts

__all__ = [
    "OperationalAlert",
    "SendResult",
    "alert_states",
    "alerting",
    "ensure_alerts",
    "keep_alert",
    "raise_alert",
    "send_alerts",
    "send_test",
    "waiting_alerts",
]
