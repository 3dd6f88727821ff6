from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from daysong.embedded.server import EmbeddedPostgres
from daysong.kernel.database import job_queue, migrations
from daysong.kernel.database.migrations import FOLDER, MigrationError, migrate, pending, read
from daysong.kernel.database.server_support import UnsupportedDatabase, objection
from rehearsal import databases as testing

pytestmark = pytest.mark.anyio

HARD_TO_SPLIT = """
-- It's a comment; it has a quote, and $$.
create table songs (id integer primary key, title text default 'a;b -- not a comment', "end" text); -- don't stop
/* commit; */
create function tell() returns trigger language plpgsql as $$
begin
    if tg_op = 'INSERT' then
        -- once; per statement
        perform pg_notify('songs', (select string_agg(id::text, ';') from touched));
    end if;
    return null;
end;
$$;
create trigger tell after insert on songs referencing new table as touched for each statement execute function tell();
create function verse() returns text language sql as $body$ select '
-- a line of the song; $$
' || $q$it's$q$; $body$;
create function twice(n integer) returns integer language sql begin atomic select n * 2; end;
do $do$ begin insert into songs values (twice(2)); end $do$;
"""

# What processes of the release before it would fail at, or lose. A file that does it names the release, as
# migrations/README.md says.
BREAKING = re.compile(
    r"\b(?:drop\s+(?:table|column|view|function|type)|rename|truncate|delete\s+from|set\s+not\s+null|drop\s+default"
    r"|alter\s+column\s+\w+\s+(?:set\s+data\s+)?type"
    # A column that the former release does not fill in.
    r"|add\s+(?:column\s+)?(?:if\s+not\s+exists\s+)?"
    r"(?!(?:constraint|check|unique|primary|foreign|exclude)\b)\w+\s(?![^,;]*\b(?:default|generated)\b)[^,;]*\bnot\s+null"
    r")\b",
    re.IGNORECASE,
)
TRIGGER = re.compile(r"\bcreate\s+(?:or\s+replace\s+)?(?:constraint\s+)?trigger\b[^;]*", re.IGNORECASE)
UNUSED_SINCE = re.compile(r"^-- Unused since release \S+: ", re.MULTILINE)


def breaks_the_release_before(text: str) -> list[str]:
    """Return the statements of a migration that processes of the release before it do not get over."""
    statements = TRIGGER.sub(" ", migrations.NOT_A_STATEMENT.sub(" ", text))
    return [] if UNUSED_SINCE.search(text) else BREAKING.findall(statements)


@pytest.fixture
def worker(request: pytest.FixtureRequest) -> str:
    """The name of this test process, for databases of its own."""
    return str(getattr(request.config, "workerinput", {}).get("workerid", "main"))


@pytest.fixture
async def blank(database_server: EmbeddedPostgres, worker: str) -> str:
    """The DSN of a database with nothing in it."""
    return await testing.create_database(database_server, f"blank_{worker}", migrated=False)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    """Write a migration into a folder of the test's own; the folder."""

    def writing(name: str, text: str) -> Path:
        (tmp_path / name).write_text(text)
        return tmp_path

    return writing


