"""SQL that reads ids and lists of ids. Billing rules, section 3."""

from __future__ import annotations

from pipeline.landing.specification import ID_LENGTH

BLANK = r"[\s\p{Z}\p{Cf}]*"
"""A regular expression for blank text, invisible characters included."""
UNSAFE = r"[\x00-\x1F\x7F-\x9F\x{2028}\x{2029}\x{061C}\x{200E}\x{200F}\x{202A}-\x{202E}\x{2066}-\x{2069}]"
"""Control characters, line breaks and direction marks: such ids look like others, or break reports."""
_WHOLE_NUMBER = "-?[0-9]+"


def id_list_sql(text: str) -> str:
    """SQL: a JSON array of ids as JSON text, each id once, in order, so that the same ids are the same text.

    Null if the text is no array, or an element of it is no id.
    """
    items = f"json_extract({text}, '$[*]')"
    item = "(item ->> '$')"
    is_id = (
        f"(starts_with(cast(item as varchar), '\"') or regexp_full_match(cast(item as varchar), '{_WHOLE_NUMBER}'))"
        f" and length({item}) <= {ID_LENGTH}"
        f" and not regexp_full_match({item}, '{BLANK}') and not regexp_matches({item}, '{UNSAFE}')"
    )
    return (
        f"case when json_valid({text}) and json_type({text}) = 'ARRAY'"
        f" and len(list_filter({items}, lambda item: not coalesce({is_id}, false))) = 0"
        f" then cast(to_json(list_sort(list_distinct(list_transform({items}, lambda item: {item})))) as varchar) end"
    )
