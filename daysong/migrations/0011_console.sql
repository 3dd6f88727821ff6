-- What operators did ----------------------------------------------------------------------------------------------------

create table audit_log (
    id       bigint generated always as identity primary key,
    at       timestamptz not null,
    who      text not null check (length(who) between 1 and 100),
    action   text not null check (length(action) between 1 and 100),
    account  text,
    target   text check (length(target) <= 200),
    reason   text check (length(reason) between 1 and 500),
    outcome  text not null check (length(outcome) between 1 and 100),
    details  jsonb not null default '{}'
);

comment on table audit_log is
    'What operators did and looked at. Rows are only added: a trigger refuses to change or delete them. A row outlives '
    'the account, so it has only a keyed hash of it.';
comment on column audit_log.who is 'The command line, the admin key, or a session of the console by its fingerprint.';
comment on column audit_log.account is 'Keyed hash of the account, as in vendor_costs.';
comment on column audit_log.target is 'The id of the song, call, job, event, flag or post.';
comment on column audit_log.details is 'Numbers that the action was given.';

create index audit_log_by_account on audit_log (account, id) where account is not null;
create index audit_log_by_target on audit_log (target, id) where target is not null;

create function refuse_change() returns trigger
    language plpgsql as
$$
begin
    raise exception 'rows of % are not changed or deleted', tg_table_name using errcode = 'insufficient_privilege';
end
$$;

create trigger audit_log_is_final before update or delete on audit_log
    for each row execute function refuse_change();
create trigger audit_log_is_kept before truncate on audit_log
    for each statement execute function refuse_change();


create table console_sessions (
    token_hash   bytea primary key,
    fingerprint  text not null,
    created_at   timestamptz not null,
    expires_at   timestamptz not null
);

comment on table console_sessions is 'Operators who are signed in at /console.';
comment on column console_sessions.token_hash is
    'Hash of the cookie under the admin key: with another key, no session is valid.';
comment on column console_sessions.fingerprint is 'Names the session in audit_log.';


-- Songs that an operator gave -------------------------------------------------------------------------------------------

create table usage_grants (
    id          text primary key,
    user_id     text not null references users on delete cascade,
    amount      integer not null check (amount between 1 and 1000),
    granted_at  timestamptz not null
);

comment on table usage_grants is 'Songs that an operator gave to an account: they raise the limit of their period.';

create index usage_grants_by_user on usage_grants (user_id, granted_at);

select attach_live_triggers();


-- Accounts that an operator has blocked ---------------------------------------------------------------------------------

alter table users
    drop constraint users_suspension_check,
    add constraint users_suspension_check check (suspension in ('banned', 'locked', 'blocked')) not valid,
    add column suspension_at_clerk text check (suspension_at_clerk in ('banned', 'locked')),
    add column suspension_at_clerk_ends_at timestamptz;

comment on column users.suspension is 'Banned or locked at Clerk, or blocked by an operator.';
comment on column users.suspension_at_clerk is
    'What Clerk says of an account that an operator has blocked; it holds again when the block ends.';
