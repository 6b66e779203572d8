-- SUBMIT: record a job and put it where it will be found, or say why not. Repeating it is safe:
-- the id makes it so without an idempotency key, the key across clients' own retries.
-- KEYS   none (every key is derived from the arguments; one Redis holds them all)
-- ARGV   1 id, 2 queue, 3 model, 4 version, 5 digest, 6 task, 7 input, 8 parameters,
--        9 priority, 10 metadata, 11 deadline in ms from now or '', 12 fingerprint or '',
--        13 idempotency key or '', 14 body sha256, 15 backlog limit, 16 result TTL in ms,
--        17 1 when a live worker is required, 18 lease in ms, 19 the id of the store that is meant
-- RETURN {'recorded', id, 1 if it now waits for a claim, its place in the order of submission or
--         '' if it was recorded before} | {'replayed', id} | {'conflict'} | {'replaced'}
--        | {'full', backlog, seconds until there is room or ''} | {'no_worker'}
local id, queue, idem, print = ARGV[1], ARGV[2], ARGV[13], ARGV[12]
local ttl_ms, lease_ms = tonumber(ARGV[16]), tonumber(ARGV[18])
local now = now_ms()

if redis.call('GET', key.store()) ~= ARGV[19] then return {'replaced'} end
if redis.call('EXISTS', key.job(id)) == 1 then return {'recorded', id, 1, ''} end
if idem ~= '' then
  local earlier = redis.call('HMGET', key.idempotency(idem), 'job', 'body')
  if earlier[1] then
    if earlier[2] ~= ARGV[14] then return {'conflict'} end
    return {'replayed', earlier[1]}
  end
end
if ARGV[17] == '1' and capacity(queue, now, lease_ms) == 0 then return {'no_worker'} end

local cached = print ~= '' and redis.call('HMGET', key.cache(print), 'output', 'usage') or {}
if not cached[1] then
  local size, limit = backlog(queue), tonumber(ARGV[15])
  if size >= limit then
    local rate = drain_rate(queue, now)
    return {'full', size, rate and tostring((size - limit + 1) / rate) or ''}
  end
end

local sequence = redis.call('INCR', key.sequence())
local rank = tonumber(ARGV[9]) * 1e12 + sequence
redis.call('HSET', key.job(id), 'id', id, 'state', 'queued', 'queue', queue, 'model', ARGV[3],
  'model_version', ARGV[4], 'digest', ARGV[5], 'task', ARGV[6], 'input', ARGV[7],
  'parameters', ARGV[8], 'priority', ARGV[9], 'metadata', ARGV[10], 'sequence', sequence,
  'rank', rank, 'created_ms', now, 'attempt', 0, 'failures', 0, 'losses', 0, 'lone_losses', 0)
redis.call('ZADD', key.index(), sequence, id)
redis.call('ZADD', key.state('queued'), sequence, id)
redis.call('HSETNX', key.queues(), queue,
  cjson.encode({model = ARGV[3], version = tonumber(ARGV[4]), digest = ARGV[5]}))
if print ~= '' then redis.call('HSET', key.job(id), 'fingerprint', print) end
if idem ~= '' then
  redis.call('HSET', key.idempotency(idem), 'job', id, 'body', ARGV[14])
  redis.call('EXPIRE', key.idempotency(idem), 86400)
end
count('jobs_submitted')
emit(id, 'status', 0, '{"status":"queued"}')

if cached[1] then
  count('cache_hits')
  close(id, 'completed', now, ttl_ms,
    {'output', cached[1], 'usage', cached[2], 'cached', '1', 'started_ms', now})
  return {'recorded', id, 0, sequence}
end
if ARGV[11] ~= '' then
  local due = now + tonumber(ARGV[11])
  redis.call('HSET', key.job(id), 'deadline_ms', due)
  redis.call('ZADD', key.deadlines(), due, id)
end
if print ~= '' then
  local leader = redis.call('GET', key.leader(print))
  if leader and get(leader, 'queue')[1] ~= queue then
    -- The same files under another name: perhaps no worker serves that name. Run on its own.
    enqueue(id)
    return {'recorded', id, 1, sequence}
  end
  if leader then
    count('shared_runs')
    if rank < tonumber(get(leader, 'rank')[1]) then
      -- The run that both wait for becomes as urgent as the more urgent of them.
      redis.call('HSET', key.job(leader), 'rank', rank)
      redis.call('ZADD', key.pending(queue), 'XX', rank, leader)
      redis.call('ZADD', key.suspects(queue), 'XX', rank, leader)
    end
    redis.call('HSET', key.job(id), 'leader', leader)
    redis.call('ZADD', key.followers(leader), rank, id)
    redis.call('ZADD', key.following(queue), rank, id)
    return {'recorded', id, 0, sequence}
  end
  count('cache_misses')
  redis.call('SET', key.leader(print), id)
end
enqueue(id)
return {'recorded', id, 1, sequence}
