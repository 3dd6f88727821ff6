-- The schema, by subject:
--
--   time · live notifications · accounts and tombstones · subscriptions, purchases and the ledger · diaries ·
--   music and generations · sharing · phone calls · webhooks inbox · jobs · limits, costs and budgets ·
--   answered mutations
--
-- `comment on` says what a table or column is for, and goes into docs/SCHEMA.md; `--` gives the reason for an index, a
-- constraint or a function. Constraints of one column have PostgreSQL's names (users_clerk_id_key); those of several
-- are named for what holds. Every row of an account leads to `users` by foreign keys: by these it is erased.


-- Time ---------------------------------------------------------------------------------------------------------------

-- On the wire, times are milliseconds since the epoch.
create function ms(moment timestamptz) returns double precision
    language sql immutable strict parallel safe
    return extract(epoch from moment)::double precision * 1000;


-- Live notifications -------------------------------------------------------------------------------------------------

-- Statement triggers notify the channel daysong_live with `<table> <owner>`, once for each owner. PostgreSQL sends only
-- one of several equal notifications of a transaction. kernel/live.py listens.

create function notify_live(table_name text, owner text) returns void
    language sql
    return pg_notify('daysong_live', table_name || ' ' || owner);


create function notify_live_owners() returns trigger
    language plpgsql as
$$
begin
    if tg_op = 'UPDATE' then
        -- A row that changes hands concerns both owners.
        perform notify_live(tg_table_name, user_id)
        from (select user_id from touched union select user_id from before) as owners where user_id is not null;
    else
        perform notify_live(tg_table_name, user_id)
        from (select distinct user_id from touched) as owners where user_id is not null;
    end if;
    return null;
end
$$;


-- Attach `notifier` to all statements that change rows of `target`. It finds the rows in `touched` and, for an update,
-- their former values in `before`. Triggers that exist are replaced.
create function attach_live_trigger(target regclass, notifier regproc) returns void
    language plpgsql as
$$
begin
    execute format(
        'create or replace trigger live_insert after insert on %1$s
             referencing new table as touched for each statement execute function %2$s();
         create or replace trigger live_update after update on %1$s
             referencing old table as before new table as touched for each statement execute function %2$s();
         create or replace trigger live_delete after delete on %1$s
             referencing old table as touched for each statement execute function %2$s();',
        target, notifier);
end
$$;


-- Attach notify_live_owners to every table with a `user_id` that has no live trigger yet. Migrations that create tables
-- end with this call. Tables that no query reads are excluded by name: commits that notify are serialized.
create function attach_live_triggers() returns void
    language plpgsql as
$$
declare
    target regclass;
begin
    for target in
        select c.oid from pg_class c
        join pg_attribute a on a.attrelid = c.oid and a.attname = 'user_id' and not a.attisdropped
        where c.relkind in ('r', 'p') and c.relnamespace = current_schema()::regnamespace
              and c.relname not in ('answered_mutations')
              and not exists (select from pg_trigger t where t.tgrelid = c.oid and t.tgname = 'live_insert')
    loop
        perform attach_live_trigger(target, 'notify_live_owners');
    end loop;
end
$$;


-- Accounts and tombstones --------------------------------------------------------------------------------------------

create table users (
    id                    text primary key,
    clerk_id              text not null unique,
    email                 text,
    name                  text,
    mailbox_hash          bytea,
    verified_phones       text[] not null default '{}',
    tags                  text[] not null default '{}',
    timezone              text not null default 'UTC',
    language              text not null default 'en',
    show_name_on_shares   boolean not null default true,
    clerk_updated_at      timestamptz,
    clerk_event_at        timestamptz,
    suspension            text check (suspension in ('banned', 'locked')),
    suspension_ends_at    timestamptz,
    suspension_told_at    timestamptz,
    created_at            timestamptz not null,
    updated_at            timestamptz not null,
    deleted_at            timestamptz,
    erasure_id            text unique,
    clerk_gone            boolean not null default false,
    constraint users_suspension_end_needs_suspension check (suspension_ends_at is null or suspension is not null)
);

comment on table users is 'Accounts: one row for each person who has signed in.';
comment on column users.mailbox_hash is
    'Keyed hash of the mailbox that the e-mail address leads to; see features/users/mailboxes.py.';
comment on column users.verified_phones is 'Numbers (E.164) that the person has proved to Clerk by a code.';
comment on column users.show_name_on_shares is 'Whether shared songs show the first word of the name.';
comment on column users.clerk_updated_at is
    'When the data at Clerk changed last, as of the newest event; older events are ignored.';
