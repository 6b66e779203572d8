-- UNREGISTER: a worker leaves in order, with nothing running.
-- KEYS   none
-- ARGV   1 worker, 2.. its queues
-- RETURN 1
local worker = ARGV[1]
redis.call('DEL', key.worker(worker))
redis.call('ZREM', key.workers(), worker)
redis.call('HDEL', key.missing(), worker)
for i = 2, #ARGV do
  redis.call('ZREM', key.serving(ARGV[i]), worker)
  if redis.call('GET', key.isolating(ARGV[i])) == worker then
    redis.call('DEL', key.isolating(ARGV[i]))
  end
end
return 1
