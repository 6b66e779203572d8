-- BEAT: one call per worker renews all its leases and its place in the registry.
-- KEYS   none
-- ARGV   1 worker, 2 lease in ms, 3 state, 4 number of queues, then the queues,
--        then pairs of job id and attempt
-- RETURN {1 if the worker is registered, else 0; then the ids that it no longer holds}
local worker, lease_ms, state, queues = ARGV[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local now = now_ms()
-- First, because a full Redis refuses a script whose first write takes memory: a worker must be
-- able to hold what it runs while others make room.
local known = redis.call('PEXPIRE', key.worker(worker), 3 * lease_ms)
local answer = {known}

if known == 1 then
  redis.call('HSET', key.worker(worker), 'state', state, 'last_seen_ms', now)
  redis.call('ZADD', key.workers(), now, worker)
  for i = 5, 4 + queues do
    redis.call('ZADD', key.serving(ARGV[i]), now, worker)
    -- A draining worker claims nothing more, suspects neither: another one may make room.
    if state == 'ready' and redis.call('GET', key.isolating(ARGV[i])) == worker then
      redis.call('PEXPIRE', key.isolating(ARGV[i]), lease_ms)
    end
  end
end

local held, leases = {}, {}
local function renew()
  if #held == 0 then return end
  redis.call('ZADD', key.leases(), unpack(leases))
  redis.call('SADD', key.running(worker), unpack(held))
  held, leases = {}, {}
end
for i = 5 + queues, #ARGV, 2 do
  if holds(ARGV[i], ARGV[i + 1], worker) then
    held[#held + 1] = ARGV[i]
    leases[#leases + 1], leases[#leases + 2] = now + lease_ms, ARGV[i]
    if #held == 500 then renew() end -- Lua passes only some thousands of arguments
  else
    answer[#answer + 1] = ARGV[i]
  end
end
renew()
return answer