comment on column users.clerk_event_at is 'When Clerk sent that event: decides between events with equal clerk_updated_at.';
comment on column users.suspension_ends_at is 'When a lock ends by itself.';
comment on column users.suspension_told_at is 'Age of the report that suspension is from; older reports are ignored.';
comment on column users.deleted_at is 'When deletion was requested; tokens of the account are refused from then on.';
comment on column users.erasure_id is
    'Names the erasure in jobs, so that nothing outside of this row identifies the account.';
comment on column users.clerk_gone is 'Whether Clerk has confirmed that it no longer has the user.';

create index users_by_mailbox on users (mailbox_hash) where mailbox_hash is not null;
create index users_deleted on users (deleted_at) where deleted_at is not null;

-- Notifies the account's id and the Clerk id: a subscriber who has no account yet waits for the latter.
create function notify_live_users() returns trigger
    language plpgsql as
$$
begin
    perform notify_live(tg_table_name, owner)
    from (select id as owner from touched union select clerk_id from touched) as owners;
    return null;
end
$$;

select attach_live_trigger('users', 'notify_live_users');


create table tombstones (
    clerk_hash    bytea primary key,
    email_hash    bytea,
    deleted_at    timestamptz not null,
    period_start  timestamptz,
    period_end    timestamptz,
    used          integer not null default 0 check (used >= 0),
    talked        integer not null default 0 check (talked >= 0),
    constraint tombstones_used_has_period check (used = 0 or (period_start is not null and period_end is not null)),
    constraint tombstones_talked_has_period check (talked = 0 or (period_start is not null and period_end is not null))
);

comment on table tombstones is
    'What remains of a deleted account: keyed hashes that recognize late events and old tokens, and the usage of the '
    'current period, which continues in a new account of the same person.';
comment on column tombstones.used is 'Songs charged in the period and not continued yet.';
comment on column tombstones.talked is 'Seconds of calls in the same period.';

create index tombstones_by_email on tombstones (email_hash);
create index tombstones_by_time on tombstones (deleted_at);


-- Subscriptions, purchases and the ledger ----------------------------------------------------------------------------

create table subscriptions (
    id                  text primary key,
    user_id             text not null unique references users on delete cascade,
    tier                text not null default 'free' check (tier in ('free', 'weekly', 'monthly', 'yearly')),
    product_id          text not null default 'free-tier',
    status              text not null default 'active'
                        check (status in ('active', 'in_grace', 'canceled', 'expired')),
    platform            text,
    expires_at          timestamptz,
    grace_until         timestamptz,
    lines               jsonb not null default '{}',
    told                jsonb not null default '{}',
    verified_at         timestamptz,
    custom_music_limit  integer check (custom_music_limit >= 0),
    last_reset_at       timestamptz not null,
    counted_since       timestamptz,
    counted_until       timestamptz,
    counted_at          timestamptz,
    created_at          timestamptz not null,
    updated_at          timestamptz not null,
    constraint subscriptions_counted_together check (num_nulls(counted_since, counted_until, counted_at) in (0, 3))
);

comment on table subscriptions is
    'The plan of each account. tier, product_id, status, platform, expires_at and grace_until are as of updated_at; '
    'what holds now is computed from lines.';
comment on column subscriptions.lines is 'What was bought, by product; see features/subscriptions/.';
comment on column subscriptions.told is 'The events and answers of RevenueCat that lines was computed from.';
comment on column subscriptions.verified_at is
    'When RevenueCat was last asked about the customer; nothing else changes it.';
comment on column subscriptions.last_reset_at is 'Usage periods are counted from here, whole periods at a time.';
comment on column subscriptions.counted_since is
    'As of counted_at, charges from counted_since to counted_until make up the usage.';

-- The subscriptions that RevenueCat is asked about each night, the least recently verified first.
create index subscriptions_to_reconcile on subscriptions (coalesce(verified_at, '-infinity'), id)
    where lines <> '{}' or told <> '{}';


create table subscription_log (
    id           text primary key,
    user_id      text not null references users on delete cascade,
    event_type   text not null,
    event_id     text,
    tier         text not null,
    product_id   text not null,
    status       text not null,
    platform     text,
    expires_at   timestamptz,
    grace_until  timestamptz,
    recorded_at  timestamptz not null
);

comment on table subscription_log is 'Every change of a plan, with its cause.';
comment on column subscription_log.event_type is 'A RevenueCat event type, "reconciliation" or "account".';

create index subscription_log_by_user on subscription_log (user_id, recorded_at desc, id desc);
-- For retention. Rows of one time are stored together, so a few bytes for each 128 pages are enough.
create index subscription_log_by_time on subscription_log using brin (recorded_at);


create table revenuecat_ids (
    app_user_id  text primary key,
    user_id      text not null references users on delete cascade,
    created_at   timestamptz not null
);

