"""Alerts: raised once, recorded in the ledger, sent to every configured channel.

Owns the channels, the alerts of customers' limits, and sending. The log of alerts and deliveries is pipeline.store.alert_log.
"""

from pipeline.alerts.send import SendResult, send_alerts, send_test, waiting_alerts

__all__ = ["SendResult", "send_alerts", "send_test", "waiting_alerts"]
