-- When the words of a call were deleted by its user. A report that arrives later is stored without words.
alter table call_sessions add column words_deleted_at timestamptz;
