-- What operators list newest first, over all accounts ------------------------------------------------------------------

create index generations_by_creation on generations (created_at desc, id desc);
create index users_by_creation on users (created_at desc);

-- Not b-trees: a user's own calls would be looked for in them.
create index call_sessions_by_creation on call_sessions using brin (created_at);
create index call_jobs_by_time on call_jobs using brin (scheduled_for);
