-- PUBLISH: append the tokens that a worker made since its last call, for many jobs at once.
-- Repeating it is safe: one publisher writes for an attempt, in order, and each event's data
-- has its own offset, so a repeated event equals the last entry of its stream.
-- KEYS   none
-- ARGV   1 worker, then groups of five: job id, attempt, event kind, event data, completion tokens so far
-- RETURN ids whose attempt no longer holds; nothing was written for them
local lost = {}

local function is_last(id, attempt, data)
  local last = redis.call('XREVRANGE', key.events(id), '+', '-', 'COUNT', 1)[1]
  return last and last[2][4] == attempt and last[2][6] == data
end

for i = 2, #ARGV, 5 do
  local id = ARGV[i]
  if holds(id, ARGV[i + 1], ARGV[1]) then
    if not is_last(id, ARGV[i + 1], ARGV[i + 3]) then
      redis.call('XADD', key.events(id), '*',
        'kind', ARGV[i + 2], 'attempt', ARGV[i + 1], 'data', ARGV[i + 3])
      redis.call('HSET', key.job(id), 'progress', ARGV[i + 4])
    end
    rung[#rung + 1] = id
  else
    lost[#lost + 1] = id
  end
end
return lost
