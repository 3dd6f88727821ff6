-- Deleting an account for good; what Clerk tells of people; an inbox whose events can be listed, replayed and forgotten.

alter table users
    -- When Clerk last changed what it told us of this person, and when it said so: older news change nothing.
    add column told_at      timestamptz,
    add column told_in      timestamptz,
    -- Names the erasure of a deleted account in jobs, so that nothing outside of this row tells whose it is.
    add column erasure_id   text unique,
    -- Clerk knows the person no more, by its own account.
    add column clerk_gone   boolean not null default false;

create index users_deleted on users (deleted_at) where deleted_at is not null;


-- What is left of a deleted account: keyed hashes, from which nobody without the key can find the person.
-- A late event or an old token of the account is recognised by them; and usage of a period that is not over yet is
-- kept here until the same person opens another account, which goes on with it.
create table tombstones (
    clerk_hash    bytea primary key,
    email_hash    bytea,
    deleted_at    timestamptz not null,
    used          integer not null default 0 check (used >= 0),
    period_start  timestamptz,
    period_end    timestamptz,
    check (used = 0 or (period_start is not null and period_end is not null))
);

create index tombstones_by_email on tombstones (email_hash);
create index tombstones_by_time on tombstones (deleted_at);


alter table webhook_events
    -- The function that handles it; none for an event that only had to be noted.
    add column handler  text,
    -- How often it was given to its handler anew; part of the key of the job that does.
    add column replays  integer not null default 0,
    -- Ids, ours and the vendor's, of whom and what it is about: it is erased along with the first of them.
    add column about    text[] not null default '{}';

update webhook_events set handler = 'webhooks:handleSunoEvent' where vendor = 'suno';
update webhook_events set about = array[subject] where subject is not null;

-- Entries go into the index at once: a list of pending ones would be read, and so contended for, by every erasure.
create index webhook_events_about on webhook_events using gin (about) with (fastupdate = off);
create index webhook_events_open on webhook_events (received_at) where handled_at is null;
create index webhook_events_handled on webhook_events (handled_at) where handled_at is not null;


-- Every text in a job's arguments, to find the jobs that are about something.
create function mentioned(args jsonb) returns jsonb
    language sql immutable strict parallel safe
    return jsonb_path_query_array(args, '$.** ? (@.type() == "string")');

create index jobs_by_mention on jobs using gin (mentioned(args)) with (fastupdate = off);
