-- Accounts of one mailbox share its free songs; a reconciliation of subscriptions runs one chain of pages at a time.

alter table users
    -- A keyed hash of the mailbox the e-mail address leads to; see features/users/mailboxes.py.
    add column mailbox_hash bytea;

create index users_by_mailbox on users (mailbox_hash) where mailbox_hash is not null;


-- Free songs of a mailbox, whichever of its accounts were charged. A row outlives its account, so it refers to none.
create table mailbox_usage (
    charge_id     text primary key,
    mailbox_hash  bytea not null,
    -- Once the account is deleted: its `tombstones.clerk_hash`.
    account_hash  bytea,
    charged_at    timestamptz not null
);

create index mailbox_usage_by_mailbox on mailbox_usage (mailbox_hash, charged_at);
create index mailbox_usage_by_account on mailbox_usage (account_hash) where account_hash is not null;
create index mailbox_usage_by_time on mailbox_usage (charged_at);


-- A song of one account changes what the others of its mailbox have left.
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


-- The latest reconciliation. Its moment is its identity: a page of another one does nothing.
create table reconciliation_runs (
    only_one     boolean primary key default true check (only_one),
    started_at   timestamptz not null,
    moved_at     timestamptz not null,
    finished_at  timestamptz
);

-- Subscriptions that RevenueCat is asked about each night: something was bought or told. Verified longest ago first.
create index subscriptions_to_reconcile on subscriptions (coalesce(verified_at, '-infinity'), id)
    where lines <> '{}' or told <> '{}';
drop index subscriptions_by_verification;
