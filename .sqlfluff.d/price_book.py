"""What sqlfluff sees instead of the expressions that the notebook's questions get from the price book."""


def minor_unit_digits(column: str) -> str:
    """The decimals of the currency in a column."""
    return f"case {column} when 'JPY' then 0 else 2 end"