async def ask(url: str, statement: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def test_our_own_apply_once(blank: str) -> None:
    """All of them and the job queue's tables; a second time there is nothing to do."""
    names = [path.name for path in sorted(FOLDER.glob("*.sql"))] + ["pgqueuer"]
    assert await pending(blank) == names
    assert await migrate(blank) == names
    assert await pending(blank) == []
    assert await migrate(blank) == []
    assert await ask(blank, "select count(*) from pgqueuer") == 0


async def test_the_queues_library_is_asked_only_where_its_version_is_not_recorded(
    blank: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a process that only serves never imports it; a database of an earlier release is recorded by `migrate`."""
    await migrate(blank)
    await ask(blank, "comment on table pgqueuer is null")
    assert (await pending(blank), await migrate(blank)) == ([], [])
    monkeypatch.setattr(job_queue, "queries_on", None)
    assert await pending(blank) == []
    await ask(blank, "comment on table pgqueuer is 'tables of pgqueuer 1.0'")
    with pytest.raises(TypeError):
        await pending(blank)


async def test_a_connection_will_do_instead_of_an_address(blank: str) -> None:
    connection = await asyncpg.connect(blank)
    try:
        await migrate(connection)
        assert await pending(connection) == []
    finally:
        await connection.close()


async def test_many_at_once_apply_each_file_once(blank: str, write: Callable[[str, str], Path]) -> None:
    folder = write("0001_songs.sql", "create table songs (id integer); select pg_sleep(0.2);")
    applied = await asyncio.gather(*[migrate(blank, folder) for _ in range(4)])
    assert sorted(applied) == [[], [], [], ["0001_songs.sql", "pgqueuer"]]


async def test_bodies_quotes_and_comments_reach_the_database_unchanged(
    blank: str, write: Callable[[str, str], Path]
) -> None:
    await migrate(blank, write("0001_songs.sql", HARD_TO_SPLIT))
    assert await ask(blank, "select verse()") == "\n-- a line of the song; $$\nit's"
    assert await ask(blank, "select id from songs where title = 'a;b -- not a comment'") == 4


async def test_a_failing_file_leaves_nothing_and_says_where(blank: str, write: Callable[[str, str], Path]) -> None:
    """Those before it stay applied; corrected, it is applied the next time."""
    write("0001_songs.sql", "create table songs (id integer);")
    folder = write("0002_broken.sql", "create table verses (id integer);\n\ninsert into nowhere values (1);\n")
    with pytest.raises(MigrationError, match=r'0002_broken\.sql failed on line 3.*"nowhere" does not exist'):
        await migrate(blank, folder)
    assert await ask(blank, "select to_regclass('songs') is not null and to_regclass('verses') is null")
    assert await pending(blank, folder) == ["0002_broken.sql", "pgqueuer"]
    write("0002_broken.sql", "create table verses (id integer);")
    assert await migrate(blank, folder) == ["0002_broken.sql", "pgqueuer"]


async def test_a_file_changed_after_it_was_applied_is_refused(blank: str, write: Callable[[str, str], Path]) -> None:
    folder = write("0001_songs.sql", "create table songs (id integer);\n")
    await migrate(blank, folder)
    (folder / "0001_songs.sql").write_bytes(b"create table songs (id integer);\r\n")
    assert await migrate(blank, folder) == [], "how lines end does not matter"
    write("0001_songs.sql", "create table songs (id bigint);\n")
    for refused in (migrate, pending):
        with pytest.raises(MigrationError, match=r"0001_songs\.sql was changed after it had been applied"):
            await refused(blank, folder)


async def test_a_file_that_comes_too_late_is_refused(blank: str, write: Callable[[str, str], Path]) -> None:
    folder = write("0002_songs.sql", "create table songs (id integer);")
    await migrate(blank, folder)
    write("0001_verses.sql", "create table verses (id integer);")
    with pytest.raises(MigrationError, match=r"0001_verses\.sql comes before 0002_songs\.sql"):
        await migrate(blank, folder)


async def test_an_older_release_runs_on_a_newer_schema(blank: str, write: Callable[[str, str], Path]) -> None:
    """As while a release is rolled out; a file missing between others is another matter."""
    write("0001_songs.sql", "create table songs (id integer);")
    write("0002_verses.sql", "create table verses (id integer);")
    folder = write("0003_lines.sql", "create table lines (id integer);")
    await migrate(blank, folder)
    (folder / "0003_lines.sql").unlink()
    assert await migrate(blank, folder) == []
    (folder / "0001_songs.sql").unlink()
    with pytest.raises(MigrationError, match=r"0001_songs\.sql was applied to this database, and its file is gone"):
        await migrate(blank, folder)


@pytest.mark.parametrize(
    ("text", "word"),
    [("begin;\nselect 1;\ncommit;", "begin"), ("select 1; COMMIT;", "COMMIT"), ("-- all\nstart  transaction", "start")],
)
async def test_a_file_does_not_manage_transactions(write: Callable[[str, str], Path], text: str, word: str) -> None:
    with pytest.raises(MigrationError, match=rf"0001_songs\.sql says {word}"):
        read(write("0001_songs.sql", text))


async def test_a_transaction_ended_in_disguise_is_noticed(blank: str, write: Callable[[str, str], Path]) -> None:
    with pytest.raises(MigrationError, match=r"0001_songs\.sql ended its transaction"):
        await migrate(blank, write("0001_songs.sql", "select 1; end;"))


async def test_names_are_numbers_and_lower_case(write: Callable[[str, str], Path]) -> None:
    with pytest.raises(MigrationError, match="is no name for a migration"):
        read(write("songs.sql", "select 1"))


async def test_no_two_files_have_one_number(write: Callable[[str, str], Path]) -> None:
    write("0001_songs.sql", "select 1")
    with pytest.raises(MigrationError, match=r"0001_songs\.sql and 0001_verses\.sql have the same number"):
        read(write("0001_verses.sql", "select 1"))


async def test_a_database_asked_for_is_migrated_and_empty(database_url: str) -> None:
    await ask(
        database_url, "insert into pgqueuer_log (job_id, status, priority, entrypoint) values (1, 'queued', 1, 'x')"
    )
    connection = await asyncpg.connect(database_url)
    try:
        await testing.empty(connection)
    finally:
        await connection.close()
    assert await ask(database_url, "select count(*) from pgqueuer_log") == 0
    assert await ask(database_url, "select count(*) from schema_migrations") == len(read(FOLDER))


async def test_g57_a_migration_lets_others_through_while_it_waits(
    blank: str, write: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind one long query it gives up its place in the line, tries again, and is applied once that is over."""
    monkeypatch.setattr(migrations, "LOCK_TIMEOUT", "100ms")
    write("0001_songs.sql", "create table songs (id integer);")
    await migrate(blank, write("0001_songs.sql", "create table songs (id integer);"))
    folder = write("0002_titles.sql", "alter table songs add column title text;")
    reader, writer = await asyncpg.connect(blank), await asyncpg.connect(blank)
    try:
        long_query = reader.transaction()
        await long_query.start()
        await reader.fetch("select * from songs")
        applying = asyncio.create_task(migrate(blank, folder))
        for _ in range(10):
            await writer.execute("insert into songs values (1)", timeout=10)
            await asyncio.wait({applying}, timeout=0.05)
        assert not applying.done()
        await long_query.rollback()
        assert await applying == ["0002_titles.sql"]
    finally:
        await reader.close()
        await writer.close()


async def test_g57_a_migration_that_never_gets_its_locks_says_so(
    blank: str, write: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a bounded number of tries, with nothing of it kept."""
    for name, value in {"LOCK_TIMEOUT": "10ms", "ATTEMPTS": 3, "FIRST_PAUSE": 0.001}.items():
        monkeypatch.setattr(migrations, name, value)
    await migrate(blank, write("0001_songs.sql", "create table songs (id integer);"))
    folder = write("0002_titles.sql", "alter table songs add column title text;")
    reader = await asyncpg.connect(blank)
    try:
        async with reader.transaction():
            await reader.fetch("select * from songs")
            with pytest.raises(MigrationError, match=r"0002_titles\.sql did not get its locks"):
                await migrate(blank, folder)
    finally:
        await reader.close()
    assert await pending(blank, folder) == ["0002_titles.sql"]


async def test_g40_a_database_of_another_encoding_is_refused(database_server: EmbeddedPostgres, worker: str) -> None:
    """Any other encoding than UTF8 cannot hold what people write: neither migrated nor served."""
    ascii_only = "encoding SQL_ASCII locale 'C' locale_provider libc"
    url = await testing.create_database(database_server, f"ascii_{worker}", migrated=False, options=ascii_only)
    for refused in (migrate, pending):
        with pytest.raises(UnsupportedDatabase, match=r"SQL_ASCII.*needs UTF8"):
            await refused(url)
    assert await ask(url, "select count(*) from pg_tables where schemaname = 'public'") == 0


@pytest.mark.parametrize("version", range(9, 20))
def test_g40_servers_before_version_14_are_refused(version: int) -> None:
    """The text says the version found, and the oldest that will do."""
    said = objection(version, "UTF8")
    assert said is None if version >= 14 else f"PostgreSQL {version}. daysong needs 14" in str(said)


async def test_a_database_of_other_first_files_is_refused(blank: str, write: Callable[[str, str], Path]) -> None:
    """A developer's database from before the files were numbered anew: the text says to begin with an empty one."""
    write("0001_songs.sql", "create table songs (id integer);")
    folder = write("0002_verses.sql", "create table verses (id integer);")
    await migrate(blank, folder)
    for file in folder.glob("*.sql"):
        file.unlink()
    write("0001_schema.sql", "create table songs (id integer);")
    for refused in (migrate, pending):
        with pytest.raises(MigrationError, match=r"0001_songs\.sql was applied .* delete the data folder"):
            await refused(blank, folder)


@pytest.mark.parametrize("migration", read(FOLDER), ids=lambda migration: migration.name)
def test_migrations_leave_the_release_before_them_running(migration: migrations.Migration) -> None:
    """They only add: `daysong migrate` comes first, and the former processes serve on, also after a rollback."""
    assert breaks_the_release_before(migration.text) == []


@pytest.mark.parametrize(
    ("text", "breaks"),
    [
        ("alter table songs drop column words;", True),
        ("DROP TABLE songs;", True),
        ("alter table songs rename title to name;", True),
        ("alter table songs alter column id type bigint;", True),
        ("alter table songs add key text not null, add mood text;", True),
        ("update songs set id = 1; delete from songs;", True),
        ("-- Unused since release 0.1.0: songs.words.\nalter table songs drop column words;", False),
        ("alter table songs add column key text not null default 'c', add check (key is not null);", False),
        ("alter table songs drop constraint songs_title_check, add check (title <> '');", False),
        ("alter table songs alter column title drop not null;", False),
        ("create index b on songs (id) where title is null; drop index a;", False),
        ("create function f() returns void language sql as $$ delete from songs $$; -- drop table songs", False),
        ("create trigger t before update or delete or truncate on songs execute function f();", False),
    ],
)
def test_a_migration_that_takes_something_away_names_the_release_that_used_it_last(text: str, breaks: bool) -> None:
    """The line is a promise of its author: the release before this one does not use it any more."""
    assert bool(breaks_the_release_before(text)) is breaks
