-- REGISTER: a worker that passed its fitness check enters the registry.
-- KEYS   none
-- ARGV   1 worker, 2 lease in ms, 3 number of queues, then pairs of queue and its JSON,
--        then pairs of field and value of the worker's row
-- RETURN how many hints each queue lacks now that the worker's slots are free, in their order
local worker, lease_ms, queues = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local now = now_ms()
for i = 4, 3 + 2 * queues, 2 do
  redis.call('HSET', key.queues(), ARGV[i], ARGV[i + 1])
  redis.call('ZADD', key.serving(ARGV[i]), now, worker)
end
redis.call('HSETNX', key.worker(worker), 'started_ms', now)
-- It may run suspects, from before its row was lost: CLAIM looks.
redis.call('HSET', key.worker(worker), 'shares', 1, 'last_seen_ms', now,
  unpack(ARGV, 4 + 2 * queues))
redis.call('PEXPIRE', key.worker(worker), 3 * lease_ms)
redis.call('ZADD', key.workers(), now, worker)
redis.call('HDEL', key.missing(), worker)
local lacking = {}
for i = 4, 3 + 2 * queues, 2 do
  left_free(ARGV[i])
  local _, free = count_capacity(ARGV[i], now, lease_ms)
  lacking[#lacking + 1] = math.max(lacks_hints(ARGV[i], free), 0)
end
return lacking
