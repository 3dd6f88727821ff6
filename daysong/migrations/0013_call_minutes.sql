-- Minutes of talk as a quota of the plan, a daily count of calls over all accounts, and calls that did not ring.

-- The ledger of talk: reserved before a call is made or answered, settled by its report. What counts in a period is
-- `seconds`: what is reserved, and later what was talked.
create table call_minutes (
    id            text primary key,
    user_id       text not null references users on delete cascade,
    -- Of a call that we made, its job; of one that was answered, VAPI's id. Each is counted once.
    call_job_id   text unique references call_jobs on delete set null,
    vapi_call_id  text unique,
    reserved_at   timestamptz not null,
    seconds       integer not null check (seconds >= 0),
    settled_at    timestamptz,
    -- Settled by the call's report. One that comes late corrects what was settled without it.
    reported      boolean not null default false,
    check (settled_at is not null or not reported)
);

create index call_minutes_by_user on call_minutes (user_id, reserved_at);
create index call_minutes_unsettled on call_minutes (reserved_at) where settled_at is null;

-- How many calls were made on a day (UTC), over all accounts, those that are gone included.
create table call_days (
    day    date primary key,
    dials  integer not null check (dials >= 0)
);

alter table call_jobs
    -- The order came to nothing before a phone rang: it counts as no try at the number.
    add column not_rung_at timestamptz;

alter table tombstones
    -- Seconds of talk used in the same period as the songs.
    add column talked integer not null default 0 check (talked >= 0),
    add check (talked = 0 or (period_start is not null and period_end is not null));

select attach_live_triggers();
