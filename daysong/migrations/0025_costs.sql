-- What vendors cost, what is reserved of a day's budget, and how far it is used.

-- Micro-dollars. Accounts and what was paid for stand here as keyed hashes: costs outlive the account, not the person.
create table vendor_costs (
    id         bigint generated always as identity primary key,
    at         timestamptz not null,
    vendor     text not null,
    function   text not null,
    account    text,
    amount     bigint not null check (amount >= 0),
    -- The same again is one cost.
    reference  text not null,
    unique (vendor, reference)
);

create index vendor_costs_by_time on vendor_costs (at);
create index vendor_costs_by_account on vendor_costs (account, at);

-- What has been allowed and is not paid yet: a row for each vendor it is to be paid to.
create table budget_reservations (
    reference   text not null,
    vendor      text not null,
    account     text,
    day         date not null,
    amount      bigint not null check (amount >= 0),
    -- Nobody paid, and nobody will.
    expires_at  timestamptz not null,
    primary key (reference, vendor)
);

create index budget_reservations_by_account on budget_reservations (account, day);
create index budget_reservations_by_day on budget_reservations (day, expires_at);

-- Costs and reservations of a day (UTC) by vendor, and in all; see kernel/limits/budgets.py.
create table budget_days (
    day        date not null,
    vendor     text not null,
    amount     bigint not null default 0,
    -- Whether an alarm was raised.
    warned     boolean not null default false,
    primary key (day, vendor)
) with (fillfactor = 50);
