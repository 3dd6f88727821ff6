-- Why a track failed, for its owner to see wherever the track is shown.

alter table music add column failure_reason text;

update music m set failure_reason = g.failure_reason
from generations g
where g.id = m.generation_id and m.status = 'failed' and g.status = 'failed';
