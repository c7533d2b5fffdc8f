"""The statement of each invoice for its customer, as HTML and PDF, in the customer's language.

- source.py: the rows of the report tables, by invoice
- changes.py: what changed since the invoice of the month before, exactly
- arithmetic.py: how each line is calculated from quantity and price
- texts.py: every text in each language
- formats.py: numbers, amounts, dates and quantities in each language
- issuer.py: who issues the invoices, from the settings
- content.py: a statement as data: texts and formatted values, the same for both files
- write.py: writes the files; templates/statement.html.j2 is the page
- pdf.py: renders PDF by templates/statement.typ
"""

from pipeline.exports.statements.write import OnStatement, write_statements

__all__ = ["OnStatement", "write_statements"]
