-- What people bought, how we know, and since when their usage counts.

alter table subscriptions
    -- `tier`, `product_id`, `status` and these say how it stood at `updated_at`; what counts now is worked out from `lines`.
    add column platform       text,
    add column expires_at     timestamptz,
    add column grace_until    timestamptz,
    -- What was bought, and what it was worked out from: see features/subscriptions/holdings.py.
    add column lines          jsonb not null default '{}',
    add column told           jsonb not null default '{}',
    -- When RevenueCat was asked last about this person. Nothing else changes it.
    add column verified_at    timestamptz,
    -- As of counted_at, charges since counted_since counted, until counted_until.
    add column counted_since  timestamptz,
    add column counted_until  timestamptz,
    add column counted_at     timestamptz,
    add check (num_nulls(counted_since, counted_until, counted_at) in (0, 3));

-- Whom to ask RevenueCat about next: whoever was verified longest ago, and never first.
create index subscriptions_by_verification on subscriptions (coalesce(verified_at, '-infinity'), id);


alter table usage_charges
    -- A charge that no song holds can be given back without naming it.
    add column held boolean not null default true;


-- Other ids RevenueCat knows our people by.
create table revenuecat_ids (
    app_user_id  text primary key,
    user_id      text not null references users on delete cascade,
    created_at   timestamptz not null
);

create index revenuecat_ids_by_user on revenuecat_ids (user_id);


-- Customers nobody here is known to be, yet: bought before signing in, say.
create table parked_customers (
    id            text primary key,
    app_user_ids  text[] not null check (cardinality(app_user_ids) > 0),
    lines         jsonb not null default '{}',
    told          jsonb not null default '{}',
    created_at    timestamptz not null,
    updated_at    timestamptz not null
);

create index parked_customers_by_id on parked_customers using gin (app_user_ids) with (fastupdate = off);
create index parked_customers_by_time on parked_customers (updated_at);


-- Every change there ever was to what somebody may use, and why.
create table subscription_log (
    id           text primary key,
    user_id      text not null references users on delete cascade,
    -- A RevenueCat event type, or "reconciliation" or "account".
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

create index subscription_log_by_user on subscription_log (user_id, recorded_at desc, id desc);
