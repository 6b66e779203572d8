-- UNREGISTER: a worker leaves in order. What is still on it nobody runs: a claim whose answer never
-- reached it, or a job that it could not give back in time. That costs the job nothing.
-- KEYS   none
-- ARGV   1 worker, 2.. its queues
-- RETURN 1
local worker = ARGV[1]
redis.call('DEL', key.worker(worker))
for _, id in ipairs(redis.call('SMEMBERS', key.running(worker))) do
  if get(id, 'state')[1] == 'in_progress' then
    requeue(id, 'released')
    enqueue(id)
  end
end
redis.call('DEL', key.running(worker))
redis.call('ZREM', key.workers(), worker)
redis.call('HDEL', key.missing(), worker)
for i = 2, #ARGV do
  redis.call('ZREM', key.serving(ARGV[i]), worker)
  if redis.call('GET', key.isolating(ARGV[i])) == worker then
    redis.call('DEL', key.isolating(ARGV[i]))
  end
end
return 1
