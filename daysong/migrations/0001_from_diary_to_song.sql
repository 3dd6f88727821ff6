-- People, their plans and usage, diaries, songs, shares; the webhook inbox and the jobs.

-- Every time on the wire is milliseconds since the epoch.
create function ms(moment timestamptz) returns double precision
    language sql immutable strict parallel safe
    return extract(epoch from moment)::double precision * 1000;


create table users (
    id          text primary key,
    clerk_id    text not null unique,
    email       text,
    name        text,
    tags        text[] not null default '{}',
    created_at  timestamptz not null,
    updated_at  timestamptz not null,
    -- Set when deletion was asked for: from then on the account's tokens are refused.
    deleted_at  timestamptz
);


create table subscriptions (
    id                  text primary key,
    user_id             text not null unique references users on delete cascade,
    tier                text not null default 'free' check (tier in ('free', 'weekly', 'monthly', 'yearly')),
    product_id          text not null default 'free-tier',
    status              text not null default 'active'
                        check (status in ('active', 'in_grace', 'canceled', 'expired')),
    custom_music_limit  integer check (custom_music_limit >= 0),
    -- Usage periods are counted from here, whole periods at a time.
    last_reset_at       timestamptz not null,
    created_at          timestamptz not null,
    updated_at          timestamptz not null
);


-- Usage is a ledger: what was taken, and what was given back. Used = charges without a refund in the current period.
create table usage_charges (
    id          text primary key,
    user_id     text not null references users on delete cascade,
    charged_at  timestamptz not null
);

create index usage_charges_by_user on usage_charges (user_id, charged_at);

-- The primary key is what makes a refund happen at most once.
create table usage_refunds (
    charge_id    text primary key references usage_charges on delete cascade,
    reason       text not null,
    refunded_at  timestamptz not null
);


create table diaries (
    id                text primary key,
    user_id           text not null references users on delete cascade,
    title             text,
    content           text not null check (length(content) between 1 and 50000),
    date              timestamptz not null,
    version           integer not null default 1,
    primary_music_id  text,
    created_at        timestamptz not null,
    updated_at        timestamptz not null
);

create index diaries_by_user on diaries (user_id, date desc, id desc);


-- One try at making a song. The steps a status may take stand in features/music/rules.py.
create table generations (
    id               text primary key,
    user_id          text not null references users on delete cascade,
    diary_id         text not null references diaries on delete cascade,
    -- No foreign key action: a charge goes only with its user.
    charge_id        text not null unique references usage_charges on delete cascade,
    status           text not null check (status in ('queued', 'writing', 'composing', 'ready', 'failed', 'canceled')),
    style_hint       text,
    callback_secret  text not null,
    lyric            text,
    mood             text,
    style            text,
    title            text,
    -- Set before Suno is asked, cleared when it certainly refused: a lost answer must not buy a second song.
    asked_at         timestamptz,
    task_id          text unique,
    composing_since  timestamptz,
    next_poll_at     timestamptz,
    polls            integer not null default 0,
    failure_code     text,
    failure_reason   text,
    created_at       timestamptz not null,
    updated_at       timestamptz not null,
    check (status not in ('composing', 'ready') or asked_at is not null),
    check ((status = 'failed') = (failure_code is not null))
);

-- At most one song in the making for a diary, whoever asks and however often.
create unique index generations_one_live on generations (diary_id) where status in ('queued', 'writing', 'composing');
create index generations_by_diary on generations (diary_id);
create index generations_by_user on generations (user_id);
create index generations_live on generations (updated_at) where status in ('queued', 'writing', 'composing');


create table files (
    id            text primary key,
    user_id       text not null references users on delete cascade,
    content_type  text not null,
    size          bigint not null check (size > 0),
    created_at    timestamptz not null
);

create index files_by_user on files (user_id);


create table music (
    id               text primary key,
    user_id          text not null references users on delete cascade,
    diary_id         text references diaries on delete cascade,
    generation_id    text not null references generations on delete cascade,
    music_index      integer not null check (music_index >= 0),
    status           text not null check (status in ('pending', 'ready', 'failed')),
    title            text,
    lyric            text,
    lyric_with_time  jsonb,
    duration         double precision,
    audio_id         text,
    -- The vendor's addresses, good for about 15 days; served only until our own copies are there.
    audio_url        text,
    stream_url       text,
    image_url        text,
    audio_file_id    text references files on delete set null,
    image_file_id    text references files on delete set null,
    metadata         jsonb,
    created_at       timestamptz not null,
    updated_at       timestamptz not null,
    deleted_at       timestamptz,
    unique (generation_id, music_index)
);

create index music_by_user on music (user_id, created_at desc, id desc) where music_index = 0 and deleted_at is null;
create index music_by_owner on music (user_id);
create index music_by_diary on music (diary_id);
create index music_by_audio_file on music (audio_file_id);
create index music_by_image_file on music (image_file_id);

alter table diaries add foreign key (primary_music_id) references music on delete set null;
create index diaries_by_primary_music on diaries (primary_music_id);


create table shared_music (
    id          text primary key,
    share_id    text not null unique check (share_id ~ '^[2-9A-HJ-NP-Za-km-z]{10}$'),
    user_id     text not null references users on delete cascade,
    -- One link per track: sharing again returns it.
    music_id    text not null unique references music on delete cascade,
    is_private  boolean not null default false,
    created_at  timestamptz not null,
    updated_at  timestamptz not null
);

create index shared_music_by_user on shared_music (user_id);


-- Vendors' events, stored before they are handled.
create table webhook_events (
    id           text primary key,
    vendor       text not null,
    event_id     text not null,
    type         text not null,
    -- What the event is about on our side, where the address says so.
    subject      text,
    body         text not null,
    received_at  timestamptz not null,
    handled_at   timestamptz,
    outcome      text,
    unique (vendor, event_id)
);

create index webhook_events_by_time on webhook_events (received_at);


create table jobs (
    id           text primary key,
    ticket       text not null,
    function     text not null,
    args         jsonb not null,
    status       text not null default 'queued' check (status in ('queued', 'running', 'done', 'dead')),
    due_at       timestamptz not null,
    unique_key   text unique,
    request_id   text not null default '',
    -- Starts since the last outcome: a job that kills its worker has many.
    starts       integer not null default 0,
    failures     integer not null default 0,
    started_at   timestamptz,
    finished_at  timestamptz,
    last_error   text
);

create index jobs_open on jobs (due_at, id) where status in ('queued', 'running');
create index jobs_finished on jobs (finished_at) where status = 'done';
