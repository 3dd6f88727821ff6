-- Clerk users who are banned or locked: their accounts are treated as signed out until Clerk says otherwise.
alter table users
    add column suspension          text check (suspension in ('banned', 'locked')),
    -- When a lock ends by itself.
    add column suspension_ends_at  timestamptz,
    -- How recent the news is that `suspension` is from: older news change nothing.
    add column suspension_told_at  timestamptz;