comment on table revenuecat_ids is 'Further ids that RevenueCat has for the customer behind an account.';

create index revenuecat_ids_by_user on revenuecat_ids (user_id);


create table parked_customers (
    id            text primary key,
    app_user_ids  text[] not null check (cardinality(app_user_ids) > 0),
    lines         jsonb not null default '{}',
    told          jsonb not null default '{}',
    created_at    timestamptz not null,
    updated_at    timestamptz not null
);

comment on table parked_customers is
    'Customers of RevenueCat without an account yet, such as those who bought before they signed in.';
comment on column parked_customers.app_user_ids is
    'All ids of the customer; an account with one of them takes the row over.';

-- Without fastupdate: a pending list would be read, and contended for, by every lookup.
create index parked_customers_by_app_user_id on parked_customers using gin (app_user_ids) with (fastupdate = off);
create index parked_customers_by_time on parked_customers (updated_at);


create table reconciliation_runs (
    only_one     boolean primary key default true check (only_one),
    started_at   timestamptz not null,
    moved_at     timestamptz not null,
    finished_at  timestamptz
);

comment on table reconciliation_runs is 'The latest reconciliation with RevenueCat, in its only row.';
comment on column reconciliation_runs.started_at is 'Identifies the run: a page of another run does nothing.';


create table usage_charges (
    id          text primary key,
    user_id     text not null references users on delete cascade,
    held        boolean not null default true,
    charged_at  timestamptz not null
);

comment on table usage_charges is
    'The ledger of songs: one row for each charge. Usage is the charges of the current period without a refund.';
comment on column usage_charges.held is
    'Whether a song holds the charge; any other can be given back without naming it.';

create index usage_charges_by_user on usage_charges (user_id, charged_at);
create index usage_charges_by_time on usage_charges using brin (charged_at);


create table usage_refunds (
    -- The primary key makes a refund idempotent.
    charge_id    text primary key references usage_charges on delete cascade,
    reason       text not null,
    refunded_at  timestamptz not null
);

comment on table usage_refunds is 'Charges that were given back, each at most once.';

-- A refund has the owner of its charge.
create function notify_live_refunds() returns trigger
    language plpgsql as
$$
begin
    perform notify_live(tg_table_name, user_id)
    from (select distinct c.user_id from touched join usage_charges c on c.id = touched.charge_id) as owners;
    return null;
end
$$;

select attach_live_trigger('usage_refunds', 'notify_live_refunds');


create table mailbox_usage (
    charge_id     text primary key,
    mailbox_hash  bytea not null,
    account_hash  bytea,
    charged_at    timestamptz not null
);

comment on table mailbox_usage is
    'Free songs by mailbox, over all its accounts. A row outlives its account, so it has no reference to one.';
comment on column mailbox_usage.account_hash is 'tombstones.clerk_hash of the account, once that is deleted.';

create index mailbox_usage_by_mailbox on mailbox_usage (mailbox_hash, charged_at);
create index mailbox_usage_by_account on mailbox_usage (account_hash) where account_hash is not null;
create index mailbox_usage_by_time on mailbox_usage (charged_at);

-- What one account uses of a free plan changes what all accounts of its mailbox have left.
create function notify_live_mailboxes() returns trigger
    language plpgsql as
$$
begin
    perform notify_live(tg_table_name, u.id)
    from (select distinct mailbox_hash from touched) as mailboxes join users u using (mailbox_hash)
    where u.deleted_at is null;
    return null;
end
$$;

select attach_live_trigger('mailbox_usage', 'notify_live_mailboxes');


-- Diaries ------------------------------------------------------------------------------------------------------------

create table diaries (
    id                text primary key,
    user_id           text not null references users on delete cascade,
    title             text,
    content           text not null check (length(content) between 1 and 50000),
    date              timestamptz not null,
    version           integer not null default 1,
    primary_music_id  text,
    call_session_id   text unique,
    created_at        timestamptz not null,
    updated_at        timestamptz not null
);

comment on table diaries is 'Diary entries, written or told in a call.';
comment on column diaries.primary_music_id is 'The song of the entry; chosen by features/music/generations.py.';
comment on column diaries.call_session_id is
    'The call that the entry was told in. Unique: one call makes one entry, however often its report arrives.';

create index diaries_by_user on diaries (user_id, date desc, id desc);
create index diaries_by_primary_music on diaries (primary_music_id);


-- Music and generations ----------------------------------------------------------------------------------------------

