-- IDENTIFY: which store this is, and how many jobs it has ever taken.
-- KEYS   none
-- ARGV   1 the id that it gets when it has none, or '' to give it none
-- RETURN {its id or '', the sequence}
local id = redis.call('GET', key.store())
if not id and ARGV[1] ~= '' then
  redis.call('SET', key.store(), ARGV[1])
  id = ARGV[1]
end
return {id or '', tonumber(redis.call('GET', key.sequence()) or '0')}
