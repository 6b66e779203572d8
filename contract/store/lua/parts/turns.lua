-- TURNS: a request that a full backlog refused is promised the next moment at which a place should
-- be free, and when it comes back it finds one, held against newcomers from EARLY_MS before that
-- moment to LATE_MS after it (docs/adr/0010).
-- A request is known by its idempotency key, or else by its body (`who`, and whether it is `keyed`);
-- several with one body hold turns 1, 2, …
-- Turns are kept in memory alone, neither in the file nor by replicas: who has lost one is given
-- another, and so a refusal waits for no disk.
local MOST_TURNS, LATEST_MS, EARLY_MS, LATE_MS = 10000, 120000, 1000, 2000

-- nil when there is a place for this request among `size` that wait, beside those that are held for
-- others; else the seconds until it should come back, or '' when nobody can know.
local function turned_away(queue, who, keyed, size, limit, now, lease_ms)
  local turns, holders = key.turns(queue), key.turn_holders(queue)

  local function shows()
    return tonumber(redis.call('HGET', key.service(queue), 'shows') or '1')
  end

  -- Take a turn away. The share of turns whose holders came is learnt, to promise that much more.
  local function end_turn(holder, n, came)
    redis.call('ZREM', turns, holder .. ' ' .. n)
    local first, last = string.match(redis.call('HGET', holders, holder) or '', '(%d+) (%d+)')
    if last == n then
      redis.call('HDEL', holders, holder)
    elseif first == n then
      redis.call('HSET', holders, holder, string.format('%d %s', n + 1, last))
    end
    local share = shows()
    redis.call('HSET', key.service(queue), 'shows', math.max(share + 0.02 * (came - share), 0.05))
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

  local function has_place()
    if size >= limit then return false end
    local stale = redis.call('ZRANGEBYSCORE', turns, '-inf', now - LATE_MS, 'LIMIT', 0, 100)
    for _, turn in ipairs(stale) do
      local holder, n = string.match(turn, '^(.*) (%d+)$')
      end_turn(holder, n, 0)
    end
    local due, n = own_turn()
    local held = due and due <= now and 0 or redis.call('ZCOUNT', turns, '-inf', now + EARLY_MS)
    if size + math.min(held, math.floor(limit / 2)) >= limit then return false end
    if due and (due <= now or keyed) then end_turn(who, n, 1) end
    return true
  end

  -- Jobs per second, or nil. Measured over too short a time that would be far too low: while the
  -- last 10 s have no more than a beginning, the jobs that run and their mean time tell it as well.
  local function pace()
    local rate = drain_rate(queue, now)
    local run_ms = tonumber(redis.call('HGET', key.service(queue), 'run_ms') or '')
    local earlier = key.finished(queue, math.floor(now / BUCKET_MS) - 2)
    if not run_ms or redis.call('EXISTS', earlier) == 1 then return rate end
    local _, free, slots = capacity(queue, now, lease_ms)
    local expected = math.max(rate or 0, (slots - free) * 1000 / math.max(run_ms, 1))
    return expected > 0 and expected or nil
  end

  -- When this request should come back: a client waits for whole seconds, and holds no place in
  -- the rest of its last one.
  local function promise(step_ms)
    local due, n, last = own_turn()
    if due and due > now and keyed then return due end
    local came = due and due <= now -- when told, and found no place: its rank among such is kept
    local before = came and redis.call('ZCOUNT', turns, '-inf', due) or redis.call('ZCARD', turns) + 1
    due = now + math.min(math.ceil(before * shows() * step_ms / 1000) * 1000, LATEST_MS)
    if came then
      redis.call('ZADD', turns, due, who .. ' ' .. n)
    elseif redis.call('ZCARD', turns) < MOST_TURNS then
      local new = string.format('%d', (last or 0) + 1)
      redis.call('ZADD', turns, due, who .. ' ' .. new)
      redis.call('HSET', holders, who, (n or new) .. ' ' .. new)
      redis.call('PEXPIRE', turns, LATEST_MS + LATE_MS)
      redis.call('PEXPIRE', holders, LATEST_MS + LATE_MS)
    end
    return due
  end

  local function wait_s()
    if has_place() then return nil end
    local rate = pace()
    return rate and tostring((promise(1000 / rate) - now) / 1000) or ''
  end

  redis.set_repl(redis.REPL_NONE)
  local found = wait_s()
  redis.set_repl(redis.REPL_ALL)
  return found
end
