"""Which rows belong to a person: worked out from the schema, so that no table can be forgotten.

A table belongs to people when one of its foreign keys leads to `users`, or to a table that does. References that are
only cleared when their target goes (`on delete set null`) lead nowhere, except straight to `users`. A row of any other
table mentions what it lists in an indexed column of texts: with one of these, it goes as well.
"""

from __future__ import annotations

import graphlib
from collections.abc import Mapping
from typing import Any, NamedTuple

PEOPLE = "users"

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

# Indexed columns with texts: those that name one row alone, and lists of names of others.
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

# All that is to be known of the schema, as one JSON value.
SCHEMA_SQL = f"""
    select json_build_object('keys', (select json_agg(k) from ({FOREIGN_KEYS_SQL}) k),
                             'names', (select json_agg(n) from ({NAMES_SQL}) n))"""  # noqa: S608 - constants


class ForeignKey(NamedTuple):
    """A reference from one table to another; `clears` when it is set to null as its target goes."""

    child: str
    parent: str
    columns: tuple[str, ...]
    targets: tuple[str, ...]
    clears: bool


class Table(NamedTuple):
    """A table some of whose rows are a person's.

    conditions  which rows `t` are those of the person `$1`; each is one way of belonging
    columns     those whose texts name a row
    """

    name: str
    conditions: tuple[str, ...]
    columns: tuple[str, ...]

    @property
    def names(self) -> str:
        """SQL for the names of a row `t`, as a list of texts."""
        return f"array_remove(array[{', '.join(f't.{column}::text' for column in self.columns)}]::text[], null)"


def tables(schema: Mapping[str, Any]) -> list[Table]:
    """The tables with rows of people, `users` left out: those that refer to others come before these.

    `schema` is what SCHEMA_SQL finds. graphlib.CycleError when the tables refer to each other in a ring.
    """
    names = _names(schema, lists=False)
    keys = foreign_keys(schema)
    leading = {key for key in keys if key.child != key.parent and (key.parent == PEOPLE or not key.clears)}
    owned = {PEOPLE}
    while more := {key.child for key in leading if key.parent in owned} - owned:
        owned |= more
    leading = {key for key in leading if key.parent in owned and key.child in owned}
    before = {table: {key.child for key in leading if key.parent == table} for table in sorted(owned)}
    order = graphlib.TopologicalSorter(before).static_order()
    return [
        Table(table, tuple(_conditions(table, "t", leading)), tuple(names.get(table, ())))
        for table in order
        if table != PEOPLE
    ]


def mentioning(schema: Mapping[str, Any]) -> list[Table]:
    """The tables of nobody's whose rows list names of others; their conditions find those that list `wanted.name`."""
    people = {PEOPLE, *(table.name for table in tables(schema))}
    names = _names(schema, lists=False)
    return [
        Table(owner, tuple(f"t.{column} @> array[wanted.name]" for column in columns), tuple(names.get(owner, ())))
        for owner, columns in _names(schema, lists=True).items()
        if owner not in people
    ]


def _names(schema: Mapping[str, Any], *, lists: bool) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for row in schema["names"] or ():
        if row["is_list"] is lists:
            names.setdefault(row["owner"], []).append(row["name"])
    return names


def foreign_keys(schema: Mapping[str, Any]) -> list[ForeignKey]:
    """All there are."""
    return [
        ForeignKey(row["child"], row["parent"], tuple(row["columns"]), tuple(row["targets"]), row["clears"])
        for row in schema["keys"] or ()
    ]


def _conditions(table: str, alias: str, keys: set[ForeignKey]) -> list[str]:
    # The plainest first: it finds nearly all there is.
    mine = sorted(_of(table, keys), key=lambda key: (key.parent != PEOPLE, key))
    return [_condition(key, alias, keys) for key in mine]


def _condition(key: ForeignKey, alias: str, keys: set[ForeignKey]) -> str:
    mine = ", ".join(f"{alias}.{column}" for column in key.columns)
    if key.parent == PEOPLE:
        if key.targets == ("id",):
            return f"{mine} = $1"
        return f"({mine}) in (select {', '.join(key.targets)} from {PEOPLE} where id = $1)"  # noqa: S608 - catalog
    inner = f"{alias}{len(alias)}"
    theirs = ", ".join(f"{inner}.{column}" for column in key.targets)
    # Whose the parent is, is told by itself if it says so; only otherwise by its own parents.
    direct = {one for one in keys if one.child == key.parent and one.parent == PEOPLE}
    whose = " or ".join(_condition(one, inner, keys) for one in sorted(direct or _of(key.parent, keys)))
    return f"({mine}) in (select {theirs} from {key.parent} {inner} where {whose})"  # noqa: S608 - from the catalog


def _of(table: str, keys: set[ForeignKey]) -> set[ForeignKey]:
    return {key for key in keys if key.child == table}