create table generations (
    id               text primary key,
    user_id          text not null references users on delete cascade,
    diary_id         text not null references diaries on delete cascade,
    charge_id        text not null unique references usage_charges on delete cascade,
    status           text not null
                     check (status in ('queued', 'writing', 'composing', 'ready', 'failed', 'canceled')),
    style_hint       text,
    callback_secret  text not null,
    lyric            text,
    mood             text,
    style            text,
    title            text,
    asked_at         timestamptz,
    task_id          text unique,
    composing_since  timestamptz,
    next_poll_at     timestamptz,
    polls            integer not null default 0 check (polls >= 0),
    failure_code     text,
    failure_reason   text,
    created_at       timestamptz not null,
    updated_at       timestamptz not null,
    constraint generations_composed_was_asked check (status not in ('composing', 'ready') or asked_at is not null),
    constraint generations_failed_has_code check ((status = 'failed') = (failure_code is not null))
);

comment on table generations is
    'Attempts to make a song of an entry. features/music/rules.py has the allowed steps of status.';
comment on column generations.callback_secret is
    'Part of the callback URL that Suno is given: authenticates its callbacks.';
comment on column generations.asked_at is
    'Set before Suno is asked, cleared when it certainly refused: a lost answer must not buy a second song.';
comment on column generations.task_id is 'The task at Suno.';

-- At most one song in progress for an entry, whatever is requested concurrently.
create unique index generations_one_live on generations (diary_id) where status in ('queued', 'writing', 'composing');
create index generations_by_diary on generations (diary_id);
create index generations_by_user on generations (user_id);
create index generations_live on generations (updated_at) where status in ('queued', 'writing', 'composing');


create table files (
    id            text primary key,
    user_id       text not null references users on delete cascade,
    content_type  text not null,
    size          bigint not null check (size > 0),
    created_at    timestamptz not null
);

comment on table files is 'Objects in our file storage: copies of audio and covers.';

create index files_by_user on files (user_id);


create table music (
    id               text primary key,
    user_id          text not null references users on delete cascade,
    diary_id         text references diaries on delete cascade,
    generation_id    text not null references generations on delete cascade,
    music_index      integer not null check (music_index >= 0),
    status           text not null check (status in ('pending', 'ready', 'failed')),
    failure_reason   text,
    title            text,
    lyric            text,
    lyric_with_time  jsonb,
    duration         double precision,
    audio_id         text,
    audio_url        text,
    stream_url       text,
    image_url        text,
    audio_file_id    text references files on delete set null,
    image_file_id    text references files on delete set null,
    image_width      integer check (image_width > 0),
    image_height     integer check (image_height > 0),
    metadata         jsonb,
    created_at       timestamptz not null,
    updated_at       timestamptz not null,
    deleted_at       timestamptz,
    unique (generation_id, music_index),
    constraint music_reason_needs_failure check (failure_reason is null or status = 'failed')
);

comment on table music is 'Tracks: two for each generation, from the transaction that charges it.';
comment on column music.music_index is 'Place among the tracks of the generation; 0 is the one that playlists show.';
comment on column music.failure_reason is 'Why the track failed, shown to its owner.';
comment on column music.audio_id is 'The track at Suno.';
comment on column music.audio_url is
    'The vendor''s URLs (audio_url, stream_url, image_url) expire after about 15 days; served until our copies exist.';
comment on column music.image_width is 'Size of our copy of the cover in pixels, for previews of shared songs.';

create index music_by_user on music (user_id);
create index music_playlist on music (user_id, created_at desc, id desc) where music_index = 0 and deleted_at is null;
create index music_by_diary on music (diary_id);
create index music_by_audio_file on music (audio_file_id);
create index music_by_image_file on music (image_file_id);

-- The two tables refer to each other.
alter table diaries
    add constraint diaries_primary_music_id_fkey foreign key (primary_music_id) references music on delete set null;


-- Sharing ------------------------------------------------------------------------------------------------------------

create table shared_music (
    id          text primary key,
    share_id    text not null unique check (share_id ~ '^[2-9A-HJ-NP-Za-km-z]{10}$'),
    user_id     text not null references users on delete cascade,
    music_id    text not null unique references music on delete cascade,
    is_private  boolean not null default false,
    created_at  timestamptz not null,
    updated_at  timestamptz not null
);

comment on table shared_music is 'Share links, one for each shared track: sharing again returns the same link.';
comment on column shared_music.share_id is 'The id in the link, without characters that are easily confused.';

create index shared_music_by_user on shared_music (user_id);

-- Notifies the owner and the id in the link: a viewer who waits for a link to open knows only the latter.
create function notify_live_shares() returns trigger
    language plpgsql as
$$
begin
    perform notify_live(tg_table_name, owner)
    from (select user_id as owner from touched union select share_id from touched) as owners;
    return null;
end
$$;

select attach_live_trigger('shared_music', 'notify_live_shares');


create table share_viewers (
    share_row_id  text not null references shared_music on delete cascade,
    user_id       text not null references users on delete cascade,
    day           date not null,
    viewer        bytea not null,
    primary key (share_row_id, day, viewer)
);

