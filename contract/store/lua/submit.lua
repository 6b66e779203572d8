-- SUBMIT: record a job and put it where it will be found, or say why not. Repeating it is safe:
-- the id makes it so without an idempotency key, the key across clients' own retries.
-- KEYS   none (every key is derived from the arguments; one Redis holds them all)
-- ARGV   1 id, 2 queue, 3 model, 4 version, 5 digest, 6 task, 7 input, 8 parameters,
--        9 priority, 10 metadata, 11 deadline in ms from now or '', 12 fingerprint or '',
--        13 idempotency key or '', 14 body sha256, 15 backlog limit, 16 result TTL in ms,
--        17 1 when a live worker is required, 18 lease in ms, 19 the id of the store that is meant
-- RETURN {'recorded', id, 1 if a hint is wanted, its place in the order of submission or
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

-- Changes nothing, but a full Redis refuses it here, and so all that follows.
redis.call('SETNX', key.store(), ARGV[19])

-- Turns: a refused request is promised the next moment at which a place should be free, and when
-- it comes back it finds one, held against newcomers for HELD_MS (docs/adr/0010). A request is
-- known by its idempotency key, or else by its body; several with one body hold turns 1, 2, …
local MOST_TURNS, LATEST_MS, HELD_MS = 10000, 120000, 2000
local turns, holders = key.turns(queue), key.turn_holders(queue)
local who = idem ~= '' and 'key ' .. idem or 'body ' .. ARGV[14]

local function shows() return tonumber(redis.call('HGET', key.service(queue), 'shows') or '1') end

-- Take a turn away. The share of turns whose holders came is learnt, to promise that much more.
local function end_turn(holder, n, came)
  redis.call('ZREM', turns, holder .. ' ' .. n)
  local first, last = string.match(redis.call('HGET', holders, holder) or '', '(%d+) (%d+)')
  if last == n then
    redis.call('HDEL', holders, holder)
  elseif first == n then
    redis.call('HSET', holders, holder, string.format('%d %s', n + 1, last))
  end
  redis.call('HSET', key.service(queue), 'shows', math.max(shows() + 0.02 * (came - shows()), 0.05))
end

-- A turn of this request that is due, else its first: when, and its number; then that of the last.
local function own_turn()
  local first, last = string.match(redis.call('HGET', holders, who) or '', '(%d+) (%d+)')
  local due, number
  for n = tonumber(first or 1), tonumber(last or 0) do
    local at = tonumber(redis.call('ZSCORE', turns, who .. ' ' .. n) or '')
    if at and (not due or at <= now) then due, number = at, string.format('%d', n) end
    if due and due <= now then break end
  end
  return due, number, last
end

-- Whether there is a place for this request, beside those that are held for others.
local function has_place(size, limit)
  if size >= limit or redis.call('EXISTS', turns) == 0 then return size < limit end
  local stale = redis.call('ZRANGEBYSCORE', turns, '-inf', now - HELD_MS, 'LIMIT', 0, 100)
  for _, turn in ipairs(stale) do
    local holder, n = string.match(turn, '^(.*) (%d+)$')
    end_turn(holder, n, 0)
  end
  local due, n = own_turn()
  local held = due and due <= now and 0 or redis.call('ZCOUNT', turns, '-inf', now)
  if size + math.min(held, math.floor(limit / 2)) >= limit then return false end
  if due and (due <= now or idem ~= '') then end_turn(who, n, 1) end
  return true
end

-- Jobs per second, or nil. Measured over too short a time that would be far too low: while the last
-- 10 s have no more than a beginning, the jobs that run and their mean time tell it as well.
local function pace()
  local rate = drain_rate(queue, now)
  local run_ms = tonumber(redis.call('HGET', key.service(queue), 'run_ms') or '')
  local earlier = key.finished(queue, math.floor(now / BUCKET_MS) - 2)
  if not run_ms or redis.call('EXISTS', earlier) == 1 then return rate end
  local _, free, slots = capacity(queue, now, lease_ms)
  local expected = (slots - free) * 1000 / math.max(run_ms, 1)
  return math.max(rate or 0, expected) > 0 and math.max(rate or 0, expected) or nil
end

-- When this request should come back.
local function promise(step_ms)
  local due, n, last = own_turn()
  if due and due > now and idem ~= '' then return due end
  if due and due <= now then -- it came when told and found no place: its rank among such is kept
    due = now + shows() * step_ms * redis.call('ZCOUNT', turns, '-inf', due)
    redis.call('ZADD', turns, due, who .. ' ' .. n)
    return due
  end
  local latest = redis.call('ZRANGE', turns, -1, -1, 'WITHSCORES')[2]
  due = math.min(math.max(now, tonumber(latest or 0)) + shows() * step_ms, now + LATEST_MS)
  if redis.call('ZCARD', turns) < MOST_TURNS then
    local new = string.format('%d', (last or 0) + 1)
    redis.call('ZADD', turns, due, who .. ' ' .. new)
    redis.call('HSET', holders, who, (n or new) .. ' ' .. new)
    redis.call('PEXPIRE', turns, LATEST_MS + HELD_MS)
    redis.call('PEXPIRE', holders, LATEST_MS + HELD_MS)
  end
  return due
end

local cached = print ~= '' and redis.call('HMGET', key.cache(print), 'output', 'usage') or {}
if not cached[1] then
  local size = backlog(queue)
  if not has_place(size, tonumber(ARGV[15])) then
    local rate = pace()
    return {'full', size, rate and tostring((promise(1000 / rate) - now) / 1000) or ''}
  end
end

-- A job that was cancelled leaves its hint: with as many hints as jobs that wait, none is wanted.
local function wants_hint()
  local waiting = redis.call('ZCARD', key.pending(queue)) + redis.call('ZCARD', key.suspects(queue))
  return redis.call('LLEN', queue) < waiting and 1 or 0
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
    return {'recorded', id, wants_hint(), sequence}
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
return {'recorded', id, wants_hint(), sequence}
