-- What people have chosen for themselves, apart from their calls.
alter table users
    add column timezone             text not null default 'UTC',
    add column language             text not null default 'en',
    -- Whether strangers see the first word of their name with what they share.
    add column show_name_on_shares  boolean not null default true;
