-- PUBLISH: append the tokens that a worker made since its last call, for many jobs at once.
-- KEYS   none
-- ARGV   groups of five: job id, attempt, event kind, event data, completion tokens so far
-- RETURN ids whose attempt no longer holds; nothing was written for them
local lost, woken = {}, {}
for i = 1, #ARGV, 5 do
  local id = ARGV[i]
  if holds(id, ARGV[i + 1]) then
    redis.call('XADD', key.events(id), '*',
      'kind', ARGV[i + 2], 'attempt', ARGV[i + 1], 'data', ARGV[i + 3])
    redis.call('HSET', key.job(id), 'progress', ARGV[i + 4])
    woken[#woken + 1] = id
  else
    lost[#lost + 1] = id
  end
end
if #woken > 0 then redis.call('PUBLISH', key.wake(), table.concat(woken, ' ')) end
return lost
