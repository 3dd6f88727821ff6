-- Rates that hold over all processes, and what lanes of the worker need to know of a job.

-- One row for each limit and whom it holds for: requests to a vendor, or those of an account or an address. Not worth a
-- write-ahead log: after a crash of the server all begin anew.
create unlogged table rate_limits (
    name         text not null,
    -- Empty for a vendor; else a keyed hash, which tells nobody who it is.
    key          text not null default '',
    -- GCRA's theoretical arrival time: when all that was allowed so far has been paid for by time passed.
    next_at      timestamptz not null,
    -- A vendor has asked for a pause until then.
    held_until   timestamptz not null default 'epoch',
    -- Jobs for which the line was too long come back one by one until then.
    overflow_at  timestamptz not null default 'epoch',
    primary key (name, key)
) with (fillfactor = 50);

alter table jobs
    -- Whose job it is, as a keyed hash: of one account only some run at a time.
    add column account text,
    -- How often it was put back because a line was too long; no failures.
    add column deferrals integer not null default 0;

-- Only jobs that run are counted.
create index jobs_running_of_account on jobs (account) where status = 'running' and account is not null;
