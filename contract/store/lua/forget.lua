-- FORGET: let the retention of ended jobs pass now: whoever asked for them has their results.
-- KEYS   none
-- ARGV   ids
-- RETURN how many had ended
local forgotten = 0
for _, id in ipairs(ARGV) do
  if redis.call('ZADD', key.expiring(), 'XX', 'CH', 0, id) == 1 then forgotten = forgotten + 1 end
end
return forgotten
