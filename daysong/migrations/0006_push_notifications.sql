-- Push notifications: the tokens of a person's devices, which kinds they want, and what there was to tell them.

create table push_tokens (
    id          text primary key,
    user_id     text not null references users on delete cascade,
    token       text not null unique check (length(token) <= 150),
    platform    text not null check (platform in ('ios', 'android')),
    created_at  timestamptz not null,
    updated_at  timestamptz not null
);

comment on table push_tokens is 'Expo push tokens: one for each device and app. A token belongs to the account that registered it last.';
comment on column push_tokens.created_at is 'When this account registered the token first.';
comment on column push_tokens.updated_at is 'When it did so last, as apps do on every start.';

create index push_tokens_by_user on push_tokens (user_id, updated_at desc, id desc);


create table push_settings (
    user_id        text primary key references users on delete cascade,
    music_ready    boolean not null default true,
    music_failed   boolean not null default true,
    video_ready    boolean not null default true,
    call_missed    boolean not null default true,
    new_tokens     integer not null default 0 check (new_tokens >= 0),
    new_tokens_on  date,
    updated_at     timestamptz not null
);

comment on table push_settings is 'The kinds of notifications a person wants; all of them without a row.';
comment on column push_settings.new_tokens is 'How many tokens were new to the account on the day new_tokens_on (UTC).';


create table push_occasions (
    id          text primary key,
    user_id     text not null references users on delete cascade,
    kind        text not null check (kind in ('music_ready', 'music_failed', 'video_ready', 'call_missed')),
    subject     text not null,
    music_id    text,
    video_id    text,
    diary_id    text,
    reason      text,
    created_at  timestamptz not null,
    taken_at    timestamptz,
    unique (kind, subject)
);

comment on table push_occasions is
    'What there was to tell a person, once for each: inserted in the transaction of what it tells of.';
comment on column push_occasions.subject is 'The id of the generation, video or call that the notification is about.';
comment on column push_occasions.reason is 'Why a song failed, as its owner reads it.';
comment on column push_occasions.taken_at is
    'When a worker chose the devices; from then on none is added. See daysong/workflows/push/sending.py.';

create index push_occasions_by_user on push_occasions (user_id);
create index push_occasions_by_time on push_occasions (created_at);


create table push_deliveries (
    occasion_id  text not null references push_occasions on delete cascade,
    token_id     text not null references push_tokens on delete cascade,
    state        text not null check (state in ('sending', 'waiting', 'sent', 'delivered', 'failed', 'lost')),
    tries        integer not null default 1 check (tries >= 0),
    ticket       text,
    error        text,
    not_before   timestamptz,
    sent_at      timestamptz,
    updated_at   timestamptz not null,
    primary key (occasion_id, token_id),
    constraint push_deliveries_sent_has_ticket check (state not in ('sent', 'delivered') or ticket is not null),
    constraint push_deliveries_waiting_has_time check ((state = 'waiting') = (not_before is not null))
);

comment on table push_deliveries is 'An occasion on one device: written before Expo is asked, so that it is asked once.';
comment on column push_deliveries.state is
    'sending: Expo is being asked. waiting: certainly not shown, to be sent again at not_before. sent: Expo has it. '
    'delivered: so has Apple or Google. lost: Expo''s answer is not known; not sent again.';
comment on column push_deliveries.ticket is 'Expo''s id, by which its receipt is read.';
comment on column push_deliveries.error is 'Expo''s code of the last error.';

create index push_deliveries_by_token on push_deliveries (token_id);

select attach_live_triggers();
