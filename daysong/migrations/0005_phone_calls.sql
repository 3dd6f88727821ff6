-- Phone calls: who is called when, each call, what was said in it, and what is known of a number.

create table call_settings (
    id                  text primary key,
    user_id             text not null unique references users on delete cascade,
    phone_e164          text not null check (phone_e164 ~ '^\+[1-9][0-9]{1,14}$'),
    timezone            text not null,
    local_minutes       smallint not null check (local_minutes between 0 and 1439),
    cadence             text not null check (cadence in ('daily', 'weekdays', 'weekends', 'custom')),
    -- Bit 0 is Sunday.
    byday_mask          smallint not null check (byday_mask between 1 and 127),
    language            text not null default 'en',
    active              boolean not null,
    -- Whether the person on that number has agreed to be called: when, and in which call; in none when Clerk vouched.
    consent             text not null default 'unknown' check (consent in ('unknown', 'granted', 'refused')),
    consent_at          timestamptz,
    consent_session_id  text,
    -- Why nobody is called although `active` may say so; see features/phone_calls/rules.py.
    paused_reason       text,
    -- Somebody else has shown that the number is theirs.
    lost_at             timestamptz,
    -- When the next call is due; none when nobody is to be called.
    next_run_at         timestamptz,
    created_at          timestamptz not null,
    updated_at          timestamptz not null,
    check (next_run_at is null or (active and paused_reason is null and lost_at is null and consent <> 'refused')),
    check ((consent = 'unknown') = (consent_at is null))
);

-- A number belongs to one account at a time.
create unique index call_settings_by_number on call_settings (phone_e164) where lost_at is null;
create index call_settings_due on call_settings (next_run_at, id) where next_run_at is not null;


-- One call that was due. The steps its status may take stand in features/phone_calls/rules.py.
create table call_jobs (
    id              text primary key,
    user_id         text not null references users on delete cascade,
    settings_id     text not null references call_settings on delete cascade,
    kind            text not null default 'scheduled' check (kind in ('scheduled', 'test')),
    scheduled_for   timestamptz not null,
    status          text not null default 'queued'
                    check (status in ('queued', 'scheduled', 'started', 'completed', 'failed', 'canceled')),
    attempts        smallint not null default 0,
    -- Set before VAPI is asked, cleared when it certainly refused: a lost answer must not ring twice.
    asked_at        timestamptz,
    -- Not to be asked for before: after a refusal that may pass.
    not_before      timestamptz,
    -- The call is over, and its line free, though its report is still to come.
    hung_up_at      timestamptz,
    -- The report has come, or will not come any more.
    reported_at     timestamptz,
    -- Which number was asked for, and whether its person had agreed by then.
    number_hash     bytea,
    with_consent    boolean,
    vapi_call_id    text unique,
    error_code      text,
    error_message   text,
    created_at      timestamptz not null,
    updated_at      timestamptz not null,
    ended_at        timestamptz,
    -- An occurrence is called once, however many look at the clock.
    unique (settings_id, scheduled_for, kind),
    check (num_nulls(asked_at, number_hash, with_consent) in (0, 3)),
    check (status not in ('scheduled', 'started') or asked_at is not null),
    check ((status in ('completed', 'failed', 'canceled')) = (ended_at is not null)),
    check ((status in ('failed', 'canceled')) = (error_code is not null))
);

create index call_jobs_by_user on call_jobs (user_id, scheduled_for desc, id desc);
create index call_jobs_by_settings on call_jobs (settings_id);
create index call_jobs_waiting on call_jobs (scheduled_for, id) where status = 'queued' and asked_at is null;
create index call_jobs_on_a_line on call_jobs (asked_at)
    where asked_at is not null and hung_up_at is null and ended_at is null;
create index call_jobs_unreported on call_jobs (asked_at) where asked_at is not null and reported_at is null;

-- Who holds this table's lock is the only one to take a line, or to plan calls: nobody counts what another is changing.
create table call_lines ();
create table call_plans ();


-- What was said in a call: of one that was agreed to. Of any other, only that it was.
create table call_sessions (
    id                  text primary key,
    user_id             text not null references users on delete cascade,
    call_job_id         text references call_jobs on delete set null,
    vapi_call_id        text not null unique,
    direction           text not null check (direction in ('outbound', 'inbound')),
    state               text not null
                        check (state in ('in-progress', 'completed', 'no-answer', 'busy', 'voicemail', 'failed')),
    started_at          timestamptz,
    ended_at            timestamptz,
    duration_sec        double precision check (duration_sec >= 0),
    ended_reason        text,
    transcript          jsonb,
    end_of_call_report  jsonb,
    metadata            jsonb not null default '{}',
    -- Whether the report has come; what became of it in a word: `diary`, or why there is none.
    reported_at         timestamptz,
    outcome             text,
    diary_id            text references diaries on delete set null,
    created_at          timestamptz not null,
    updated_at          timestamptz not null
);

create index call_sessions_by_user on call_sessions (user_id, created_at desc, id desc);
create index call_sessions_unreported on call_sessions (created_at) where reported_at is null;
create index call_sessions_by_job on call_sessions (call_job_id);
create index call_sessions_by_diary on call_sessions (diary_id);


-- What is known of a number, whoever has it in their settings: under a keyed hash, and past every account.
create table phone_numbers (
    number_hash   bytea primary key,
    -- The person on it wants no calls, of any account.
    refused_at    timestamptz,
    -- Calls without consent since there was any: how many, when the last one was, and on which date there.
    tries         smallint not null default 0 check (tries >= 0),
    last_try_at   timestamptz,
    last_try_on   date,
    -- How often it was dialled on that day, in UTC.
    dialled_on    date,
    dials         smallint not null default 0 check (dials >= 0),
    updated_at    timestamptz not null
);


alter table users
    -- Numbers that Clerk says are this person's, verified.
    add column verified_phones text[] not null default '{}';