comment on table share_viewers is
    'Views of a share on the days not tallied yet: one row for each viewer, so that none waits for another.';
comment on column share_viewers.user_id is 'The owner of the share, not the viewer.';
comment on column share_viewers.viewer is 'Keyed hash of the viewer, different for each share and day.';

create index share_viewers_by_user on share_viewers (user_id);
create index share_viewers_by_day on share_viewers (day);


create table share_views (
    share_row_id  text primary key references shared_music on delete cascade,
    user_id       text not null references users on delete cascade,
    views         bigint not null check (views >= 0)
);

comment on table share_views is 'Number of views of a share on the days that are tallied, whose viewers are forgotten.';
comment on column share_views.user_id is 'The owner of the share.';

create index share_views_by_user on share_views (user_id);


-- Phone calls --------------------------------------------------------------------------------------------------------

create table call_settings (
    id                  text primary key,
    user_id             text not null unique references users on delete cascade,
    phone_e164          text not null check (phone_e164 ~ '^\+[1-9][0-9]{1,14}$'),
    -- Some networks write Mexico's old 1 and Argentina's 9, others do not; the same as key_of in
    -- features/phone_calls/numbers/numbers.py.
    number_key          text not null generated always as
        (regexp_replace(regexp_replace(phone_e164, '^\+521(?=[0-9]{10}$)', '+52'), '^\+54(?=[0-8])', '+549')) stored,
    timezone            text not null,
    local_minutes       smallint not null check (local_minutes between 0 and 1439),
    cadence             text not null check (cadence in ('daily', 'weekdays', 'weekends', 'custom')),
    byday_mask          smallint not null check (byday_mask between 1 and 127),
    language            text not null default 'en',
    active              boolean not null,
    consent             text not null default 'unknown' check (consent in ('unknown', 'granted', 'refused')),
    consent_at          timestamptz,
    consent_session_id  text,
    paused_reason       text,
    lost_at             timestamptz,
    next_run_at         timestamptz,
    created_at          timestamptz not null,
    updated_at          timestamptz not null,
    constraint call_settings_next_run_is_allowed check (
        next_run_at is null or (active and paused_reason is null and lost_at is null and consent <> 'refused')),
    constraint call_settings_consent_has_time check ((consent = 'unknown') = (consent_at is null))
);

comment on table call_settings is 'When an account is called, on which number, and whether its person has agreed.';
comment on column call_settings.number_key is 'The number as it is compared with others.';
comment on column call_settings.local_minutes is 'Time of day of the call in timezone, in minutes since midnight.';
comment on column call_settings.byday_mask is 'Days of the week; bit 0 is Sunday.';
comment on column call_settings.consent is 'Whether the person on the number has agreed to be called.';
comment on column call_settings.consent_session_id is
    'The call in which they did; null when Clerk had verified the number.';
comment on column call_settings.paused_reason is
    'Why no calls are made although active; see features/phone_calls/rules.py.';
comment on column call_settings.lost_at is 'When another account proved that the number is theirs.';
comment on column call_settings.next_run_at is 'When the next call is due; null when none is.';

-- Several accounts may name a number; it belongs to the one that has proved it.
create unique index call_settings_proved on call_settings (number_key) where consent = 'granted' and lost_at is null;
create index call_settings_due on call_settings (next_run_at, id) where next_run_at is not null;


create table call_jobs (
    id              text primary key,
    user_id         text not null references users on delete cascade,
    settings_id     text not null references call_settings on delete cascade,
    kind            text not null default 'scheduled' check (kind in ('scheduled', 'test')),
    scheduled_for   timestamptz not null,
    status          text not null default 'queued'
                    check (status in ('queued', 'scheduled', 'started', 'completed', 'failed', 'canceled')),
    attempts        smallint not null default 0 check (attempts >= 0),
    not_before      timestamptz,
    asked_at        timestamptz,
    number_hash     bytea,
    with_consent    boolean,
    vapi_call_id    text unique,
    not_rung_at     timestamptz,
    hung_up_at      timestamptz,
    reported_at     timestamptz,
    error_code      text,
    error_message   text,
    created_at      timestamptz not null,
    updated_at      timestamptz not null,
    ended_at        timestamptz,
    constraint call_jobs_one_for_each_occurrence unique (settings_id, scheduled_for, kind),
    constraint call_jobs_asked_together check (num_nulls(asked_at, number_hash, with_consent) in (0, 3)),
    constraint call_jobs_placed_was_asked check (status not in ('scheduled', 'started') or asked_at is not null),
    constraint call_jobs_final_has_end check ((status in ('completed', 'failed', 'canceled')) = (ended_at is not null)),
    constraint call_jobs_failed_has_code check ((status in ('failed', 'canceled')) = (error_code is not null))
);

