-- AUDIT_HINTS: queues in which a job waits although a worker could start it and would have to be
-- told. The reaper tells it within about a second.
-- KEYS   none
-- ARGV   1 lease in ms
-- RETURN rows of {'hints', queue and the best job that waits there}
local now, lease_ms, found = now_ms(), tonumber(ARGV[1]), {}

local function head(set) return redis.call('ZRANGE', set, 0, 0)[1] end

-- How many jobs of a queue a worker could start: plain ones, or only one that must be alone.
local function startable(worker, queue, plain)
  if not plain and redis.call('SCARD', key.running(worker)) > 0 then return 0 end
  return room(worker, queue)
end

for _, queue in ipairs(redis.call('HKEYS', key.queues())) do
  local plain, free = head(key.pending(queue)), 0
  for _, worker in ipairs(redis.call('ZRANGEBYSCORE', key.serving(queue), now - lease_ms, '+inf')) do
    free = free + startable(worker, queue, plain)
  end
  if free > 0 and lacks_hints(queue, free) > 0 then
    found[#found + 1] = {'hints', queue .. ' ' .. (plain or head(key.suspects(queue)))}
  end
end
return found
