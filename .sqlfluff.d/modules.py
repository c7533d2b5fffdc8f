"""What sqlfluff sees instead of dbt's `modules`."""

import re

__all__ = ["re"]
