"""The ``pricing`` tables of the configuration file."""

from __future__ import annotations

from decimal import Decimal

from passgate.config.tables import Table
from passgate.core.pricing import ANTHROPIC, GOOGLE, Override


def read_overrides(root: Table) -> tuple[Override, ...]:
    """Return the operator's own prices; the wrong ones are noted and left out."""
    table = root.table("pricing")
    if table is None:
        return ()
    tables = table.table("override")
    found = []
    for model in () if tables is None else tables.keys():
        inner = None if tables is None else tables.table(model)
        if inner is not None:
            found.append(_override(model, inner))
    table.close()
    return tuple(filter(None, found))


def _override(model: str, table: Table) -> Override | None:
    provider = table.choice("provider", (ANTHROPIC, GOOGLE))
    input_, output = table.price("input", needed=True), table.price("output", needed=True)
    read, write = table.price("cache_read"), table.price("cache_write")
    hour, search = table.price("cache_write_1h"), table.price("web_search")
    table.close()
    if provider is None or input_ is None or output is None:
        return None
    return Override(provider, model, input_, output, read, write, hour, search or Decimal(0))
