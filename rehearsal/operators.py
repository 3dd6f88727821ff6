"""A service of some hundred people for a month, as operators see it in the console; and the pictures of its pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2

from rehearsal.world import ADMIN_KEY, Person, World

BROWSER = Path(__file__).parents[1] / "tests" / "browser"
SIZES = {"phone": (375, 760), "desk": (1280, 860)}
TAKEN = (("desk", False), ("desk", True), ("phone", False), ("phone", True))
WHY = "Ticket 4711: no song since Monday"

# $1 is now. A number from 0 to 99 that looks like chance is `('x' || left(md5(text), 4))::bit(16)::int % 100`.
MONTH = """
create temp table dice on commit drop as
  select n, $1::timestamptz - interval '29 days' + n * interval '97 minutes' as at,
         ('x' || left(md5(n::text), 4))::bit(16)::int % 100 as roll
  from generate_series(1, 425) n;
delete from dice where at > $1::timestamptz - interval '10 minutes' or roll < 12 and extract(isodow from at) < 6;
insert into users (id, clerk_id, email, name, created_at, updated_at)
  select 'user_' || left(md5('u' || n), 26), 'user_2' || left(md5('c' || n), 20), 'person' || n || '@example.test',
         'Person ' || n, at, at from dice where roll % 4 = 0;
insert into subscriptions (id, user_id, last_reset_at, created_at, updated_at)
  select 'sub_' || left(md5('s' || id), 26), id, created_at, created_at, created_at from users
  where id not in (select user_id from subscriptions);
create temp table owners on commit drop as select id, row_number() over (order by id) as place from users;
insert into diaries (id, user_id, content, date, created_at, updated_at)
  select 'diary_' || left(md5('d' || n), 26), o.id, 'Words.', at, at, at
  from dice join owners o on o.place = 1 + n % (select count(*) from owners);
insert into usage_charges (id, user_id, charged_at)
  select 'charge_' || left(md5('d' || n), 26), d.user_id, at
  from dice join diaries d on d.id = 'diary_' || left(md5('d' || n), 26);
insert into generations (id, user_id, diary_id, charge_id, status, callback_secret, asked_at, composing_since,
                         failure_code, failure_reason, created_at, updated_at)
  select 'gen_' || left(md5('d' || n), 26), d.user_id, d.id, 'charge_' || left(md5('d' || n), 26),
         case when roll > 93 then 'failed' when at > $1::timestamptz - interval '4 hours' then 'composing'
              else 'ready' end, 'x', at, at,
         case when roll > 93 then (array['timeout', 'exhausted', '413'])[1 + n % 3] end,
         case when roll > 93 then 'The song could not be made this time. It was not counted.' end,
         at, at + interval '3 minutes'
  from dice join diaries d on d.id = 'diary_' || left(md5('d' || n), 26);
insert into usage_refunds (charge_id, reason, refunded_at)
  select charge_id, failure_code, updated_at from generations where status = 'failed'
  on conflict do nothing;
insert into call_sessions (id, user_id, vapi_call_id, direction, state, started_at, duration_sec, outcome, created_at,
                           updated_at)
  select 'talk_' || left(md5('t' || n), 26), o.id, md5('v' || n), 'inbound',
         case when roll % 5 = 0 then 'no-answer' else 'completed' end, at, 40 + roll * 5,
         case when roll % 5 = 0 then 'not answered' else 'diary' end, at, at
  from dice join owners o on o.place = 1 + (n * 7) % (select count(*) from owners) where roll % 3 = 0;
insert into subscription_log (id, user_id, event_type, tier, product_id, status, recorded_at)
  select 'sublog_' || left(md5('l' || n), 26), o.id, (array['INITIAL_PURCHASE', 'RENEWAL', 'CANCELLATION'])[1 + n % 3],
         'monthly', 'eveokee_premium_monthly', 'active', at
  from dice join owners o on o.place = 1 + n % (select count(*) from owners) where roll % 7 = 0;
insert into vendor_costs (at, vendor, function, account, amount, reference)
  select at, vendor, function, left(md5('m' || n % 60), 24), amount * (90 + roll) / 100, md5(vendor || n)
  from dice, (values ('openai', 'lyrics', 13500), ('suno', 'song', 60000), ('vapi', 'call', 520000)) v
    (vendor, function, amount) where vendor <> 'vapi' or roll % 3 = 0;
insert into budget_days (day, vendor, amount)
  values ($1::date, 'suno', 61000000), ($1::date, 'openai', 8900000), ($1::date, 'vapi', 171000000),
         ($1::date, 'all', 240900000)
  on conflict (day, vendor) do update set amount = excluded.amount;
