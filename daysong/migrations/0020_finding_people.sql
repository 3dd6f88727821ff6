-- What operators find accounts by ------------------------------------------------------------------------------------

-- The beginning of a name, whatever the collation of the database.
create index users_by_name on users (lower(name) text_pattern_ops, id) where name is not null;
create index users_by_verified_phone on users using gin (verified_phones) where verified_phones <> '{}';
create index call_settings_by_number on call_settings (number_key);
create index call_jobs_by_number on call_jobs (number_hash) where number_hash is not null;
