-- What shows that a standby follows the primary of now: see daysong/kernel/database/replica.py.

create table primary_timeline (
    id        boolean primary key default true check (id),
    timeline  text not null,
    token     uuid not null
);

comment on table primary_timeline is
    'One row, written by a process with DATABASE_REPLICA_URL once the primary is on another timeline. A standby with this '
    'token follows that primary: positions of the two can be compared.';
comment on column primary_timeline.timeline is 'The first eight digits of the names of WAL segments.';
comment on column primary_timeline.token is 'Random, so that a standby of another history does not have it.';
