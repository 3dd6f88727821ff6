-- What is forgotten after a while, and how it is found; transport/retention.py says when.

-- Two weeks of answers are kept, so each is small: ids as what they are, no empty list, and indexes that fit.
drop index answered_mutations_by_time;

alter table answered_mutations
    alter column session_id type uuid using session_id::uuid,
    alter column caller type bytea using substring(caller from 1 for 16),
    alter column log_lines drop default,
    alter column log_lines drop not null;

update answered_mutations set log_lines = null where log_lines = '{}';

-- Rows of one time lie together: a few bytes for each 128 pages.
create index answered_mutations_by_time on answered_mutations using brin (answered_at);
create index subscription_log_by_time on subscription_log using brin (recorded_at);
create index call_jobs_by_end on call_jobs using brin (ended_at);
create index usage_charges_by_time on usage_charges using brin (charged_at);

create index jobs_dead on jobs (finished_at) where status = 'dead';