comment on table call_jobs is
    'Calls that we make, one for each due occurrence. features/phone_calls/rules.py has the allowed steps of status.';
comment on column call_jobs.not_before is 'Earliest next attempt, after a refusal that may pass.';
comment on column call_jobs.asked_at is
    'Set before VAPI is asked, cleared when it certainly refused: a lost answer must not ring twice.';
comment on column call_jobs.number_hash is 'phone_numbers.number_hash of the number that VAPI was asked to call.';
comment on column call_jobs.with_consent is 'Whether the person had agreed at asked_at.';
comment on column call_jobs.not_rung_at is 'When the order failed before a phone rang: no attempt at the number.';
comment on column call_jobs.hung_up_at is 'When the call was over and its line free; the report may come later.';
comment on column call_jobs.reported_at is 'When the report came, or was given up.';

create index call_jobs_by_user on call_jobs (user_id, scheduled_for desc, id desc);
create index call_jobs_waiting on call_jobs (scheduled_for, id) where status = 'queued' and asked_at is null;
create index call_jobs_on_a_line on call_jobs (asked_at)
    where asked_at is not null and hung_up_at is null and ended_at is null;
create index call_jobs_unreported on call_jobs (asked_at) where asked_at is not null and reported_at is null;
create index call_jobs_by_end on call_jobs using brin (ended_at);


-- Two tables that are only locked, since what they guard is counted over many rows.
create table call_lines ();
create table call_plans ();

comment on table call_lines is 'Never has rows: the transaction that holds its lock may take a line.';
comment on table call_plans is 'Never has rows: the transaction that holds its lock may plan calls.';


create table call_days (
    day    date primary key,
    dials  integer not null check (dials >= 0)
);

comment on table call_days is 'Number of calls made on a day (UTC), over all accounts, deleted ones included.';


create table call_minutes (
    id            text primary key,
    user_id       text not null references users on delete cascade,
    call_job_id   text unique references call_jobs on delete set null,
    vapi_call_id  text unique,
    reserved_at   timestamptz not null,
    seconds       integer not null check (seconds >= 0),
    settled_at    timestamptz,
    reported      boolean not null default false,
    constraint call_minutes_reported_is_settled check (settled_at is not null or not reported)
);

comment on table call_minutes is
    'The ledger of talk: reserved before a call is made or answered, settled by its report. Each call counts once.';
comment on column call_minutes.call_job_id is 'The job of a call that we made.';
comment on column call_minutes.vapi_call_id is 'VAPI''s id of a call that we answered.';
comment on column call_minutes.seconds is 'What counts in the period: what is reserved, then what was talked.';
comment on column call_minutes.reported is
    'Whether the report has settled it; a late one corrects what was settled without.';

create index call_minutes_by_user on call_minutes (user_id, reserved_at);
create index call_minutes_unsettled on call_minutes (reserved_at) where settled_at is null;


create table mailbox_minutes (
    id               text primary key,
    call_minutes_id  text not null,
    mailbox_hash     bytea not null,
    account_hash     bytea,
    reserved_at      timestamptz not null,
    seconds          integer not null check (seconds >= 0)
);

comment on table mailbox_minutes is
    'Free talk by mailbox, over all its accounts. A row outlives its account, so it has no reference to one.';
comment on column mailbox_minutes.id is 'call_minutes.id of the call that reserved it.';
comment on column mailbox_minutes.call_minutes_id is
    'The row of call_minutes that counts it for its account; several share the one that a later account took over.';
comment on column mailbox_minutes.account_hash is 'tombstones.clerk_hash of the account, once that is deleted.';

create index mailbox_minutes_by_mailbox on mailbox_minutes (mailbox_hash, reserved_at);
create index mailbox_minutes_by_call on mailbox_minutes (call_minutes_id);
create index mailbox_minutes_by_account on mailbox_minutes (account_hash) where account_hash is not null;
create index mailbox_minutes_by_time on mailbox_minutes (reserved_at);

select attach_live_trigger('mailbox_minutes', 'notify_live_mailboxes');


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
    words_deleted_at    timestamptz,
    reported_at         timestamptz,
    outcome             text,
    diary_id            text references diaries on delete set null,
    created_at          timestamptz not null,
    updated_at          timestamptz not null
);

comment on table call_sessions is
    'Calls as they took place. Words are stored only of a call whose person has agreed.';
comment on column call_sessions.words_deleted_at is
    'When the user deleted the words; a later report is stored without.';
comment on column call_sessions.reported_at is 'When the report came.';
comment on column call_sessions.outcome is 'What the report led to: `diary`, or why there is no entry.';

