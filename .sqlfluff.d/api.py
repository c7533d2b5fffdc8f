"""What sqlfluff sees instead of dbt's `api`: a relation reads as schema and name."""


class Relation:
    """dbt's relation class."""

    @staticmethod
    def create(database: str, schema: str, identifier: str, type: str = "table") -> str:
        """The relation as SQL names it."""
        return f"{schema}.{identifier}"
