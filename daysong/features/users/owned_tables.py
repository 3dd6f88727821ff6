"""The rows that a user owns, derived from the schema, so that a new table needs no entry here.

A table is owned when one of its foreign keys references `users` or an owned table. References that are set to null on
delete do not count, except those to `users`. A row of any other table mentions the ids in its indexed text[] column,
and is erased with any of them.
"""

from __future__ import annotations

import graphlib
from collections.abc import Mapping
from typing import Any, NamedTuple

USERS = "users"

FOREIGN_KEYS_SQL = """
    select quote_ident(child.relname) as child, quote_ident(parent.relname) as parent,
           key.confdeltype in ('n', 'd') as clears,
           array(select quote_ident(attname) from unnest(key.conkey) with ordinality as k(number, place)
                 join pg_attribute on attrelid = key.conrelid and attnum = number order by place) as columns,
           array(select quote_ident(attname) from unnest(key.confkey) with ordinality as k(number, place)
                 join pg_attribute on attrelid = key.confrelid and attnum = number order by place) as targets
    from pg_constraint key
    join pg_class child on child.oid = key.conrelid
    join pg_class parent on parent.oid = key.confrelid
    where key.contype = 'f' and key.conparentid = 0 and key.connamespace = current_schema()::regnamespace
    order by 1, key.conname"""

# Indexed text columns: unique ones that identify a row, and lists of ids of other rows.
NAMES_SQL = """
    select distinct quote_ident(owner.relname) as owner, quote_ident(attname) as name,
           atttypid = 'text[]'::regtype as is_list
    from pg_index
    join pg_class owner on owner.oid = indrelid
    join pg_attribute on attrelid = indrelid and attnum = indkey[0]
    where indnkeyatts = 1 and indpred is null and indexprs is null
      and (indisunique and atttypid in ('text'::regtype, 'varchar'::regtype, 'uuid'::regtype)
           or atttypid = 'text[]'::regtype)
      and owner.relnamespace = current_schema()::regnamespace
    order by 1, 2"""

# The foreign keys and id columns of the schema, as one JSON value.
SCHEMA_SQL = f"""
    select json_build_object('keys', (select json_agg(k) from ({FOREIGN_KEYS_SQL}) k),
                             'names', (select json_agg(n) from ({NAMES_SQL}) n))"""  # noqa: S608 - constants


class ForeignKey(NamedTuple):
    """A foreign key; `clears` when it is set to null or to its default on delete."""

    child: str
    parent: str
    columns: tuple[str, ...]
    targets: tuple[str, ...]
    clears: bool


class Table(NamedTuple):
    """A table with rows of users.

    conditions  SQL conditions, each of which selects rows `t` of the user `$1`
    columns     text columns that identify a row
    """

    name: str
    conditions: tuple[str, ...]
    columns: tuple[str, ...]

    @property
    def names(self) -> str:
        """Return SQL for the ids of a row `t`, as text[]."""
        return f"array_remove(array[{', '.join(f't.{column}::text' for column in self.columns)}]::text[], null)"


def tables(schema: Mapping[str, Any]) -> list[Table]:
    """Return the owned tables without `users`, referencing tables before referenced ones.

    `schema` is the result of SCHEMA_SQL. Raises graphlib.CycleError when tables reference each other in a cycle.
    """
    names = _names(schema, lists=False)
    keys = foreign_keys(schema)
    owning = {key for key in keys if key.child != key.parent and (key.parent == USERS or not key.clears)}
    owned = {USERS}
    while more := {key.child for key in owning if key.parent in owned} - owned:
        owned |= more
    owning = {key for key in owning if key.parent in owned and key.child in owned}
    before = {table: {key.child for key in owning if key.parent == table} for table in sorted(owned)}
    order = graphlib.TopologicalSorter(before).static_order()
    return [
        Table(table, tuple(_conditions(table, "t", owning)), tuple(names.get(table, ())))
        for table in order
        if table != USERS
    ]


def mentioning(schema: Mapping[str, Any]) -> list[Table]:
    """Return the tables that no user owns and that list ids of rows; a condition selects rows with `wanted.name`."""
    owned = {USERS, *(table.name for table in tables(schema))}
    names = _names(schema, lists=False)
    return [
        Table(owner, tuple(f"t.{column} @> array[wanted.name]" for column in columns), tuple(names.get(owner, ())))
        for owner, columns in _names(schema, lists=True).items()
        if owner not in owned
    ]


def _names(schema: Mapping[str, Any], *, lists: bool) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for row in schema["names"] or ():
        if row["is_list"] is lists:
            names.setdefault(row["owner"], []).append(row["name"])
    return names


def foreign_keys(schema: Mapping[str, Any]) -> list[ForeignKey]:
    """Return all foreign keys of the schema."""
    return [
        ForeignKey(row["child"], row["parent"], tuple(row["columns"]), tuple(row["targets"]), row["clears"])
        for row in schema["keys"] or ()
    ]


def _conditions(table: str, alias: str, keys: set[ForeignKey]) -> list[str]:
    # The direct reference first: it finds nearly all rows.
    ordered = sorted(_of(table, keys), key=lambda key: (key.parent != USERS, key))
    return [_condition(key, alias, keys) for key in ordered]


def _condition(key: ForeignKey, alias: str, keys: set[ForeignKey]) -> str:
    columns = ", ".join(f"{alias}.{column}" for column in key.columns)
    if key.parent == USERS:
        if key.targets == ("id",):
            return f"{columns} = $1"
        return f"({columns}) in (select {', '.join(key.targets)} from {USERS} where id = $1)"  # noqa: S608 - catalog
    inner = f"{alias}{len(alias)}"
    targets = ", ".join(f"{inner}.{column}" for column in key.targets)
    # The parent's direct references to `users` decide, if it has any; else the parent's own parents.
    direct = {one for one in keys if one.child == key.parent and one.parent == USERS}
    owned = " or ".join(_condition(one, inner, keys) for one in sorted(direct or _of(key.parent, keys)))
    return f"({columns}) in (select {targets} from {key.parent} {inner} where {owned})"  # noqa: S608 - from the catalog


def _of(table: str, keys: set[ForeignKey]) -> set[ForeignKey]:
    return {key for key in keys if key.child == table}