create index call_sessions_by_user on call_sessions (user_id, created_at desc, id desc);
create index call_sessions_by_job on call_sessions (call_job_id);
create index call_sessions_by_diary on call_sessions (diary_id);
create index call_sessions_unreported on call_sessions (created_at) where reported_at is null;


create table phone_numbers (
    number_hash   bytea primary key,
    refused_at    timestamptz,
    tries         smallint not null default 0 check (tries >= 0),
    last_try_at   timestamptz,
    last_try_on   date,
    dialled_on    date,
    dials         smallint not null default 0 check (dials >= 0),
    updated_at    timestamptz not null
);

comment on table phone_numbers is
    'What is known of a number, by a keyed hash, whichever accounts name it; outlives them.';
comment on column phone_numbers.refused_at is 'When the person on it refused calls, of any account.';
comment on column phone_numbers.tries is 'Calls without consent since the last consent.';
comment on column phone_numbers.last_try_on is 'Date of the last such call in the number''s time zone.';
comment on column phone_numbers.dials is 'Calls to the number on dialled_on (UTC).';


-- Webhooks inbox -----------------------------------------------------------------------------------------------------

create table webhook_events (
    id           text primary key,
    vendor       text not null,
    event_id     text not null,
    type         text not null,
    subject      text,
    about        text[] not null default '{}',
    body         text not null,
    handler      text,
    replays      integer not null default 0 check (replays >= 0),
    received_at  timestamptz not null,
    handled_at   timestamptz,
    outcome      text,
    unique (vendor, event_id),
    constraint webhook_events_outcome_is_handled check (outcome is null or handled_at is not null)
);

comment on table webhook_events is 'Events of vendors, stored before they are handled, each once.';
comment on column webhook_events.event_id is
    'Dedupe key: the same for a repetition of the event, and for nothing else.';
comment on column webhook_events.subject is 'What the event is about on our side, where the URL says so.';
comment on column webhook_events.about is
    'Ids, ours and the vendor''s, of what the event mentions: it is erased with the first of them.';
comment on column webhook_events.handler is 'The function that handles it; null when there is nothing to do.';
comment on column webhook_events.replays is 'How often handling was requested again; part of the key of its job.';

-- Without fastupdate: a pending list would be read, and contended for, by every erasure.
create index webhook_events_by_about on webhook_events using gin (about) with (fastupdate = off);
create index webhook_events_by_time on webhook_events (received_at);
create index webhook_events_open on webhook_events (received_at) where handled_at is null;
create index webhook_events_handled on webhook_events (handled_at) where handled_at is not null;


-- Jobs ---------------------------------------------------------------------------------------------------------------

create table jobs (
    id           text primary key,
    ticket       text not null,
    function     text not null,
    args         jsonb not null,
    account      text,
    status       text not null default 'queued' check (status in ('queued', 'running', 'done', 'dead')),
    due_at       timestamptz not null,
    unique_key   text unique,
    request_id   text not null default '',
    starts       integer not null default 0 check (starts >= 0),
    failures     integer not null default 0 check (failures >= 0),
    deferrals    integer not null default 0 check (deferrals >= 0),
    started_at   timestamptz,
    finished_at  timestamptz,
    last_error   text,
    constraint jobs_final_has_end check ((status in ('done', 'dead')) = (finished_at is not null))
);

comment on table jobs is 'Functions to be run once due, and those that were.';
comment on column jobs.ticket is 'Changed by each claim: a queue row with an older ticket is dropped.';
comment on column jobs.account is 'Keyed hash of the account it runs for: of one account only some run at a time.';
comment on column jobs.unique_key is 'Dedupe key: of several jobs with one key only the first exists.';
comment on column jobs.request_id is 'The request that scheduled it, for log lines.';
comment on column jobs.starts is 'Starts since the last outcome; many when the job kills its worker.';
comment on column jobs.deferrals is 'How often it was put back because a line was too long; these are no failures.';

create index jobs_open on jobs (due_at, id) where status in ('queued', 'running');
create index jobs_running_of_account on jobs (account) where status = 'running' and account is not null;
create index jobs_finished on jobs (finished_at) where status = 'done';
create index jobs_dead on jobs (finished_at) where status = 'dead';

-- Claim a job and return it; nothing if its ticket is old or its account has `most_of_account` jobs running. In one round
-- trip: the statements of a function see what committed before each of them, so the count is made under the lock.
create function claim_job(job_id text, job_ticket text, claimed_at timestamptz, most_of_account integer)
    returns setof jobs
    language plpgsql as
