"""Every text of a statement, in each language of pipeline.core.languages. `{name}` is filled in by `Texts.get`."""

from __future__ import annotations

from pipeline.core.languages import DEFAULT_LANGUAGE, LANGUAGES

TEXTS: dict[str, dict[str, str]] = {
    "title": {"en": "Statement for {month}", "de": "Abrechnung für {month}"},
    "dates": {"en": "{first} to {last} (UTC)", "de": "{first} bis {last} (UTC)"},
    "from_to": {"en": "{first} to {last}", "de": "{first} bis {last}"},
    "plan": {"en": "Plan: {plan}", "de": "Tarif: {plan}"},
    "draft": {
        "en": "Draft: the month is not closed yet, amounts can change",
        "de": "Entwurf: Der Monat ist noch nicht abgeschlossen, Beträge können sich ändern",
    },
    "what_it_is": {
        "en": "This statement explains invoice {number}; it is not a tax invoice.",
        "de": "Diese Abrechnung erläutert die Rechnung {number}; sie ist keine Rechnung im Sinne des Umsatzsteuerrechts.",
    },
    "tax_id": {"en": "Tax ID: {number}", "de": "Steuernummer / USt-IdNr.: {number}"},
    "due": {"en": "Total due", "de": "Zu zahlen"},
    "due_date": {"en": "Due date: {date}", "de": "Fällig am {date}"},
    "nothing_due": {"en": "Nothing to pay", "de": "Nichts zu zahlen"},
    "not_collected": {"en": "Not collected: for information only", "de": "Wird nicht eingezogen: nur zur Information"},
    # Usage by day
    "usage_by_day": {"en": "Usage by day", "de": "Nutzung nach Tagen"},
    "chart_label": {"en": "Amount of usage on each day of the month", "de": "Betrag der Nutzung an jedem Tag des Monats"},
    "chart_caption": {
        "en": "Amounts before credits. Highest day: {day}, {amount}.",
        "de": "Beträge vor Guthaben. Höchster Tag: {day}, {amount}.",
    },
    "day": {"en": "Day", "de": "Tag"},
    # Charges
    "charges": {"en": "Charges", "de": "Positionen"},
    "description": {"en": "Description", "de": "Beschreibung"},
    "quantity": {"en": "Quantity", "de": "Menge"},
    "amount": {"en": "Amount", "de": "Betrag"},
    "no_charges": {"en": "No charges this month", "de": "Keine Positionen in diesem Monat"},
    "exactly": {"en": "exactly {quantity}", "de": "genau {quantity}"},
    "fee_line": {"en": "Flat fee, {plan}", "de": "Grundgebühr, {plan}"},
    "discount_line": {"en": "Discount of {percent}", "de": "Rabatt von {percent}"},
    "commitment_line": {
        "en": "Charge up to the agreed minimum of {amount} a month",
        "de": "Auffüllung bis zum vereinbarten Mindestbetrag von {amount} im Monat",
    },
    "carry_forward_line": {
        "en": "Carried forward from the previous invoice",
        "de": "Übertrag aus der vorigen Rechnung",
    },
    "corrections": {"en": "Corrections of earlier invoices", "de": "Korrekturen früherer Rechnungen"},
    "corrections_note": {
        "en": "Earlier invoices are not changed. The difference to the correct amount is charged or credited here.",
        "de": "Frühere Rechnungen bleiben unverändert. Der Unterschied zum richtigen Betrag wird hier berechnet oder"
        " gutgeschrieben.",
    },
    # Total
    "total": {"en": "Total", "de": "Gesamtbetrag"},
    "subtotal": {"en": "Subtotal", "de": "Zwischensumme"},
    "credit_line": {"en": "Credit used: {source}", "de": "Guthaben verwendet: {source}"},
    "credit_returned_line": {"en": "Credit given back: {source}", "de": "Guthaben zurückgegeben: {source}"},
    "carried_forward": {"en": "Carried forward to the next invoice", "de": "Übertrag auf die nächste Rechnung"},
    # Credit
    "credit": {"en": "Your credit", "de": "Ihr Guthaben"},
    "granted": {"en": "{amount} granted", "de": "{amount} erhalten"},
    "used_this_month": {"en": "Used this month", "de": "In diesem Monat verwendet"},
    "used_in_total": {"en": "Used in total", "de": "Insgesamt verwendet"},
    "usage_only": {"en": "pays for usage only", "de": "gilt nur für Nutzung"},
    "expired": {"en": "Expired", "de": "Verfallen"},
    "left": {"en": "Left", "de": "Übrig"},
    "credit_left": {
        "en": "Credit remaining at the end of the month",
        "de": "Restguthaben am Monatsende",
    },
    "expires": {"en": "expires on {date}", "de": "verfällt am {date}"},
    "never_expires": {"en": "does not expire", "de": "verfällt nicht"},
    "signup": {"en": "sign-up credit", "de": "Startguthaben"},
    "promotional": {"en": "promotional credit", "de": "Aktionsguthaben"},
    "purchased": {"en": "purchased credit", "de": "gekauftes Guthaben"},
    "goodwill": {"en": "goodwill credit", "de": "Kulanzguthaben"},
    # What changed
    "changes": {"en": "What changed since {month}", "de": "Was sich seit {month} geändert hat"},
    "no_earlier_invoice": {
        "en": "There is no invoice for {month} to compare with.",
        "de": "Für {month} gibt es keine Rechnung zum Vergleich.",
    },
    "no_changes": {"en": "Nothing changed.", "de": "Es hat sich nichts geändert."},
    "change": {"en": "Change", "de": "Änderung"},
    "total_of": {"en": "Total for {month}", "de": "Gesamtbetrag für {month}"},
    "more_used": {"en": "{meter}: more used", "de": "{meter}: mehr genutzt"},
    "less_used": {"en": "{meter}: less used", "de": "{meter}: weniger genutzt"},
    "price_up": {"en": "{meter}: higher price", "de": "{meter}: höherer Preis"},
    "price_down": {"en": "{meter}: lower price", "de": "{meter}: niedrigerer Preis"},
    "used_change": {"en": "from {before} to {after}", "de": "von {before} auf {after}"},
    "average_price_change": {
        "en": "on average from {before} to {after} per {unit}",
        "de": "im Durchschnitt von {before} auf {after} je {unit}",
    },
    "fee_change": {"en": "Flat fee", "de": "Grundgebühr"},
    "discount_change": {"en": "Discount", "de": "Rabatt"},
    "commitment_change": {"en": "Charge up to the agreed minimum", "de": "Auffüllung bis zum Mindestbetrag"},
    "carry_forward_change": {"en": "Carried forward from the previous invoice", "de": "Übertrag aus der vorigen Rechnung"},
    "corrections_change": {"en": "Corrections of earlier invoices", "de": "Korrekturen früherer Rechnungen"},
    "credit_change": {"en": "Credit used", "de": "Verwendetes Guthaben"},
    "carried_forward_change": {"en": "Carried forward to the next invoice", "de": "Übertrag auf die nächste Rechnung"},
    # How this is calculated
    "calculation": {"en": "How this is calculated", "de": "So wird gerechnet"},
    "not_charged": {
        "en": "{used} used, of which {charged} are charged",
        "de": "{used} genutzt, davon werden {charged} berechnet",
    },
    "not_charged_allowance": {
        "en": "{used} used, of which {charged} above the free {free} are charged",
        "de": "{used} genutzt, davon werden {charged} oberhalb der freien {free} berechnet",
    },
    "free_gb": {"en": "{level} GB", "de": "{level} GB"},
    "free_gb_of_storage": {"en": "{level} GB of storage", "de": "{level} GB Speicherplatz"},
    "tier_from": {"en": "above {from}", "de": "ab mehr als {from}"},
    "tier_from_to": {"en": "above {from}, up to {to}", "de": "ab mehr als {from} bis {to}"},
    "tier_to": {"en": "up to {to}", "de": "bis {to}"},
    "flat": {"en": "flat {amount}", "de": "pauschal {amount}"},
    "packages": {"en": "{count} packages of {size}", "de": "{count} Pakete zu {size}"},
    "fee_share": {
        "en": "{fee} a month, for {seconds} of the month's {all} seconds",
        "de": "{fee} im Monat, für {seconds} der {all} Sekunden des Monats",
    },
    "discount_share": {
        "en": "{percent} of {base} (usage and flat fees)",
        "de": "{percent} von {base} (Nutzung und Grundgebühren)",
    },
    "commitment_share": {
        "en": "agreed minimum less usage, flat fees and discount",
        "de": "vereinbarter Mindestbetrag abzüglich Nutzung, Grundgebühren und Rabatt",
    },
    "correction_share": {
        "en": "correct amount less the amount of earlier invoices",
        "de": "richtiger Betrag abzüglich des Betrags früherer Rechnungen",
    },
    "carry_forward_share": {
        "en": "negative remainder of the previous invoice",
        "de": "negativer Rest der vorigen Rechnung",
    },
    "by_price_list": {"en": "by the prices of {plan}", "de": "nach den Preisen von {plan}"},
    "calculation_note": {
        "en": "Each sandbox is charged for its resources (vCPU, GB of memory, GB of storage) multiplied by the time it held"
        " them, to the microsecond. Each line is calculated from its exact quantity and rounded once, to the smallest unit of"
        " {currency}. Days are in UTC.",
        "de": "Jede Sandbox wird für ihre Ressourcen (vCPU, GB Arbeitsspeicher, GB Speicherplatz) mal der Zeit berechnet, in"
        " der sie sie belegt hat, auf die Mikrosekunde genau. Jede Position wird aus ihrer genauen Menge berechnet und einmal"
        " gerundet, auf die kleinste Einheit von {currency}. Tage sind in UTC.",
    },
    "questions": {
        "en": "Questions about a line? Quote the statement number and the line: every line can be traced to the usage events"
        " behind it.",
        "de": "Fragen zu einer Position? Nennen Sie die Nummer der Abrechnung und die Position: Jede lässt sich bis zu den"
        " Nutzungsereignissen zurückverfolgen.",
    },
    # Meters of the standard price book; the name of another meter is the price book's.
    "meter_vcpu": {"en": "vCPU", "de": "vCPU"},
    "meter_memory": {"en": "Memory", "de": "Arbeitsspeicher"},
    "meter_storage": {"en": "Storage", "de": "Speicherplatz"},
    "meter_gpu": {"en": "GPU", "de": "GPU"},
    "meter_tokens": {"en": "Tokens", "de": "Token"},
    # Units
    "hours": {"en": "{resource}-hours", "de": "{resource}-Stunden"},
    "hour": {"en": "{resource}-hour", "de": "{resource}-Stunde"},
    "seconds": {"en": "{resource}-seconds", "de": "{resource}-Sekunden"},
    "second": {"en": "{resource}-second", "de": "{resource}-Sekunde"},
    "plain_second": {"en": "second", "de": "Sekunde"},
    "plain_seconds": {"en": "seconds", "de": "Sekunden"},
    "one_day": {"en": "{number} day", "de": "{number} Tag"},
    "days": {"en": "{number} days", "de": "{number} Tage"},
    "token": {"en": "token", "de": "Token"},
    "tokens": {"en": "tokens", "de": "Token"},
    "millions": {"en": "{number} M {unit}", "de": "{number} Mio. {unit}"},
}


class Texts:
    """The texts of one language."""

    def __init__(self, language: str) -> None:
        """An unknown language gets the default one."""
        self.language = language if language in LANGUAGES else DEFAULT_LANGUAGE

    def get(self, key: str, **values: str) -> str:
        """A text with its values filled in. A value is never read as a template."""
        text = TEXTS[key][self.language]
        return text.format(**values) if values else text

    def labels(self) -> dict[str, str]:
        """Every text that has no values, for the templates."""
        return {key: texts[self.language] for key, texts in TEXTS.items() if "{" not in texts[self.language]}

    def has(self, key: str) -> bool:
        return key in TEXTS
