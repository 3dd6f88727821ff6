-- Indexes without columns that most updates change --------------------------------------------------------------------
--
-- An update that changes no column of an index, nor of an index's condition, writes to no index (HOT), if the new version
-- of the row finds room on its page. The release before runs on; until it is replaced, it looks for jobs by reading all.

-- An ended job has finished_at (jobs_final_has_end), so the start of a job changes nothing here.
create index if not exists jobs_unfinished on jobs (due_at, id) where finished_at is null;
create index if not exists jobs_unfinished_of_account on jobs (account)
    where finished_at is null and account is not null;
create index if not exists jobs_ended on jobs (finished_at) where finished_at is not null;
-- Dead jobs have an error, and those that are retried; one that is done has none.
create index if not exists jobs_with_error on jobs (finished_at) where last_error is not null;
update jobs set last_error = 'unknown' where status = 'dead' and last_error is null;
drop index if exists jobs_open, jobs_running_of_account, jobs_finished, jobs_dead;
alter table jobs set (fillfactor = 75);

create or replace function claim_job(job_id text, job_ticket text, claimed_at timestamptz, most_of_account integer)
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
                  select count(*) from jobs r
                  where r.account = j.account and r.finished_at is null and r.status = 'running'))
        returning j.*;
end
$$;

-- Looked up by age since creation; updated_at changes with every update.
create index if not exists generations_in_progress on generations (created_at)
    where status in ('queued', 'writing', 'composing');
drop index if exists generations_live;

-- Songs are updated six times until they are ready, their tracks seven times each, and grow with it.
alter table generations set (fillfactor = 50);
alter table music set (fillfactor = 50);