$$
begin
    -- Serializes the claims of one account, since concurrent ones would not count each other.
    perform pg_advisory_xact_lock(hashtextextended('jobs of ' || j.account, 0)) from jobs j
    where j.id = job_id and j.ticket = job_ticket and j.status = 'queued' and j.account is not null;
    return query
        update jobs j set status = 'running', starts = j.starts + 1, started_at = claimed_at
        where j.id = job_id and j.ticket = job_ticket and j.status in ('queued', 'running')
              and (j.account is null or j.status = 'running' or most_of_account > (
                  select count(*) from jobs r where r.account = j.account and r.status = 'running'))
        returning j.*;
end
$$;

-- All texts in the arguments of a job: erasure finds by them the jobs that mention a row.
create function mentioned(args jsonb) returns jsonb
    language sql immutable strict parallel safe
    return jsonb_path_query_array(args, '$.** ? (@.type() == "string")');

create index jobs_by_mention on jobs using gin (mentioned(args)) with (fastupdate = off);


-- Limits, costs and budgets ------------------------------------------------------------------------------------------

-- Unlogged: after a crash of the server all rates begin anew, which is cheaper than a write-ahead log.
create unlogged table rate_limits (
    name         text not null,
    key          text not null default '',
    next_at      timestamptz not null,
    held_until   timestamptz not null default 'epoch',
    overflow_at  timestamptz not null default 'epoch',
    primary key (name, key)
) with (fillfactor = 50);

comment on table rate_limits is 'State of the rate limits: requests to a vendor, or of an account or address.';
comment on column rate_limits.key is 'Empty for a vendor; else a keyed hash of the account or address.';
comment on column rate_limits.next_at is
    'Theoretical arrival time (GCRA): when the requests so far are paid for by time passed.';
comment on column rate_limits.held_until is 'End of a pause that the vendor asked for.';
comment on column rate_limits.overflow_at is 'Until then, jobs for which the line was too long return one by one.';


create table vendor_costs (
    id         bigint generated always as identity primary key,
    at         timestamptz not null,
    vendor     text not null,
    function   text not null,
    account    text,
    amount     bigint not null check (amount >= 0),
    estimated  boolean not null default false,
    reference  text not null,
    unique (vendor, reference)
);

comment on table vendor_costs is 'What vendors have cost. Outlives the account, so it has only keyed hashes.';
comment on column vendor_costs.account is 'Keyed hash of the account it was paid for.';
comment on column vendor_costs.amount is 'Micro-dollars, as in all tables of budgets.';
comment on column vendor_costs.estimated is
    'Whether the amount is an estimate, for a call without a report; a late report corrects it once.';
comment on column vendor_costs.reference is 'Keyed hash of what was paid for: the same again is one cost.';

create index vendor_costs_by_time on vendor_costs (at);
create index vendor_costs_by_account on vendor_costs (account, at);


create table budget_reservations (
    reference   text not null,
    vendor      text not null,
    account     text,
    day         date not null,
    amount      bigint not null check (amount >= 0),
    expires_at  timestamptz not null,
    primary key (reference, vendor)
);

comment on table budget_reservations is 'What is allowed and not paid yet, for each vendor.';
comment on column budget_reservations.account is 'Keyed hash of the account it was reserved for.';
comment on column budget_reservations.expires_at is 'When it no longer counts, since it will not be paid.';

create index budget_reservations_by_account on budget_reservations (account, day);
create index budget_reservations_by_day on budget_reservations (day, expires_at);


create table budget_days (
    day        date not null,
    vendor     text not null,
    amount     bigint not null default 0,
    warned     boolean not null default false,
    primary key (day, vendor)
) with (fillfactor = 50);

comment on table budget_days is
    'Costs and reservations of a day (UTC) by vendor, and in all; see kernel/limits/budgets.py.';
comment on column budget_days.warned is 'Whether the alarm of the day was raised.';


-- Answered mutations -------------------------------------------------------------------------------------------------

create table answered_mutations (
    session_id   uuid not null,
    request_id   bigint not null,
    caller       bytea not null,
    user_id      text references users on delete cascade,
    result       text not null,
    log_lines    text[],
    ts           bigint not null check (ts > 0),
    answered_at  timestamptz not null,
    primary key (session_id, request_id)
);

comment on table answered_mutations is
    'Responses to mutations on sockets, for clients that ask again since they do not know whether the request arrived.';
comment on column answered_mutations.session_id is 'Chosen by the client, as is request_id.';
comment on column answered_mutations.caller is 'Keyed hash of the caller: only this caller gets the response.';
comment on column answered_mutations.user_id is
    'The account of the caller, if any: the response may quote it, and is erased with it.';
comment on column answered_mutations.ts is 'The timestamp of the commit, as the client was given it.';

create index answered_mutations_by_user on answered_mutations (user_id);
create index answered_mutations_by_time on answered_mutations using brin (answered_at);


select attach_live_triggers();
