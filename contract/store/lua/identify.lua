-- IDENTIFY: which store this is, how many jobs it has ever taken, and whether it takes more.
-- KEYS   none
-- ARGV   1 the id that it gets when it has none, or '' to give it none
-- RETURN {its id or '', the sequence, why it refuses to write or '', ms since the last REAP or ''}
local id = redis.call('GET', key.store())
if not id and ARGV[1] ~= '' then
  redis.call('SET', key.store(), ARGV[1])
  id = ARGV[1]
end
-- Changes nothing, but is refused where a submit would be: without memory or disk, on a replica.
local written = id and redis.pcall('SETNX', key.store(), id)
local refusal = type(written) == 'table' and written.err or ''
local reaped = tonumber(redis.call('HGET', key.reaped(), 'at') or '')
return {id or '', tonumber(redis.call('GET', key.sequence()) or '0'), refusal,
  reaped and now_ms() - reaped or ''}
