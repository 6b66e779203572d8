-- CANCEL_BATCH: let no further line of a batch begin. Its feeder does the rest.
-- KEYS   none
-- ARGV   1 id
-- RETURN its record as a flat list, empty for an unknown one; unchanged unless lines were to begin
local id = ARGV[1]
local state = redis.call('HGET', key.batch(id), 'state')
if state == 'validating' or state == 'in_progress' then
  redis.call('HSET', key.batch(id), 'state', 'cancelling', 'entered:cancelling', now_ms())
end
return redis.call('HGETALL', key.batch(id))
