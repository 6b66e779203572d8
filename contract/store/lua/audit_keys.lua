-- AUDIT_KEYS: whether what each key stands for is there.
-- KEYS   none
-- ARGV   1 family of keys, 2 what their names begin with, 3 1 if they must end by themselves,
--        4.. the rest of each name
-- RETURN rows of {kind of finding, rest of the name}
local family, prefix, mortal, found, check = ARGV[1], ARGV[2], ARGV[3] == '1', {}, {}

-- Each says what is wrong with the key of a part, if anything.

function check.job(id)
  return not redis.call('ZSCORE', key.index(), id) and 'unindexed'
end

function check.events(id) return redis.call('EXISTS', key.job(id)) == 0 and 'stream_orphan' end

function check.input(id) return redis.call('EXISTS', key.job(id)) == 0 and 'input_orphan' end

function check.idempotency(name)
  local id = redis.call('HGET', key.idempotency(name), 'job')
  return (not id or redis.call('EXISTS', key.job(id), key.gone(id)) == 0) and 'idempotency'
end

function check.leader(print)
  local id = redis.call('GET', key.leader(print))
  local job = get(id, 'state', 'fingerprint', 'leader')
  local live = job[1] == 'queued' or job[1] == 'in_progress'
  return (not live or job[2] ~= print or job[3]) and 'leader_stale'
end

function check.running(worker)
  return not redis.call('ZSCORE', key.workers(), worker) and 'worker_unlisted'
end
check.worker = check.running

function check.serving(queue)
  for _, worker in ipairs(redis.call('ZRANGE', key.serving(queue), 0, -1)) do
    if not redis.call('ZSCORE', key.workers(), worker) then return 'worker_unlisted' end
  end
end

function check.pending(queue)
  return redis.call('HEXISTS', key.queues(), queue) == 0 and 'queue_unlisted'
end
check.suspects, check.retrying, check.following = check.pending, check.pending, check.pending

for i = 4, #ARGV do
  local name = prefix .. ARGV[i]
  if redis.call('EXISTS', name) == 1 then
    local kind = check[family] and check[family](ARGV[i])
    if kind then found[#found + 1] = {kind, ARGV[i]} end
    if mortal and redis.call('PTTL', name) == -1 then
      found[#found + 1] = {'immortal', ARGV[i]}
    end
  end
end
return found
