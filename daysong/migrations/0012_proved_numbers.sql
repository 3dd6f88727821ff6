-- Several accounts may name a number; it belongs to the one that has proved it.

alter table users
    -- Whether verified_phones holds only numbers that the person proved by a code; before this it also held numbers
    -- that an administrator had marked as verified, which count no more.
    add column phones_proved boolean not null default false;


alter table call_settings
    -- The number as it is compared (features/phone_calls/numbers.py, key_of): Mexico's old 1 and Argentina's 9 are
    -- written by some networks and not by others.
    add column number_key text not null generated always as
        (regexp_replace(regexp_replace(phone_e164, '^\+521(?=[0-9]{10}$)', '+52'), '^\+54(?=[0-8])', '+549')) stored;

drop index call_settings_by_number;

-- The index below allows one; two can be there only where one number was written in two ways. The older one stays.
update call_settings s
set consent = 'unknown', consent_at = null, consent_session_id = null
where s.consent = 'granted' and s.lost_at is null and exists (
    select from call_settings o
    where o.number_key = s.number_key and o.consent = 'granted' and o.lost_at is null
          and (o.consent_at, o.id) < (s.consent_at, s.id));

create unique index call_settings_proved on call_settings (number_key) where consent = 'granted' and lost_at is null;

-- Who lost a number to its owner was told so, which tells of another account. lost_at remains for closed accounts.
update call_settings s
set lost_at = null, paused_reason = case consent when 'refused' then 'refused' else 'no_consent' end
where paused_reason = 'number_lost'
      and exists (select from users u where u.id = s.user_id and u.deleted_at is null);
