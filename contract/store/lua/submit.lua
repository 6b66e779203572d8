-- SUBMIT: record a job and put it where it will be found, or say why not. Repeating it is safe:
-- the id makes it so without an idempotency key, the key across clients' own retries.
-- PARTS  view, turns
-- KEYS   none (every key is derived from the arguments; one Redis holds them all)
-- ARGV   1 id, 2 queue, 3 model, 4 version, 5 digest, 6 task, 7 input with its parameters as JSON,
--        8 priority, 9 metadata, 10 deadline in ms from now or '', 11 fingerprint or '',
--        12 idempotency key or '', 13 body sha256, 14 backlog limit, 15 result TTL in ms,
--        16 1 when a live worker is required, 17 lease in ms, 18 the id of the store that is meant,
--        19 1 to answer with the output too, 20 the hint to send, or ''
-- RETURN {'recorded', id, its place in the order of submission or '' if it was recorded before, its
--         row} | {'replayed', id, its row} | {'conflict'} | {'replaced'} | {'no_worker'}
--        | {'full', backlog, seconds until there is room or ''}
local id, queue, model, version, digest, task, input, priority, metadata = unpack(ARGV, 1, 9)
local deadline_ms, print, idem, body = unpack(ARGV, 10, 13)
local limit, ttl_ms, lease_ms = tonumber(ARGV[14]), tonumber(ARGV[15]), tonumber(ARGV[17])
local now = now_ms()
local MOST_FOLLOWERS = 1000 -- that the end of one job has to end too, in one script

local function seen(job) return row(job, now, lease_ms, ARGV[19] == '1') end

-- Tell a worker, if a slot may be free. In memory alone: the reaper makes up for a hint that is lost,
-- so it needs no place in the file (docs/adr/0015).
local function send_hint()
  if ARGV[20] == '' or lacks_hints(queue, standing(queue, now, lease_ms).free) <= 0 then return end
  redis.set_repl(redis.REPL_NONE)
  redis.pcall('LPUSH', queue, ARGV[20]) -- a full Redis refuses it, and must not deny the job for that
  redis.set_repl(redis.REPL_ALL)
end

if redis.call('GET', key.store()) ~= ARGV[18] then return {'replaced'} end
if redis.call('EXISTS', key.job(id)) == 1 then
  send_hint()
  return {'recorded', id, '', seen(id)}
end
if idem ~= '' then
  local earlier = redis.call('HMGET', key.idempotency(idem), 'job', 'body')
  if earlier[1] then
    if earlier[2] ~= body then return {'conflict'} end
    return {'replayed', earlier[1], seen(earlier[1])}
  end
end
if ARGV[16] == '1' and standing(queue, now, lease_ms).live == 0 then return {'no_worker'} end

-- Changes nothing, but a full Redis refuses it here, and so all that follows.
redis.call('SETNX', key.store(), ARGV[18])

local cached = print ~= '' and redis.call('HMGET', key.cache(print), 'output', 'usage') or {}
if not cached[1] then
  local size = backlog(queue)
  if size >= limit or redis.call('EXISTS', key.turns(queue)) == 1 then
    local who = idem ~= '' and 'key ' .. idem or 'body ' .. body
    local wait_s = turned_away(queue, who, idem ~= '', size, limit, now, lease_ms)
    if wait_s then return {'full', size, wait_s} end
  end
end

local sequence = redis.call('INCR', key.sequence())
local rank = tonumber(priority) * 1e12 + sequence

local function record(state, ...)
  redis.call('HSET', key.job(id), 'state', state, 'queue', queue, 'model', model,
    'model_version', version, 'digest', digest, 'task', task, 'priority', priority,
    'metadata', metadata, 'sequence', sequence, 'rank', rank, 'created_ms', now,
    'attempt', 0, 'failures', 0, 'losses', 0, 'lone_losses', 0, ...)
  redis.call('ZADD', key.index(), sequence, id)
  redis.call('ZADD', key.state(state), sequence, id)
  if print ~= '' then redis.call('HSET', key.job(id), 'fingerprint', print) end
  if idem ~= '' then
    redis.call('HSET', key.idempotency(idem), 'job', id, 'body', body)
    redis.call('EXPIRE', key.idempotency(idem), 86400)
  end
  name_queue(queue, model, version, digest)
  count('jobs_submitted')
end

local function recorded() return {'recorded', id, sequence, seen(id)} end

local function recorded_waiting()
  redis.call('ZADD', key.pending(queue), rank, id)
  send_hint()
  return recorded()
end

-- Nobody can follow a job before its id is told, so neither of these begins a stream of events: it
-- would be 4 KB of each job that waits. Readers are told of `queued`, and of an end without a
-- stream, by the record (JobStore.read_events).
if cached[1] then
  record('completed', 'output', cached[1], 'usage', cached[2], 'cached', '1', 'started_ms', now,
    'finished_ms', now, 'expires_ms', now + ttl_ms)
  redis.call('ZADD', key.expiring(), now + ttl_ms, id)
  count('jobs_completed')
  count('cache_hits')
  return recorded()
end
record('queued')
redis.call('SET', key.input(id), input)
if deadline_ms ~= '' then
  local due = now + tonumber(deadline_ms)
  redis.call('HSET', key.job(id), 'deadline_ms', due)
  redis.call('ZADD', key.deadlines(), due, id)
end
if print ~= '' then
  local leader = redis.call('GET', key.leader(print))
  if leader and (get(leader, 'queue')[1] ~= queue
      or redis.call('ZCARD', key.followers(leader)) >= MOST_FOLLOWERS) then
    -- The same files under another name: perhaps no worker serves that name. Run on its own.
    return recorded_waiting()
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
    return recorded()
  end
  count('cache_misses')
  redis.call('SET', key.leader(print), id)
end
return recorded_waiting()
