-- Memory: the events that a model reads from entries, with the people and tags that they name.

create table events (
    id                    text primary key,
    user_id               text not null references users on delete cascade,
    diary_id              text not null references diaries on delete cascade,
    happened_at           timestamptz not null,
    title                 text not null check (length(title) between 1 and 120),
    summary               text not null check (length(summary) between 1 and 600),
    mood                  smallint check (mood between -2 and 2),
    arousal               smallint check (arousal between 1 and 5),
    anniversary_candidate boolean,
    edited_at             timestamptz,
    created_at            timestamptz not null,
    updated_at            timestamptz not null,
    constraint events_owner_and_date unique (id, user_id, happened_at)
);

comment on table events is 'What happened, as read from an entry; at most eight for each version of it.';
comment on column events.happened_at is 'The date of the entry.';
comment on column events.mood is 'From very negative (-2) to very positive (2).';
comment on column events.arousal is 'From very calm (1) to very energetic (5).';
comment on column events.edited_at is 'When its user edited it; such an event outlasts changes of the entry.';

create index events_by_user on events (user_id, happened_at desc, id desc);
create index events_by_diary on events (diary_id);


create table people (
    id                  text primary key,
    user_id             text not null references users on delete cascade,
    relationship_label  text,
    highlight           text,
    highlighted_at      timestamptz,
    highlight_is_own    boolean not null default false,
    edited_at           timestamptz,
    created_at          timestamptz not null,
    updated_at          timestamptz not null,
    constraint people_owner unique (user_id, id)
);

comment on table people is 'The people that events name. Their events are counted in event_people.';
comment on column people.highlight is 'A summary of what the user has experienced with the person.';
comment on column people.highlight_is_own is 'The user wrote the summary, not a model.';
comment on column people.edited_at is 'When the user edited the person; without, it goes with its last event.';

create table person_names (
    user_id    text not null references users on delete cascade,
    folded     text not null,
    person_id  text not null,
    name       text not null check (length(name) between 1 and 80),
    place      smallint not null default 0,
    primary key (user_id, folded),
    constraint person_names_person foreign key (user_id, person_id) references people (user_id, id) on delete cascade,
    constraint person_names_place unique (person_id, place)
);

comment on table person_names is
    'All names of people. The key lets a name, case-folded, be that of one person of a user.';
comment on column person_names.place is 'The primary name is at 0, alternative names follow.';

create index person_names_by_person on person_names (user_id, person_id);


create table tags (
    id            text primary key,
    user_id       text not null references users on delete cascade,
    name          text not null check (name <> ''),
    display_name  text not null check (length(display_name) between 1 and 40),
    created_at    timestamptz not null,
    constraint tags_name unique (user_id, name),
    constraint tags_owner unique (user_id, id)
);

comment on table tags is 'The subjects of events. Their events are counted in event_tags.';
comment on column tags.name is 'Trimmed and case-folded.';
comment on column tags.display_name is 'As first written.';


-- Links repeat owner and date of the event, so that one index has the counts of a user, and the newest events of each
-- person and tag. The foreign keys keep the copies right.

create table event_people (
    event_id     text not null,
    person_id    text not null,
    user_id      text not null references users on delete cascade,
    happened_at  timestamptz not null,
    place        smallint not null default 0,
    primary key (event_id, person_id),
    constraint event_people_event foreign key (event_id, user_id, happened_at)
        references events (id, user_id, happened_at) on update cascade on delete cascade,
    constraint event_people_person foreign key (user_id, person_id) references people (user_id, id) on delete cascade
);

comment on table event_people is 'Which people an event names, in which order.';

create index event_people_by_person on event_people (user_id, person_id, happened_at desc, event_id desc);

create table event_tags (
    event_id     text not null,
    tag_id       text not null,
    user_id      text not null references users on delete cascade,
    happened_at  timestamptz not null,
    place        smallint not null default 0,
    primary key (event_id, tag_id),
    constraint event_tags_event foreign key (event_id, user_id, happened_at)
        references events (id, user_id, happened_at) on update cascade on delete cascade,
    constraint event_tags_tag foreign key (user_id, tag_id) references tags (user_id, id) on delete cascade
);

comment on table event_tags is 'Which tags an event has, in which order.';

create index event_tags_by_tag on event_tags (user_id, tag_id, happened_at desc);


create table readings (
    id        text primary key,
    user_id   text not null references users on delete cascade,
    kind      text not null check (kind in ('entry', 'highlight')),
    subject   text not null,
    version   integer,
    begun_at  timestamptz not null,
    done_at   timestamptz,
    constraint readings_version unique (subject, version)
);

comment on table readings is
    'What a model was asked to read: each version of an entry once, and events for the summary of a person. Counted for the limits of a day.';
comment on column readings.subject is 'The id of the entry or the person; it may be deleted meanwhile.';

create index readings_by_day on readings (user_id, kind, begun_at);


select attach_live_triggers();