insert into webhook_events (id, vendor, event_id, type, body, handler, received_at, handled_at, outcome)
  select 'event_' || left(md5('e' || n), 26), vendor, md5('x' || n), type, '{}', null, at, at, 'applied'
  from dice, (values ('suno', 'complete', 0), ('clerk', 'user.updated', 1), ('revenuecat', 'RENEWAL', 2),
                     ('vapi', 'end-of-call-report', 3)) v (vendor, type, k)
  where n % 4 = k and at > $1::timestamptz - interval '3 days';
insert into jobs (id, ticket, function, args, status, due_at, finished_at, failures, last_error)
  select 'job_' || left(md5('j' || n), 26), '', function, '{}', 'dead', at, at, 8, error
  from dice, (values ('music:copyFiles', 'VendorError: files: no answer (ConnectTimeout)', 0),
                     ('pushNotifications:sendNotification', 'VendorError: expo: status 503', 1)) v (function, error, k)
  where n % 2 = k and roll > 97;
insert into jobs (id, ticket, function, args, status, due_at)
  select 'job_' || left(md5('q' || n), 26), '', (array['music:checkAudio', 'diaries:processDiaryEntry'])[1 + n % 2],
         '{}', 'queued', $1::timestamptz - n * interval '7 seconds' from generate_series(1, 9) n;
"""


async def month(world: World) -> None:
    """Insert a month of the service."""
    async with world.db.pool.acquire() as connection, connection.transaction():
        now = f"'{world.clock.now().isoformat()}'"
        await connection.execute(MONTH.replace("$1", now))


async def failed_song(world: World, person: Person, content: str) -> str:
    """Have Suno refuse the words of a song; return its id."""
    await world.fault("suno", callbackCode=413)
    await person.action("music:startDiaryMusicGeneration", content=content)
    await world.settle()
    await world.fault("suno")
    found: str = await world.db.pool.fetchval(
        "select id from generations where status = 'failed' order by created_at desc limit 1"
    )
    return found


async def sign_in(origin: str) -> str:
    """Return the cookie of a session of the console, `name=value`."""
    async with httpx2.AsyncClient(base_url=origin, trust_env=False) as http:
        answer = await http.post("/console/sign-in", data={"key": ADMIN_KEY})
    return str(answer.headers["set-cookie"]).partition(";")[0]


async def pictures(world: World) -> list[dict[str, Any]]:
    """Create what happens to a person, and return what to take of the console; see tests/browser/screens.mjs."""
    alice = await world.person("alice")
    await alice.song()
    failed = await failed_song(world, alice, "Slow morning. Bread, the radio, a letter from Lisbon.")
    await alice.mutation(
        "callSettings:upsertCallSettings", phoneE164="+351912345678", timezone="Europe/Lisbon", timeOfDay="20:30",
        cadence="weekdays", active=True,
    )  # fmt: skip
    await alice.mutation("pushNotifications:registerPushToken", token="ExpoPushToken[alices-phone]", platform="ios")  # noqa: S106
    user_id = await world.db.pool.fetchval("select id from users where clerk_id = 'user_alice'")
    await month(world)
    cookie = await sign_in(world.origin)
    async with httpx2.AsyncClient(base_url=world.origin, trust_env=False, headers={"Cookie": cookie}) as http:
        csrf = (await http.get("/console/flags")).text.partition('name="csrf" value="')[2].partition('"')[0]
        for path, form in ((f"people/{user_id}/grant", {"songs": "3"}), (f"songs/{failed}/read", {})):
            await http.post(f"/console/{path}", data={"csrf": csrf, "reason": WHY, **form})
    event = await world.db.pool.fetchval(
        "select id from webhook_events where about @> array[$1] order by received_at desc limit 1", failed
    )
    pages = {
        "overview": "", "person": f"/people/{user_id}", "song": f"/songs/{failed}", "songs": "/songs?status=failed",
        "webhook": f"/webhooks/{event}", "costs": "/costs", "audit": "/audit",
    }  # fmt: skip
    name, _, value = cookie.partition("=")
    return [
        {"name": f"console-{page}-{size}-{'dark' if dark else 'light'}", "url": f"{world.origin}/console{path}"}
        | {"dark": dark, "cookie": {"name": name, "value": value, "url": f"{world.origin}/console"}}
        | dict(zip(("width", "height"), SIZES[size], strict=True))
        for page, path in pages.items()
        for size, dark in (TAKEN if page in {"overview", "person"} else (("desk", False), ("phone", True)))
    ]
