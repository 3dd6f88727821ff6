-- Traces --------------------------------------------------------------------------------------------------------------

alter table jobs add column traceparent text;

comment on column jobs.traceparent is 'The span that scheduled it, in the form of the W3C; null while traces are off.';
