"""What people must be told: raised once, kept in the ledger, sent to every channel that is configured."""

from pipeline.alerts.send import SendResult, send_alerts, send_test, waiting_alerts

__all__ = ["SendResult", "send_alerts", "send_test", "waiting_alerts"]
